"""The night: take in what arrived, score it with the current models, publish the night's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from humwatch.flows.arrivals import doubt_of_what_is_apart, tell_overdue
from humwatch.flows.fleet_flow import SettingsBySection, Uri, fleet_flow
from humwatch.flows.pipeline import run_stages, running
from humwatch.flows.presets import PresetName, load
from humwatch.flows.summary import RunSummary
from humwatch.flows.telling import failure_told, tell_night
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


@fleet_flow("nightly")
def nightly(
    lake: Uri,
    sources: Sequence[Uri] = (),
    night: date | None = None,
    machines: str | None = None,
    preset: PresetName = "default",
    settings: SettingsBySection | None = None,
    by_clock: bool = False,  # noqa: FBT001, FBT002 - a Prefect parameter, given by name
) -> RunSummary:
    """Ingest what is new, train machines that have history and no model, score, publish the report of the night.

    Of a night that nobody has recordings of nothing is published when it was named. By the clock it is judged: every
    machine is silent, and an event says that the night is overdue. Either is told in `nothing_arrived`.

    Args:
        lake: Root URI of the lake, a path or such as s3://bucket/lake.
        sources: Archives or folders to look into, paths or URIs; what was seen before adds nothing, late arrivals do.
        night: The night to work on and report; unset: all with something left to do, and the newest night and those
            that late recordings belong to are reported.
        machines: Pattern on TYPE/ID (SITE/TYPE/ID) such as fan/*; unset: all machines.
        preset: Base settings.
        settings: Settings by section above the preset, such as {"fit": {"detectors": ["knn"]}}.
        by_clock: A night is due, so judge what is expected by now (ingest.expect_within_nights) if nothing newer is
            there; unset: the newest night that is there counts, however old. A night that is named comes first.

    Raises:
        BadConfiguration, WeightsNotFound: nothing was begun.
        RunFailed: a stage cannot be carried out at all.
    """
    run = night_run(lake, night, machines, preset, settings)
    with failure_told(run, night), running(run, "nightly", sources) as summary:
        if night is not None:
            summary.nothing_arrived = nothing_arrived(run, night.isoformat())
            if summary.nothing_arrived:
                summary.night = night.isoformat()
                return summary
        summary.doubts += doubt_of_what_is_apart(run)
        run_stages(summary, _of_nights(run, night), ("spectrograms", "features", "fit"))
        run_stages(summary, _of_nights(run, night), ("score",))
        newest = night.isoformat() if night else _by_the_clock(summary, run, by_clock=by_clock)
        if newest is not None:
            summary.late = sorted(summary.batches_finished - {newest})
            for reported in (*summary.late, newest):
                _report(summary, run.scoped(Scope(frozenset({reported}), machines)), reported)
        tell_night(summary, run, night)
    return summary


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
    summary.silent = [machine.label for machine in silent_machines(tonight.history().rows, tonight.scope)]
    run_stages(summary, tonight, ("alarms",))
    state = night_state(tonight)
    if state is not None:
        summary.machines, summary.not_normal = state.machines, state.not_normal
        summary.why_no_alarm = state.why_no_alarm
    run_stages(summary, tonight, ("evaluate", "report"))
