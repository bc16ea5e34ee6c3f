"""Commands for a fleet: nights, backfill, and the life of its models."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from humwatch.flows.cli.answers import execute, stop
from humwatch.flows.cli.options import (
    LakeUri,
    Machines,
    ReadingOptions,
    RunOptions,
    SourcesToLookInto,
    absolute,
    absolute_all,
    shared_options,
)
from humwatch.flows.exit_status import BAD_USAGE

if TYPE_CHECKING:
    from humwatch.flows.summary import RunSummary

app = typer.Typer()

ByClock = Annotated[
    bool,
    typer.Option(
        "--by-clock",
        help="For schedules: if nothing arrived of the night that is due, judge and report that; status 4.",
    ),
]
Night = Annotated[datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="The night; unset: the newest.")]


@app.command("nightly")
@shared_options
def nightly_command(
    lake: LakeUri,
    options: RunOptions,
    sources: SourcesToLookInto = None,
    night: Night = None,
    by_clock: ByClock = False,
    machines: Machines = None,
) -> None:
    """Ingest what is new, score it with the current models, publish the night's report."""
    root, given = absolute(lake), absolute_all(sources)
    if night and by_clock:
        stop("--date names a night, --by-clock takes the one that is due: give one of them", BAD_USAGE)

    def run() -> RunSummary:
        from humwatch.flows.looking import run_nightly

        date = night.date() if night else None
        return run_nightly(root, given, date, machines, options.preset, options.overrides(), by_clock=by_clock)

    execute("nightly", root, run, as_json=options.as_json)


@app.command("backfill")
@shared_options
def backfill_command(
    lake: LakeUri,
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First night.")],
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last night, included.")],
    options: RunOptions,
    sources: SourcesToLookInto = None,
    machines: Machines = None,
    newest_first: Annotated[bool, typer.Option("--newest-first", help="Begin with the last night.")] = False,
    deployment: Annotated[
        str | None, typer.Option(help="Run the nights on this Prefect deployment (nightly/NAME) instead of here.")
    ] = None,
    at_once: Annotated[
        int, typer.Option(min=1, help="Runs on the deployment at once; more than 1 only where all have models.")
    ] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
) -> None:
    """Do every night of a range, one idempotent run each."""
    root, given, preset = absolute(lake), absolute_all(sources), options.preset
    if last < first:
        stop("--to is before --from", BAD_USAGE)

    def run() -> RunSummary:
        from humwatch.flows.backfill import backfill, nights, plan_backfill
        from humwatch.flows.night import night_run
        from humwatch.flows.summary import RunSummary

        settings = options.overrides()
        if dry_run:
            dates = nights(first.date(), last.date(), newest_first=newest_first)
            planned = plan_backfill(night_run(root, None, machines, preset, settings), dates)
            return RunSummary("backfill", root, nights=planned)
        days = first.date(), last.date()
        return backfill(root, *days, machines, given, newest_first, deployment, at_once, preset, settings or None)

    execute("backfill", root, run, as_json=options.as_json)


@app.command("retrain")
@shared_options
def retrain_command(lake: LakeUri, options: RunOptions, machines: Machines = None) -> None:
    """Train new models on recent nights; each replaces the current one only if its gate passes on later nights."""
    root = absolute(lake)

    def run() -> RunSummary:
        from humwatch.flows.train import train

        return train(root, machines, options.preset, options.overrides())

    execute("retrain", root, run, as_json=options.as_json)


@app.command("rollback")
@shared_options
def rollback_command(lake: LakeUri, options: ReadingOptions, machines: Machines = None) -> None:
    """Make the previous model of every machine current again."""
    root = absolute(lake)

    def run() -> RunSummary:
        from humwatch.flows.train import rollback

        return rollback(root, machines, options.preset, options.overrides())

    execute("rollback", root, run, as_json=options.as_json)
