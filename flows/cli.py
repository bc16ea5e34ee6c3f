"""The command line: `humwatch`."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

# Before anything imports Prefect or torch: their log noise and spinning threads help nobody here.
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import typer
from rich.console import Console
from rich.table import Table

from flows.console import auc_table, live_progress, print_table
from flows.pipeline import STAGES, RunFailed, StageName, pipeline
from flows.settings import PresetName, load
from flows.summary import BAD_USAGE, FAILED, Problem, RunSummary
from storage.errors import BadConfiguration, HumwatchError, WeightsNotFound
from storage.lake import Lake
from tasks.evaluation.kept import read_evaluation
from tasks.features.weights import fetch_weights, list_weights
from tasks.settings import Settings
from tasks.work import Work

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
weights_app = typer.Typer(no_args_is_help=True, help="Backbone weights: which are here, and staging them.")
app.add_typer(weights_app, name="weights")

LakeUri = Annotated[str, typer.Option("--lake", envvar="HUMWATCH_LAKE", help="Root URI of the lake.")]
Sources = Annotated[list[str], typer.Argument(help="Archives, folders or recordings; paths or URIs.")]
Preset = Annotated[PresetName, typer.Option(help="Base settings.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file, one table a section.")]
Assignments = Annotated[list[str] | None, typer.Option("--set", help="section.key=value; repeatable.")]
Backbones = Annotated[list[str] | None, typer.Option("--backbone", help="Representation; repeatable.")]
Detectors = Annotated[list[str] | None, typer.Option("--detector", help="Detector; repeatable.")]
Workers = Annotated[int | None, typer.Option(help="Worker processes of the local cluster.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output and nothing else.")]

SAMPLES = Path(__file__).parents[1] / "samples"


def _from_sources(name: str, stages: Sequence[StageName], text: str) -> None:
    @app.command(name, help=text)
    def command(
        sources: Sources,
        lake: LakeUri,
        preset: Preset = "default",
        config: ConfigFile = None,
        assignments: Assignments = None,
        backbone: Backbones = None,
        detector: Detectors = None,
        workers: Workers = None,
        device: Device = None,
        as_json: AsJson = False,
    ) -> None:
        flags = _flags(backbone, detector, workers, device)
        _execute(name, lake, sources, stages, lambda: load(preset, config, flags, assignments or ()), as_json=as_json)


def _on_the_lake(name: StageName, text: str) -> None:
    @app.command(name, help=text)
    def command(
        lake: LakeUri,
        preset: Preset = "default",
        config: ConfigFile = None,
        assignments: Assignments = None,
        backbone: Backbones = None,
        detector: Detectors = None,
        workers: Workers = None,
        device: Device = None,
        as_json: AsJson = False,
    ) -> None:
        flags = _flags(backbone, detector, workers, device)
        _execute(name, lake, [], (name,), lambda: load(preset, config, flags, assignments or ()), as_json=as_json)


_from_sources("run", STAGES, "The whole chain once, ingest to report; only what is missing.")
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
) -> None:
    """Run the bundled real recordings through the whole chain."""
    archives = sorted(str(path) for path in SAMPLES.glob("*.zip"))
    if not archives:
        _stop(f"the sample archives are not in {SAMPLES}: run the demo from a clone of the repository", BAD_USAGE)
    root = lake or tempfile.mkdtemp(prefix="humwatch-demo-")
    _execute("demo", root, archives, STAGES, lambda: load(preset, None, None, assignments or ()), as_json=as_json)


@weights_app.command("list")
def weights_list(config: ConfigFile = None, assignments: Assignments = None, as_json: AsJson = False) -> None:
    """Say which backbones have weights here, and where."""
    rows = list_weights(_settings_or_stop(lambda: load("default", config, None, assignments or ())).features)
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
    try:
        for path in fetch_weights(names, to):
            sys.stdout.write(f"{path}\n")
    except HumwatchError as error:
        _stop(str(error), BAD_USAGE)


def main() -> None:
    """Run the command line."""
    app()


def _flags(
    backbone: list[str] | None, detector: list[str] | None, workers: int | None, device: str | None
) -> dict[str, dict[str, Any]]:
    given: dict[str, dict[str, Any]] = {
        "features": {"backbones": backbone, "device": device},
        "fit": {"detectors": detector},
        "dask": {"workers": workers},
    }
    return {section: {key: value for key, value in keys.items() if value} for section, keys in given.items()}


def _execute(
    command: str,
    lake: str,
    sources: Sequence[str],
    stages: Sequence[StageName],
    settings: Callable[[], Settings],
    *,
    as_json: bool,
) -> None:
    """Run stages, print what came out and exit with the status of the contract."""
    lake = _absolute(lake)
    status = None
    try:
        with live_progress(quiet=as_json):
            summary = pipeline(Work(lake, settings()), [_absolute(source) for source in sources], stages, command)
    except RunFailed as failure:
        summary = failure.summary
    except (BadConfiguration, WeightsNotFound) as error:
        summary = RunSummary(command, lake, errors=[Problem.of("", "settings", error)])
        status = BAD_USAGE
    except Exception as error:  # noqa: BLE001 - the contract: one JSON object on any failure
        traceback.print_exc()
        summary = RunSummary(command, lake, errors=[Problem("", "", "internal_error", repr(error))])
    if as_json:
        sys.stdout.write(json.dumps(summary.as_json()) + "\n")
    else:
        _print(summary)
    raise typer.Exit(summary.exit_status if status is None else status)


def _print(summary: RunSummary) -> None:
    errors = Console(stderr=True)
    if summary.evaluation_id:
        print_table(auc_table(read_evaluation(Lake(summary.lake), summary.evaluation_id).auc))
    if summary.listed:
        print_table(
            f"{summary.listed} recordings listed, {summary.accepted} accepted, {summary.rejected} rejected; this run "
            f"decoded {summary.recordings_decoded}, embedded {summary.windows_embedded} windows, fitted "
            f"{summary.models_fitted} models, scored {summary.recordings_scored}"
        )
    if summary.degraded:
        errors.print("degraded: more recordings were rejected than ingest.max_rejected_fraction allows", style="yellow")
    for problem in summary.errors:
        errors.print(f"error [{problem.code}] {problem.message}", style="red", markup=False, highlight=False)
    if summary.report:
        sys.stdout.write(f"report: {summary.report}\n")


def _settings_or_stop(settings: Callable[[], Settings]) -> Settings:
    try:
        return settings()
    except BadConfiguration as error:
        _stop(str(error), BAD_USAGE)
        raise


def _absolute(uri: str) -> str:
    return uri if "://" in uri else str(Path(uri).expanduser().absolute())


def _stop(message: str, status: int = FAILED) -> None:
    Console(stderr=True).print(f"error: {message}", style="red", markup=False, highlight=False)
    raise typer.Exit(status)
