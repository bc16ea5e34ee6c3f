"""The command line: `humwatch`."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

# Before anything imports Prefect or torch: their log noise and spinning threads help nobody here.
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
# On a busy machine the embedded server takes longer to start than the 20 s it would be given.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import typer
from rich.table import Table

import humwatch
from humwatch.flows.cli import alarms, benchmark, export, fleet, inspect, operators, serve
from humwatch.flows.cli.answers import execute, stop
from humwatch.flows.cli.console import print_table
from humwatch.flows.cli.options import (
    AsJson,
    Assignments,
    ConfigFile,
    LakeUri,
    Preset,
    RunOptions,
    Sources,
    Verbose,
    absolute,
    absolute_all,
    log_everything,
    shared_options,
)
from humwatch.flows.exit_status import BAD_USAGE
from humwatch.flows.presets import load
from humwatch.storage.errors import HumwatchError

if TYPE_CHECKING:
    from humwatch.flows.stages import StageName
    from humwatch.flows.summary import RunSummary

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
weights_app = typer.Typer(no_args_is_help=True, help="Backbone weights: which are here, and staging them.")
app.add_typer(weights_app, name="weights")
for commands in (inspect, fleet, alarms, operators, serve, export, benchmark):
    app.add_typer(commands.app)

SAMPLES = Path(humwatch.__file__).parent / "samples"


def _from_sources(name: str, stages: Sequence[StageName] | None, text: str) -> None:
    @app.command(name, help=text)
    @shared_options
    def command(sources: Sources, lake: LakeUri, options: RunOptions) -> None:
        root, given = absolute(lake), absolute_all(sources)

        def run() -> RunSummary:
            from humwatch.flows.looking import run_pipeline
            from humwatch.flows.stages import STAGES
            from humwatch.tasks.plan.run import Run

            return run_pipeline(Run(root, options.settings()), given, stages or STAGES, name)

        execute(name, root, run, as_json=options.as_json)


def _on_the_lake(name: StageName, text: str) -> None:
    @app.command(name, help=text)
    @shared_options
    def command(lake: LakeUri, options: RunOptions) -> None:
        root = absolute(lake)

        def run() -> RunSummary:
            from humwatch.flows.looking import run_pipeline
            from humwatch.tasks.plan.run import Run

            return run_pipeline(Run(root, options.settings()), (), (name,), name)

        execute(name, root, run, as_json=options.as_json)


_from_sources("run", None, "The whole chain once, ingest to report; only what is missing.")
_from_sources("ingest", ("ingest",), "List sources and keep what is new.")
_on_the_lake("spectrograms", "Decode what is not decoded yet: health and log-mel spectrograms.")
_on_the_lake("features", "Embed what is not embedded yet.")
_on_the_lake("fit", "Fit the models that are missing.")
_on_the_lake("score", "Score what the current models have not scored.")
_on_the_lake("evaluate", "Evaluate the scores and print the AUC table.")
_on_the_lake("report", "Publish the report.")


@app.command()
def demo(
    lake: Annotated[str | None, typer.Option("--lake", help="Root of the lake; unset: a new temporary folder.")] = None,
    preset: Preset = "default",
    assignments: Assignments = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Run the bundled real recordings through the whole chain."""
    if verbose:
        log_everything()
    archives = sorted(str(path) for path in SAMPLES.glob("*.zip"))
    if not archives:
        stop(
            f"the sample archives are not in {SAMPLES}: install Humwatch again, or run `make demo` in a clone",
            BAD_USAGE,
        )
    root = absolute(lake or tempfile.mkdtemp(prefix="humwatch-demo-"))

    def run() -> RunSummary:
        from humwatch.flows.looking import run_pipeline
        from humwatch.tasks.plan.run import Run

        return run_pipeline(Run(root, load(preset, None, None, assignments or ())), archives, command="demo")

    execute("demo", root, run, as_json=as_json)


@weights_app.command("list")
def weights_list(config: ConfigFile = None, assignments: Assignments = None, as_json: AsJson = False) -> None:
    """Say which backbones have weights here, and where."""
    from humwatch.tasks.weights.weights import list_weights

    try:
        rows = list_weights(load("default", config, None, assignments or ()).features)
    except HumwatchError as error:
        stop(str(error), BAD_USAGE)
    if as_json:
        sys.stdout.write(json.dumps([dict(vars(row)) for row in rows]) + "\n")
        return
    table = Table("backbone", "available", "where", "file", "licence")
    for row in rows:
        table.add_row(row.backbone, "yes" if row.available else "no", row.where, row.file, row.licence)
    print_table(table)


@weights_app.command("fetch")
def weights_fetch(
    names: Annotated[list[str], typer.Argument(help="Backbones.")],
    to: Annotated[str, typer.Option("--to", help="Folder or s3:// prefix, later `features.weights_dir`.")],
) -> None:
    """Download torchvision's weight files to where a site without internet can read them."""
    from humwatch.tasks.weights.weights import fetch_weights

    try:
        for path in fetch_weights(names, to):
            sys.stdout.write(f"{path}\n")
    except HumwatchError as error:
        stop(str(error), BAD_USAGE)


def main() -> None:
    """Run the command line."""
    app()
