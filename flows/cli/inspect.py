"""`humwatch inspect`: what is understood of sources before anything is done with them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from humwatch.flows.cli.answers import Answer, answer
from humwatch.flows.cli.options import ReadingOptions, Sources, absolute_all, shared_options
from humwatch.flows.exit_status import DONE, FAILED
from humwatch.flows.summary import Problem

app = typer.Typer()


@app.command("inspect")
@shared_options
def inspect_command(
    sources: Sources,
    options: ReadingOptions,
    headers: Annotated[int, typer.Option(min=0, help="Headers to look at, spread over machines.")] = 100,
) -> None:
    """Say what is understood of sources, and what is doubtful; reads names and some headers, writes nothing."""

    def ask() -> Answer:
        from humwatch.flows.cli.inspection_view import print_inspection
        from humwatch.flows.operations.inspecting import inspect_sources

        given = absolute_all(sources)
        found, errors = inspect_sources(given, options.settings(), headers, datetime.now(UTC).date())
        if not options.as_json:
            print_inspection(found, errors)
        problems = [asdict(Problem.of(source, "inspect", error)) for source, error in errors]
        return {**found.as_json(), "errors": problems}, FAILED if problems else DONE

    answer("inspect", None, ask, as_json=options.as_json)
