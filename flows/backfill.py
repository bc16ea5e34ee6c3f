"""Many nights: each one idempotent nightly run, here or on a deployment; repeating a range costs a look a night."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Annotated, Any, cast

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from pydantic import Field

from humwatch.flows.cluster import shared_workers
from humwatch.flows.fleet_flow import SettingsBySection, Uri, fleet_flow, night_run_name
from humwatch.flows.nightly import nightly
from humwatch.flows.presets import PresetName
from humwatch.flows.run_failed import RunFailed
from humwatch.flows.summary import Problem, RunSummary
from humwatch.storage.naming import digest
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scope import Scope
from humwatch.tasks.plan.waiting import waiting_by_night

_POLL_S = 2.0


@fleet_flow("backfill")
def backfill(
    lake: Uri,
    first: date,
    last: date,
    machines: str | None = None,
    sources: Sequence[Uri] = (),
    newest_first: bool = False,  # noqa: FBT001, FBT002 - a Prefect parameter, given by name
    deployment: str | None = None,
    at_once: Annotated[int, Field(ge=1)] = 1,
    preset: PresetName = "default",
    settings: SettingsBySection | None = None,
) -> RunSummary:
    """Do every night from `first` to `last`, one idempotent run each.

    A night whose run on a deployment is completed is not run again; one that failed is.

    Args:
        lake: Root URI of the lake, a path or such as s3://bucket/lake.
        first: First night.
        last: Last night, included.
        machines: Pattern on TYPE/ID (SITE/TYPE/ID) such as fan/*; unset: all machines.
        sources: Archives or folders to look into, paths or URIs.
        newest_first: Begin with the last night.
        deployment: Nightly deployment (nightly/NAME) on which to create the runs; unset: the nights run here.
        at_once: Runs on the deployment at once. More than one only where every machine has its model: commissioning
            needs the nights in their order.
        preset: Base settings.
        settings: Settings by section above the preset, such as {"fit": {"detectors": ["knn"]}}.

    Returns:
        The sums of the nights run here, and each night in `nights`; of nights on a deployment their run and its state.

    Raises:
        BadConfiguration, WeightsNotFound: as for `nightly`.
        RunFailed: a night could not be done; on a deployment all the others were.
    """
    dates = nights(first, last, newest_first=newest_first)
    given: dict[str, Any] = {
        "lake": lake,
        "sources": list(sources),
        "machines": machines,
        "preset": preset,
        "settings": settings,
    }
    if deployment is None:
        with shared_workers():
            return RunSummary.of_nights(lake, [nightly(**given, night=night) for night in dates])
    summary = RunSummary("backfill", lake)
    waiting: deque[tuple[date, FlowRun]] = deque()
    with get_client(sync_client=True) as client:
        for night in dates:
            if len(waiting) == at_once:
                _finish(client, *waiting.popleft(), summary)
            waiting.append((night, _run_of(deployment, {**given, "night": night.isoformat()})))
        while waiting:
            _finish(client, *waiting.popleft(), summary)
    if summary.errors:
        raise RunFailed(summary)
    return summary


def plan_backfill(run: Run, dates: Sequence[date]) -> list[dict[str, Any]]:
    """Return, for every night, how many recordings the lake holds in scope, and what is missing of them.

    `pending` are not decoded yet; `not_embedded` and `not_scored` are those that a stage after that waits for (of the
    latter, those of machines with a model).
    """
    names = [night.isoformat() for night in dates]
    run = run.scoped(Scope(frozenset(names), run.scope.machines))
    missing = waiting_by_night(run)
    rows = run.scope.recordings(run.history_in_scope().rows)
    return [
        {
            "night": night,
            "recordings": int((rows["batch"] == night).sum()),
            "pending": missing[night]["spectrograms"],
            "not_embedded": missing[night]["features"],
            "not_scored": missing[night]["score"],
        }
        for night in names
    ]


def nights(first: date, last: date, *, newest_first: bool = False) -> list[date]:
    """Return every date from `first` to `last`, both included."""
    dates = [first + timedelta(days=day) for day in range((last - first).days + 1)]
    return dates[::-1] if newest_first else dates


def _run_of(deployment: str, parameters: dict[str, Any]) -> FlowRun:
    """Return the run of a night: the one there is; a new one where none is, or it ended without being completed."""
    key = f"backfill-{digest(parameters)}"
    name = night_run_name("nightly", parameters["night"], parameters["lake"])
    attempt = 0
    while True:
        run = run_deployment(
            deployment,
            parameters=parameters,
            flow_run_name=name,
            idempotency_key=f"{key}-{attempt}",
            timeout=0,
            as_subflow=False,
        )
        run = cast(FlowRun, run)  # no coroutine: nothing is async here
        if run.state is None or not run.state.is_final() or run.state.is_completed():
            return run
        attempt += 1


def _finish(client: SyncPrefectClient, night: date, run: FlowRun, summary: RunSummary) -> None:
    """Wait for the run of a night and add what became of it."""
    while run.state is None or not run.state.is_final():
        time.sleep(_POLL_S)
        run = client.read_flow_run(run.id)
    summary.nights.append({"night": night.isoformat(), "run": run.name, "state": run.state.name})
    if not run.state.is_completed():
        message = f"the run {run.name!r} ended {run.state.name}: see its artifact `failure`"
        summary.errors.append(Problem(night.isoformat(), "nightly", "run_failed", message))
