"""How a command runs, what it prints, and the status it exits with."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from humwatch.flows.cli.console import auc_table, live_progress, print_table
from humwatch.flows.exit_status import BAD_USAGE, FAILED
from humwatch.flows.run_failed import RunFailed
from humwatch.flows.summary import Problem, RunSummary
from humwatch.storage.errors import BadConfiguration, HumwatchError, NothingReadable, WeightsNotFound
from humwatch.tasks.words import counted

Answer = tuple[dict[str, Any], int]
"""What a command found, as JSON values, and its exit status."""


def execute(command: str, lake: str, run: Callable[[], RunSummary], *, as_json: bool) -> NoReturn:
    """Run, print what came out and exit with the status of the contract."""
    status = None
    try:
        with live_progress(quiet=as_json), _said_once():
            summary = run()
    except RunFailed as failure:
        summary = failure.summary
    except (BadConfiguration, WeightsNotFound) as error:
        summary = RunSummary(command, lake, errors=[Problem.of("", "settings", error)])
        status = BAD_USAGE
    except Exception as error:  # noqa: BLE001 - the contract: one JSON object on any failure
        traceback.print_exc()
        summary = RunSummary(command, lake, errors=[Problem.unforeseen("", error)])
    if as_json:
        sys.stdout.write(json.dumps(summary.as_json()) + "\n")
    else:
        _print(summary)
    raise typer.Exit(summary.exit_status if status is None else status)


def answer(command: str, lake: str | None, ask: Callable[[], Answer], *, as_json: bool) -> NoReturn:
    """Run a command that is no flow, print its answer as JSON or what went wrong, and exit as the contract says."""
    problem = None
    try:
        result, status = ask()
    except (BadConfiguration, WeightsNotFound) as error:
        result, status, problem = {}, BAD_USAGE, Problem.of("", command, error)
    except HumwatchError as error:
        result, status, problem = {}, FAILED, Problem.of("", command, error)
    except Exception as error:  # noqa: BLE001 - the contract: one JSON object on any failure
        traceback.print_exc()
        result, status, problem = {}, FAILED, Problem.unforeseen(command, error)
    if as_json:
        head = {"command": command} if lake is None else {"command": command, "lake": lake}
        sys.stdout.write(
            json.dumps({**head, **result, "errors": [asdict(problem)] if problem else result.get("errors", [])}) + "\n"
        )
    elif problem:
        said = f"error [{problem.code}] {problem.message}"
        Console(stderr=True).print(said, style="red", markup=False, highlight=False)
    raise typer.Exit(status)


def stop(message: str, status: int = FAILED) -> NoReturn:
    """Print an error and exit."""
    Console(stderr=True).print(f"error: {message}", style="red", markup=False, highlight=False)
    raise typer.Exit(status)


@contextmanager
def _said_once() -> Iterator[None]:
    """Keep Prefect from logging the traceback of an error of ours, which the command puts into words."""

    def is_news(record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], HumwatchError))

    log = logging.getLogger("prefect.flow_runs")
    log.addFilter(is_news)
    try:
        yield
    finally:
        log.removeFilter(is_news)


def _print_tables(summary: RunSummary) -> None:
    if summary.evaluation_id:
        from humwatch.storage.lake import Lake
        from humwatch.tasks.evaluation.store import read_evaluated

        auc = read_evaluated(Lake(summary.lake), summary.evaluation_id, "auc")
        if not summary.machines or auc["auc"].notna().any():  # a night without labels has none
            print_table(auc_table(auc))
    for table in _tables(summary):
        print_table(table)


def _print(summary: RunSummary) -> None:
    errors, why = Console(stderr=True), summary.next_step
    _print_tables(summary)
    if summary.listed:
        print_table(
            f"{summary.listed} recordings listed, {summary.accepted} accepted, {summary.rejected} rejected; this run "
            f"decoded {summary.recordings_decoded}, embedded {summary.windows_embedded} windows, fitted "
            f"{summary.models_fitted} models, scored {summary.recordings_scored}"
        )
    codes = {*(doubt.code for doubt in summary.doubts), *(problem.code for problem in summary.errors)}
    untold = {reason: n for reason, n in summary.reasons.items() if reason not in codes}
    if untold and NothingReadable.code not in codes:  # which has them all
        from humwatch.tasks.plan.next_step import told_reasons

        said = f"rejected: {told_reasons(untold)}"
        errors.print(said, style="yellow", markup=False, highlight=False, soft_wrap=True)
    for doubt in summary.doubts:
        if not why or doubt.code != why.code:  # that one is said below
            _warn(errors, f"doubt [{doubt.code}] {doubt.message}", doubt.advice)
    if summary.degraded:
        errors.print("degraded: more recordings were rejected than ingest.max_rejected_fraction allows", style="yellow")
    for told in summary.same_samples:
        errors.print(told, style="yellow", markup=False, highlight=False)
    for delivery in summary.told:
        style = None if delivery.state == "sent" else "yellow"
        said = f"channel {delivery.channel}: {delivery.state}: {delivery.message}"
        errors.print(said, style=style, markup=False, highlight=False, soft_wrap=True)
    for problem in summary.errors:
        errors.print(f"error [{problem.code}] {problem.message}", style="red", markup=False, highlight=False)
    if why:
        _warn(errors, f"nothing was scored [{why.code}] {why.message}", why.advice)
    _tell_arrival(errors, summary)
    if summary.report:
        sys.stdout.write(f"report: {summary.report}\n")


def _tables(summary: RunSummary) -> Iterator[Table | str]:
    """Yield what a command of a fleet came to."""
    from humwatch.flows.cli.fleet_tables import backfill_table, night_table, retrain_table, rollback_table

    if summary.command == "backfill" and summary.nights:
        yield backfill_table(summary.nights)
    if summary.machines:
        yield night_table(summary)
        if summary.why_no_alarm and not summary.nothing_arrived:
            yield escape(summary.why_no_alarm)
    if summary.retrained or summary.not_retrained:
        yield retrain_table(summary)
    if summary.rolled_back or summary.not_rolled_back:
        yield rollback_table(summary)


def _tell_arrival(errors: Console, summary: RunSummary) -> None:
    """Say that nothing arrived of the night, or how old the newest one is where that is more than is expected."""
    if summary.nothing_arrived:
        _warn(errors, summary.nothing_arrived.message, summary.nothing_arrived.advice)
    elif summary.arrival.get("overdue") and summary.arrival["newest"]:
        nights_old = counted(summary.arrival["nights_old"], "night")
        print_table(f"the newest night is {summary.arrival['newest']}: {nights_old} before tonight by the clock")


def _warn(console: Console, message: str, advice: str) -> None:
    """Print what may be wrong and, below it, what to do; never wrapped, so that options can be copied."""
    console.print(message, style="yellow", markup=False, highlight=False, soft_wrap=True)
    console.print(f"    {advice}", markup=False, highlight=False, soft_wrap=True)
