"""What the flows of a fleet have in common: run names that say date and fleet, and a word left behind on failure."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Annotated, Any, ParamSpec, TypeVar

import prefect
import prefect.runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.objects import FlowRun, State
from prefect.events import emit_event
from prefect.flows import Flow, FlowStateHook
from pydantic import Field

from humwatch.flows.run_failed import problems_of, without_credentials
from humwatch.flows.summary import Problem
from humwatch.storage.naming import digest

P = ParamSpec("P")
R = TypeVar("R")

# An unset Prefect variable arrives as an empty text: it is refused with the deployment, not with its first run.
Uri = Annotated[str, Field(min_length=1)]
SettingsBySection = dict[str, dict[str, Any]]

FAILED = "humwatch.run.failed"


def fleet_flow(name: str) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """Make a function with a parameter `lake` a Prefect flow, described by the first paragraph of its docstring."""

    def decorate(function: Callable[P, R]) -> Flow[P, R]:
        description = (inspect.getdoc(function) or "").split("\n\n")[0]
        hooks: list[FlowStateHook[..., Any]] = [record_failure]
        return prefect.flow(
            name=name, description=description, flow_run_name=run_name, on_failure=hooks, on_crashed=hooks
        )(function)

    return decorate


def run_name() -> str:
    """Return the name of the current flow run: flow, night (of a range the first, else today in UTC), lake."""
    run = prefect.runtime.flow_run
    night = run.parameters.get("night") or run.parameters.get("first") or datetime.now(UTC).date()
    return night_run_name(run.flow_name or "", night, str(run.parameters["lake"]))


def night_run_name(flow_name: str, night: object, lake: str) -> str:
    """Return the name of a flow run of one night and lake."""
    return f"{flow_name} {night} {PurePosixPath(lake).name}"


def record_failure(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Leave the problems of a failed or crashed run as an artifact on it, and as an event for automations.

    The event `humwatch.run.failed` is about the resource `humwatch.lake.<hash of the lake's URI>`; its payload is flow,
    run, lake, night (null: the newest), code and message of the first problem.
    """
    parameters = flow_run.parameters or {}
    lake, night = without_credentials(str(parameters.get("lake", ""))), parameters.get("night")
    problems = _problems(state)
    first = problems[0]
    facts = {"flow": flow.name, "run": flow_run.name, "lake": lake, "night": None if night is None else str(night)}
    emit_event(
        FAILED,
        resource={"prefect.resource.id": f"humwatch.lake.{digest(lake)}", "prefect.resource.name": lake},
        related=[{"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.role": "flow-run"}],
        payload={**facts, "code": first.code, "message": first.message},
    )
    rows = [f"| {problem.stage} | {problem.code} | {problem.message} | {problem.source} |" for problem in problems]
    lines = [f"- {name}: {value}" for name, value in facts.items() if value is not None]
    text = "\n".join([f"# {state.name}", *lines, "", "| stage | code | message | source |", "|---|---|---|---|", *rows])
    artifact = ArtifactCreate(key="failure", type="markdown", data=text, flow_run_id=flow_run.id)
    with get_client(sync_client=True) as client:
        client.create_artifact(artifact)


def _problems(state: State[Any]) -> list[Problem]:
    if state.is_crashed():
        return [Problem("", "", "crashed", "the process of the run ended or stopped answering; what it did is kept")]
    return problems_of(state.result(raise_on_failure=False))
