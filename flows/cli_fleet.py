"""Commands for a fleet: nights, backfill, and the life of its models."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from flows.backfill import backfill, nights, plan_backfill
from flows.cli_common import (
    AsJson,
    Assignments,
    Backbones,
    ConfigFile,
    Detectors,
    Device,
    LakeUri,
    Preset,
    Workers,
    absolute,
    execute,
    flags_of,
    stop,
)
from flows.nightly import night_work, nightly
from flows.settings import overrides
from flows.summary import BAD_USAGE, RunSummary
from flows.train import rollback, train

app = typer.Typer()

Machines = Annotated[str | None, typer.Option(help="Pattern on TYPE/ID (SITE/TYPE/ID), such as 'fan/*'.")]
Night = Annotated[datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="The night; unset: the newest.")]


@app.command("nightly")
def nightly_command(
    lake: LakeUri,
    sources: Annotated[list[str] | None, typer.Argument(help="Archives or folders to look into.")] = None,
    night: Night = None,
    machines: Machines = None,
    preset: Preset = "default",
    config: ConfigFile = None,
    assignments: Assignments = None,
    backbone: Backbones = None,
    detector: Detectors = None,
    workers: Workers = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Ingest what is new, score it with the current models, publish the night's report."""
    root, given = absolute(lake), [absolute(source) for source in sources or ()]

    def run() -> RunSummary:
        settings = overrides(config, flags_of(backbone, detector, workers, device), assignments or ())
        return nightly(root, given, night.date() if night else None, machines, preset, settings)

    execute("nightly", root, run, as_json=as_json)


@app.command("backfill")
def backfill_command(
    lake: LakeUri,
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First night.")],
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last night, included.")],
    sources: Annotated[list[str] | None, typer.Argument(help="Archives or folders to look into.")] = None,
    machines: Machines = None,
    newest_first: Annotated[bool, typer.Option("--newest-first", help="Begin with the last night.")] = False,
    deployment: Annotated[
        str | None, typer.Option(help="Run the nights on this Prefect deployment (nightly/NAME) instead of here.")
    ] = None,
    at_once: Annotated[
        int, typer.Option(min=1, help="Runs on the deployment at once; more than 1 only where all have models.")
    ] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    preset: Preset = "default",
    config: ConfigFile = None,
    assignments: Assignments = None,
    backbone: Backbones = None,
    detector: Detectors = None,
    workers: Workers = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Do every night of a range, one idempotent run each."""
    root, given = absolute(lake), [absolute(source) for source in sources or ()]
    if last < first:
        stop("--to is before --from", BAD_USAGE)

    def run() -> RunSummary:
        settings = overrides(config, flags_of(backbone, detector, workers, device), assignments or ())
        if dry_run:
            work = night_work(root, None, machines, preset, settings)
            planned = plan_backfill(work, nights(first.date(), last.date(), newest_first=newest_first))
            return RunSummary("backfill", root, nights=planned)
        days = first.date(), last.date()
        return backfill(root, *days, machines, given, newest_first, deployment, at_once, preset, settings or None)

    execute("backfill", root, run, as_json=as_json)


@app.command("retrain")
def retrain_command(
    lake: LakeUri,
    machines: Machines = None,
    preset: Preset = "default",
    config: ConfigFile = None,
    assignments: Assignments = None,
    backbone: Backbones = None,
    detector: Detectors = None,
    workers: Workers = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Train new models on recent nights; each replaces the current one only if its gate passes on later nights."""
    root = absolute(lake)

    def run() -> RunSummary:
        settings = overrides(config, flags_of(backbone, detector, workers, device), assignments or ())
        return train(root, machines, preset, settings)

    execute("retrain", root, run, as_json=as_json)


@app.command("rollback")
def rollback_command(
    lake: LakeUri,
    machines: Machines = None,
    preset: Preset = "default",
    config: ConfigFile = None,
    assignments: Assignments = None,
    backbone: Backbones = None,
    detector: Detectors = None,
    as_json: AsJson = False,
) -> None:
    """Make the previous model of every machine current again."""
    root = absolute(lake)

    def run() -> RunSummary:
        settings = overrides(config, flags_of(backbone, detector, None, None), assignments or ())
        return rollback(root, machines, preset, settings)

    execute("rollback", root, run, as_json=as_json)
