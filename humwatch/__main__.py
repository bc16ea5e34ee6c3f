"""Where `humwatch` and `python -m humwatch` begin."""


def main() -> None:
    """Run the command line."""
    # Not above: workers import the module in which their command began, and need neither Prefect nor Typer.
    from humwatch.flows.cli.app import main as run  # noqa: PLC0415

    run()


if __name__ == "__main__":
    main()
