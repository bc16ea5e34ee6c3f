"""Stages one after the other, each doing only what is missing: the body of every flow."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from prefect import flow
from prefect.settings import PREFECT_LOGGING_EXTRA_LOGGERS, PREFECT_LOGGING_LEVEL

from humwatch.flows.cluster import require_scheduler, workers_when_needed
from humwatch.flows.run_failed import RunFailed
from humwatch.flows.stage_progress import progress_artifacts
from humwatch.flows.stages import STAGES, StageName, run_stages, take_in
from humwatch.flows.summary import Problem, RunSummary
from humwatch.storage.errors import BadConfiguration, HumwatchError, WeightsNotFound
from humwatch.tasks.plan.run import Run

_NEED_BACKBONES = {"features", "fit", "score"}


@flow(name="humwatch", validate_parameters=False)
def pipeline(
    run: Run, sources: Sequence[str] = (), stages: Sequence[StageName] = STAGES, command: str = "run"
) -> RunSummary:
    """Run `stages` in order over one lake and return what was done.

    Raises:
        BadConfiguration, WeightsNotFound: nothing was begun.
        RunFailed: a stage cannot be carried out at all; what the stages before it did is kept.
    """
    given = sources if "ingest" in stages else None
    later = [stage for stage in stages if stage != "ingest"]
    with running(
        run, command, given, needs_backbones=bool(_NEED_BACKBONES & set(stages)), needs_workers=bool(later)
    ) as summary:
        run_stages(summary, run, later)
    return summary


@contextmanager
def running(
    run: Run,
    command: str,
    sources: Sequence[str] | None = None,
    *,
    needs_backbones: bool = True,
    needs_workers: bool = True,
) -> Iterator[RunSummary]:
    """Yield the summary of a run, with workers for its units; an error of ours becomes `RunFailed` with what was done.

    With `sources` they are taken in first: where nothing can be read, nothing needs workers.

    Raises:
        BadConfiguration, WeightsNotFound: nothing was begun.
        RunFailed: weights, workers or the body raised another error of ours; retries are over.
    """
    summary = RunSummary(command=command, lake=run.lake_uri)
    _log_to_prefect_as_told()
    try:
        if needs_backbones:
            run.require_weights()
        require_scheduler(run.settings.dask)
        with progress_artifacts(), ExitStack() as stack:
            if sources is not None:
                take_in(summary, run, sources)
            if needs_workers:
                stack.enter_context(workers_when_needed(run.settings.dask))
            yield summary
    except (BadConfiguration, WeightsNotFound, RunFailed):
        raise
    except HumwatchError as error:
        if str(error) not in {problem.message for problem in summary.errors}:
            summary.errors.append(Problem.of("", "", error))  # it came from no stage
        raise RunFailed(summary) from error


def _log_to_prefect_as_told() -> None:
    """Give our log Prefect's level where Prefect is told to take it: it gives extra loggers handlers and no level."""
    log = logging.getLogger("humwatch")
    if log.level == logging.NOTSET and log.name in PREFECT_LOGGING_EXTRA_LOGGERS.value():
        log.setLevel(PREFECT_LOGGING_LEVEL.value())
