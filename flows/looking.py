"""A look before a run: one with nothing to do needs no flow, so no Prefect, no server of its own and no workers.

A look goes over the same stages as the flow, on a lake that it cannot change. Where it comes to its end there was
nothing to do, and what it found is the run's summary. At the first thing to do it stops, and the flow does it all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, NoReturn

from humwatch.flows.prefect_server import has_server
from humwatch.flows.presets import PresetName
from humwatch.flows.stages import STAGES, StageName, run_stages, take_in
from humwatch.flows.summary import RunSummary
from humwatch.storage.errors import HumwatchError
from humwatch.storage.looked_at import SomethingToDo
from humwatch.tasks.execution import progress
from humwatch.tasks.execution.stage import workers_on_demand
from humwatch.tasks.plan.run import Run


def run_pipeline(
    run: Run, sources: Sequence[str] = (), stages: Sequence[StageName] = STAGES, command: str = "run"
) -> RunSummary:
    """Run the flow `humwatch.flows.pipeline`, if a look finds something to do.

    Raises:
        As the flow.
    """

    def go_over(summary: RunSummary, run: Run) -> None:
        if "ingest" in stages:
            take_in(summary, run, sources)
        run_stages(summary, run, stages)

    found = look(run, command, go_over)
    if found is not None:
        return found
    from humwatch.flows.pipeline import pipeline  # noqa: PLC0415 - Prefect is for runs with something to do

    return pipeline(run, sources, stages, command)


def run_nightly(
    lake: str,
    sources: Sequence[str],
    night: date | None,
    machines: str | None,
    preset: PresetName,
    settings: dict[str, dict[str, Any]],
    *,
    by_clock: bool,
) -> RunSummary:
    """Run the flow `humwatch.flows.nightly`, if a look finds something to do.

    Raises:
        As the flow.
    """
    from humwatch.flows.night import do_night, night_run  # noqa: PLC0415 - runs without nights need none of it

    def go_over(summary: RunSummary, run: Run) -> None:
        take_in(summary, run, sources)
        do_night(summary, run, night, by_clock=by_clock)

    found = look(night_run(lake, night, machines, preset, settings), "nightly", go_over)
    if found is not None:
        return found
    from humwatch.flows.nightly import nightly  # noqa: PLC0415 - as above

    return nightly(lake, sources, night, machines, preset, settings, by_clock)


def look(run: Run, command: str, go_over: Callable[[RunSummary, Run], None]) -> RunSummary | None:
    """Return what `go_over` finds of a lake in which nothing is to be done; None where the flow shall run.

    The flow shall run where there is something to do; where something goes wrong, for it is tried again there, told,
    and kept with the run; and always where runs are seen on a Prefect server.
    """
    if has_server():
        return None
    summary, told = RunSummary(command, run.lake_uri), list[tuple[str, int, int]]()
    try:
        with workers_on_demand(_something_to_do), progress.only_listening(lambda *done: told.append(done)):
            go_over(summary, run.looking())
    except (SomethingToDo, HumwatchError):
        return None
    for done in told:
        progress.tell(*done)
    return summary


def _something_to_do() -> NoReturn:
    raise SomethingToDo
