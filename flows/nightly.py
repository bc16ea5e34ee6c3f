"""The night: take in what arrived, score it with the current models, publish the night's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from flows.fleet_flow import SettingsBySection, Uri, fleet_flow
from flows.pipeline import run_stages, running
from flows.settings import PresetName, load
from flows.summary import RunSummary
from tasks.catalog import silent_machines
from tasks.nights import newest_night, open_nights
from tasks.scope import Scope
from tasks.work import Work

# On a fleet nobody labels its recordings: each machine's commissioning window is taken for normal.
_UNLABELLED = {"fit": {"training": "assumed_normal"}}


def night_work(
    lake: str,
    night: date | None,
    machines: str | None,
    preset: PresetName,
    settings: Mapping[str, Mapping[str, Any]] | None,
) -> Work:
    """Return the work of one night, or of everything that is missing when no night is named.

    Raises:
        BadConfiguration: a setting is wrong.
    """
    flags = {**_UNLABELLED, **(settings or {})}
    flags["fit"] = {**_UNLABELLED["fit"], **flags["fit"]}
    batches = None if night is None else frozenset({night.isoformat()})
    return Work(lake, load(preset, None, flags), Scope(batches, machines))


@fleet_flow("nightly")
def nightly(
    lake: Uri,
    sources: Sequence[Uri] = (),
    night: date | None = None,
    machines: str | None = None,
    preset: PresetName = "default",
    settings: SettingsBySection | None = None,
) -> RunSummary:
    """Ingest what is new, train machines that have history and no model, score, publish the report of the night.

    Args:
        lake: Root URI of the lake, a path or such as s3://bucket/lake.
        sources: Archives or folders to look into, paths or URIs; what was seen before adds nothing, late arrivals do.
        night: The night to work on and report; unset: all with something left to do, and the newest night and those
            that late recordings belong to are reported.
        machines: Pattern on TYPE/ID (SITE/TYPE/ID) such as fan/*; unset: all machines.
        preset: Base settings.
        settings: Settings by section above the preset, such as {"fit": {"detectors": ["knn"]}}.

    Raises:
        BadConfiguration, WeightsNotFound: nothing was begun.
        RunFailed: a stage cannot be carried out at all.
    """
    work = night_work(lake, night, machines, preset, settings)
    with running(work, "nightly") as summary:
        run_stages(summary, work, sources, ("ingest",))
        run_stages(summary, _of_nights(work, night), (), ("spectrograms", "features", "fit"))
        run_stages(summary, _of_nights(work, night), (), ("score",))
        newest = night.isoformat() if night else newest_night(work.open_lake(), work)
        if newest is not None:
            summary.late = sorted(summary.batches_finished - {newest})
            for reported in (*summary.late, newest):
                _report(summary, Work(lake, work.settings, Scope(frozenset({reported}), machines)), reported)
    return summary


def _of_nights(work: Work, night: date | None) -> Work:
    """Return the work on the night that is named, else on those that have something left to do."""
    if night is not None:
        return work
    return replace(work, scope=Scope(open_nights(work.open_lake(), work), work.scope.machines))


def _report(summary: RunSummary, tonight: Work, night: str) -> None:
    summary.recording_ids = None
    summary.night = night
    catalog = tonight.catalog(tonight.open_lake())
    summary.silent = [machine.label for machine in silent_machines(catalog, tonight.scope)]
    run_stages(summary, tonight, (), ("alarms", "evaluate", "report"))
