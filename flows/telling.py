"""Telling people of a nightly run: its night when it is published, its failure when it ends in one."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from zoneinfo import ZoneInfo

from humwatch.flows.run_failed import RunFailed, problems_of, without_credentials
from humwatch.flows.summary import Problem, RunSummary
from humwatch.tasks.notify.news import News
from humwatch.tasks.notify.task import Delivery, tell_channels
from humwatch.tasks.plan.absent_night import NothingArrived
from humwatch.tasks.plan.open_nights import newest_night
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scope import Scope

_URI = re.compile(r"\w+://\S+")

_log = logging.getLogger(__name__)


def tell_night(summary: RunSummary, run: Run, named: date | None) -> None:
    """Tell of the night that was published, where it is the newest, and of what the run could not do.

    What happened on earlier nights and still stands is seen on the newest; so a backfill tells of its last night alone.
    """
    with _no_reason_to_fail(summary):
        judged = summary.night is not None and summary.report is not None and summary.night == newest_night(run)
        night = summary.night if judged and summary.night else _date_of(named, run)
        tonight = run.scoped(Scope(frozenset({night}), run.scope.machines))
        of_run = [*failures(summary.errors, _today(run)), *missing_night(summary.nothing_arrived)]
        summary.told += tell_channels(tonight, night, of_run, link_to(summary, run), judged=judged)


@contextmanager
def failure_told(run: Run, named: date | None) -> Iterator[None]:
    """Tell of the error that ends the context; it goes on."""
    try:
        yield
    except Exception as error:
        summary = error.summary if isinstance(error, RunFailed) else RunSummary("nightly", run.lake_uri)
        with _no_reason_to_fail(summary):
            of_run = failures(problems_of(error), _today(run))
            summary.told += tell_channels(run, _date_of(named, run), of_run, "", judged=False)
        raise


def failures(problems: Sequence[Problem], today: str) -> list[News]:
    """Return the problems of a run as one thing to tell; the same codes again that day are the same."""
    if not problems:
        return []
    first, *others = problems
    message = _URI.sub(lambda uri: without_credentials(uri[0]), " ".join(first.message.split()))
    where = f"{first.stage}: " if first.stage else ""
    more = f" (and {len(others)} more)" if others else ""
    codes = ",".join(sorted({problem.code for problem in problems}))
    return [News("failed", codes, f"{where}{first.code}: {message}{more}", today)]


def missing_night(nothing: NothingArrived | None) -> list[News]:
    """Return the night of which nothing arrived as one thing to tell."""
    return [News("nothing_arrived", nothing.night, nothing.message, nothing.night)] if nothing else []


def link_to(summary: RunSummary, run: Run) -> str:
    """Return where people find the page of a run; empty without one."""
    if summary.report is None:
        return ""
    public = run.settings.notify.reports_url
    return without_credentials(summary.report) if public is None else _below(public, summary.report)


def _below(public: str, page: str) -> str:
    return f"{public.rstrip('/')}/{page.rpartition('/reports/')[2]}"


def _date_of(named: date | None, run: Run) -> str:
    return _today(run) if named is None else named.isoformat()


def _today(run: Run) -> str:
    """Return the date where the plant is."""
    return run.now.astimezone(ZoneInfo(run.settings.ingest.time_zone)).date().isoformat()


@contextmanager
def _no_reason_to_fail(summary: RunSummary) -> Iterator[None]:
    """Let telling fail while the context lasts; the text of what it ends in may hold what nobody may read."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - as above
        _log.warning("nobody was told: %s", type(error).__name__)
        summary.told.append(Delivery("all", "failed", f"nobody was told: {type(error).__name__}"))
