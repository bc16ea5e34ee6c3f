"""The night: take in what arrived, score it with the current models, publish the night's report; and many nights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

from prefect import flow
from prefect.deployments import run_deployment
from prefect.runtime import flow_run

from flows.pipeline import run_stages, running
from flows.settings import PresetName, load
from flows.summary import RunSummary
from storage.keys import digest
from tasks.catalog import silent_machines
from tasks.nights import newest_night, open_nights
from tasks.scope import Scope
from tasks.work import Work

# On a fleet nobody labels its recordings: each machine's commissioning window is taken for normal.
_UNLABELLED = {"fit": {"training": "assumed_normal"}}


def _name() -> str:
    parameters = flow_run.parameters
    night = parameters.get("night") or parameters.get("first") or datetime.now(UTC).date()
    return f"{flow_run.flow_name} {night} {PurePosixPath(str(parameters['lake'])).name}"


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


@flow(name="nightly", flow_run_name=_name)
def nightly(
    lake: str,
    sources: Sequence[str] = (),
    night: date | None = None,
    machines: str | None = None,
    preset: PresetName = "default",
    settings: dict[str, dict[str, Any]] | None = None,
) -> RunSummary:
    """Ingest what is new, train machines that have history and no model, score, publish the report of the night.

    Args:
        lake: root URI.
        sources: archives or folders to look into; what was seen before adds nothing, late arrivals do.
        night: the night to report; unset: everything missing is scored and the newest night reported.
        machines: pattern on `TYPE/ID`; unset: all machines.
        preset: base settings.
        settings: settings by section, above the preset.

    Raises:
        BadConfiguration, WeightsNotFound: nothing was begun.
        RunFailed: a stage cannot be carried out at all.
    """
    work = night_work(lake, night, machines, preset, settings)
    with running(work, "nightly") as summary:
        run_stages(summary, work, sources, ("ingest",))
        run_stages(summary, _of_nights(work, night), (), ("spectrograms", "features", "fit"))
        run_stages(summary, _of_nights(work, night), (), ("score",))
        reported = night.isoformat() if night else newest_night(work.open_lake(), work)
        if reported is not None:
            tonight = Work(lake, work.settings, Scope(frozenset({reported}), machines))
            summary.recording_ids = None
            summary.night = reported
            catalog = tonight.catalog(tonight.open_lake())
            summary.silent = [machine.label for machine in silent_machines(catalog, tonight.scope)]
            run_stages(summary, tonight, (), ("evaluate", "report"))
    return summary


@flow(name="backfill", flow_run_name=_name)
def backfill(
    lake: str,
    first: date,
    last: date,
    machines: str | None = None,
    sources: Sequence[str] = (),
    newest_first: bool = False,  # noqa: FBT001, FBT002 - a Prefect parameter, given by name
    deployment: str | None = None,
    preset: PresetName = "default",
    settings: dict[str, dict[str, Any]] | None = None,
) -> list[RunSummary]:
    """Do every night from `first` to `last`: one idempotent run each; a night that is done costs a look.

    Args:
        lake: root URI.
        first: first night.
        last: last night, included.
        machines: pattern on `TYPE/ID`.
        sources: as for `nightly`.
        newest_first: the order of nights.
        deployment: `FLOW/DEPLOYMENT` of a nightly deployment to create one run a night of, which its work pool bounds;
            unset: the nights run here, one after the other (the workers are busy within each).
        preset: base settings.
        settings: settings by section, above the preset.

    Returns:
        The summaries of nights run here; of runs created on a deployment none, Prefect has them.

    Raises:
        BadConfiguration, WeightsNotFound, RunFailed: as for `nightly`.
    """
    summaries = []
    for night in nights(first, last, newest_first=newest_first):
        parameters: dict[str, Any] = {
            "lake": lake,
            "sources": list(sources),
            "night": night.isoformat(),
            "machines": machines,
            "preset": preset,
            "settings": settings,
        }
        if deployment is None:
            summaries.append(nightly(**{**parameters, "night": night}))
        else:
            run_deployment(
                deployment,
                parameters=parameters,
                flow_run_name=f"nightly {night} {PurePosixPath(lake).name}",
                idempotency_key=f"backfill-{digest(parameters)}",
                timeout=0,
                as_subflow=False,
            )
    return summaries


def plan_backfill(work: Work, wanted: Sequence[date]) -> list[dict[str, Any]]:
    """Return, for every night, how many recordings the lake holds in scope and how many are not decoded yet."""
    rows = work.scope.recordings(work.history(work.open_lake()).history)
    return [
        {
            "night": night.isoformat(),
            "recordings": int((rows["batch"] == night.isoformat()).sum()),
            "pending": int(((rows["batch"] == night.isoformat()) & (rows["status"] == "pending")).sum()),
        }
        for night in wanted
    ]


def nights(first: date, last: date, *, newest_first: bool = False) -> list[date]:
    """Return every date from `first` to `last`, both included."""
    found = [first + timedelta(days=day) for day in range((last - first).days + 1)]
    return found[::-1] if newest_first else found


def _of_nights(work: Work, night: date | None) -> Work:
    """Return the work on the night that is named, else on those that have something left to do."""
    if night is not None:
        return work
    return replace(work, scope=Scope(open_nights(work.open_lake(), work), work.scope.machines))
