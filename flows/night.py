"""What a night comes to, as a flow does it and a look goes over it; knows no Prefect, see `humwatch.flows.stages`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from humwatch.flows.arrivals import doubt_of_what_is_apart, tell_overdue
from humwatch.flows.presets import PresetName, load
from humwatch.flows.stages import run_stages
from humwatch.flows.summary import RunSummary
from humwatch.flows.telling import tell_night
from humwatch.tasks.plan.absent_night import nothing_arrived
from humwatch.tasks.plan.catalog import silent_machines
from humwatch.tasks.plan.open_nights import newest_night, open_nights
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scope import Scope
from humwatch.tasks.plan.tonight import arrival_of
from humwatch.tasks.reports.night.night_state import night_state

# On a fleet nobody labels its recordings: each machine's commissioning window is taken for normal.
_UNLABELLED = {"fit": {"training": "assumed_normal"}}


def night_run(
    lake: str,
    night: date | None,
    machines: str | None,
    preset: PresetName,
    settings: Mapping[str, Mapping[str, Any]] | None,
) -> Run:
    """Return the run of one night, or of everything that is missing when no night is named.

    Raises:
        BadConfiguration: a setting is wrong.
    """
    flags = {**_UNLABELLED, **(settings or {})}
    flags["fit"] = {**_UNLABELLED["fit"], **flags["fit"]}
    batches = None if night is None else frozenset({night.isoformat()})
    return Run(lake, load(preset, None, flags), Scope(batches, machines))


def do_night(summary: RunSummary, run: Run, night: date | None, *, by_clock: bool) -> None:
    """Do all of a night but take in its sources, and add what was done to `summary`; see `humwatch.flows.nightly`.

    Raises:
        NotComplete, ...: any error of ours that a stage ends with.
    """
    machines = run.scope.machines
    if night is not None:
        summary.nothing_arrived = nothing_arrived(run, night.isoformat())
        if summary.nothing_arrived:
            summary.night = night.isoformat()
            return
    summary.doubts += doubt_of_what_is_apart(run)
    run_stages(summary, _of_nights(run, night), ("spectrograms", "features", "fit"))
    run_stages(summary, _of_nights(run, night), ("score",))
    newest = night.isoformat() if night else _by_the_clock(summary, run, by_clock=by_clock)
    if newest is not None:
        summary.late = sorted(summary.batches_finished - {newest})
        for reported in (*summary.late, newest):
            _report(summary, run.scoped(Scope(frozenset({reported}), machines)), reported)
    tell_night(summary, run, night)


def _by_the_clock(summary: RunSummary, run: Run, *, by_clock: bool) -> str | None:
    """Return the night to report when none is named, None without any, and say how old the newest one is.

    By the clock that is the night expected where nothing newer is there; Prefect is told so.
    """
    arrival = arrival_of(newest_night(run), run.settings.ingest, run.now)
    summary.arrival = arrival.as_json()
    if not (by_clock and arrival.is_overdue and arrival.expected):
        return arrival.newest
    summary.nothing_arrived = nothing_arrived(run, arrival.expected)
    if summary.nothing_arrived:
        tell_overdue(run.lake, summary.nothing_arrived, arrival.tonight)
    # Of machines that were never heard there is nothing to report; of some of them, the newest night is.
    return arrival.expected if arrival.newest and run.scope.machines is None else arrival.newest


def _of_nights(run: Run, night: date | None) -> Run:
    """Return the run about the night that is named, else on those that have something left to do."""
    if night is not None:
        return run
    return run.scoped(Scope(open_nights(run), run.scope.machines))


def _report(summary: RunSummary, tonight: Run, night: str) -> None:
    summary.recording_ids = None
    summary.night = night
    summary.silent = [machine.label for machine in silent_machines(tonight.history_in_scope(), tonight.scope)]
    run_stages(summary, tonight, ("alarms",))
    state = night_state(tonight)
    if state is not None:
        summary.machines, summary.not_normal = state.machines, state.not_normal
        summary.why_no_alarm = state.why_no_alarm
    run_stages(summary, tonight, ("evaluate", "report"))
