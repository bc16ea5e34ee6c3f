"""What every command shares: its options, how it runs, and what it prints."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from flows.console import auc_table, live_progress, print_table
from flows.pipeline import RunFailed
from flows.settings import PresetName
from flows.summary import BAD_USAGE, FAILED, Problem, RunSummary
from storage.errors import BadConfiguration, HumwatchError, WeightsNotFound
from storage.lake import Lake
from tasks.evaluation.kept import read_evaluated

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

Answer = tuple[dict[str, Any], int]
"""What a command found, as JSON values, and its exit status."""


def flags_of(
    backbone: list[str] | None, detector: list[str] | None, workers: int | None, device: str | None
) -> dict[str, dict[str, Any]]:
    given: dict[str, dict[str, Any]] = {
        "features": {"backbones": backbone, "device": device},
        "fit": {"detectors": detector, "autoencoder_device": device},
        "dask": {"workers": workers},
    }
    return {section: {key: value for key, value in keys.items() if value} for section, keys in given.items()}


def execute(command: str, lake: str, run: Callable[[], RunSummary], *, as_json: bool) -> NoReturn:
    """Run, print what came out and exit with the status of the contract."""
    status = None
    try:
        with live_progress(quiet=as_json):
            summary = run()
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


def answer(command: str, lake: str | None, ask: Callable[[], Answer], *, as_json: bool) -> NoReturn:
    """Run a command that is no flow, print its answer as JSON or what went wrong, and exit as the contract says."""
    problem = None
    try:
        found, status = ask()
    except (BadConfiguration, WeightsNotFound) as error:
        found, status, problem = {}, BAD_USAGE, Problem.of("", command, error)
    except HumwatchError as error:
        found, status, problem = {}, FAILED, Problem.of("", command, error)
    except Exception as error:  # noqa: BLE001 - the contract: one JSON object on any failure
        traceback.print_exc()
        found, status, problem = {}, FAILED, Problem("", command, "internal_error", repr(error))
    if as_json:
        head = {"command": command} if lake is None else {"command": command, "lake": lake}
        sys.stdout.write(
            json.dumps({**head, **found, "errors": [asdict(problem)] if problem else found.get("errors", [])}) + "\n"
        )
    elif problem:
        said = f"error [{problem.code}] {problem.message}"
        Console(stderr=True).print(said, style="red", markup=False, highlight=False)
    raise typer.Exit(status)


def absolute(uri: str) -> str:
    """Return a URI as it is, a path made absolute."""
    return uri if "://" in uri else str(Path(uri).expanduser().absolute())


def stop(message: str, status: int = FAILED) -> NoReturn:
    """Print an error and exit."""
    Console(stderr=True).print(f"error: {message}", style="red", markup=False, highlight=False)
    raise typer.Exit(status)


def _print(summary: RunSummary) -> None:
    errors = Console(stderr=True)
    if summary.evaluation_id:
        print_table(auc_table(read_evaluated(Lake(summary.lake), summary.evaluation_id, "auc")))
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
