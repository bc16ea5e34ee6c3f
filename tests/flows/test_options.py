"""Options that commands share: every command that runs stages has all of them, with the same help, and uses them."""

import inspect
import logging
from typing import Annotated, get_args, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from humwatch.flows.cli.app import app
from humwatch.flows.cli.options import ReadingOptions, RunOptions, WorkerOptions, shared_options

RUNNING = [
    "run",
    "ingest",
    "spectrograms",
    "features",
    "fit",
    "score",
    "evaluate",
    "report",
    "nightly",
    "backfill",
    "retrain",
]
READING = ["rollback", "status", "prune"]


def options_of(name):
    (command,) = (found for group in _apps(app) for found in group.registered_commands if _name(found) == name)
    hints = get_type_hints(command.callback, include_extras=True)
    return {
        parameter: get_args(hints[parameter])[1].help
        for parameter in inspect.signature(command.callback).parameters
        if hasattr(hints[parameter], "__metadata__")
    }


def _apps(group):
    yield group
    for inside in group.registered_groups:
        yield from _apps(inside.typer_instance)


def _name(command):
    return command.name or command.callback.__name__


def shared(kind):
    return {name: get_args(hint)[1].help for name, hint in get_type_hints(kind, include_extras=True).items()}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, RunOptions) for name in RUNNING),
        *((name, ReadingOptions) for name in READING),
        ("serve", WorkerOptions),
    ],
)
def test_a_command_has_every_shared_option_after_its_own(name, kind):
    given, expected = options_of(name), shared(kind)
    assert list(given.items())[-len(expected) :] == list(expected.items())


def test_what_is_given_reaches_the_command_and_what_is_not_has_its_default():
    seen = []
    small = typer.Typer()

    @small.command()
    @shared_options
    def command(lake: Annotated[str, typer.Option()], options: RunOptions, night: int = 3) -> None:
        """Tell."""
        seen.append((lake, night, options))

    arguments = [
        "--lake",
        "x",
        "--set",
        "fit.seeds=[1]",
        "--set",
        "report.title=T",
        "--device",
        "cpu",
        "--workers",
        "2",
    ]
    assert CliRunner().invoke(small, arguments).exit_code == 0
    ((lake, night, options),) = seen
    assert (lake, night, options.preset, options.as_json) == ("x", 3, "default", False)
    assert options.assignments == ["fit.seeds=[1]", "report.title=T"]
    flags = options.flags()
    assert (flags["features"], flags["fit"], flags["dask"]) == (
        {"device": "cpu"},
        {"autoencoder_device": "cpu"},
        {"workers": 2},
    )
    assert options.settings().fit.seeds == (1,)


def test_verbose_logs_to_standard_error_and_only_there(monkeypatch, capsys):
    log = logging.getLogger("humwatch")
    monkeypatch.setattr(log, "handlers", [])
    monkeypatch.setattr(log, "propagate", True)
    level = log.level
    small = typer.Typer()

    @small.command()
    @shared_options
    def command(options: ReadingOptions) -> None:
        """Log."""
        logging.getLogger("humwatch.tasks.test").debug("a unit of work")
        logging.getLogger("another").debug("not ours")
        assert options.verbose

    try:
        small(["--verbose"], standalone_mode=False)
    finally:
        log.setLevel(level)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("DEBUG a unit of work\n")
    assert "not ours" not in captured.err
