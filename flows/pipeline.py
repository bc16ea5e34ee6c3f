"""Stages one after the other, each doing only what is missing: the body of every flow."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Literal

from prefect import flow
from prefect.settings import PREFECT_LOGGING_EXTRA_LOGGERS, PREFECT_LOGGING_LEVEL

from humwatch.flows.cluster import require_scheduler, workers
from humwatch.flows.stage_progress import progress_artifacts
from humwatch.flows.summary import Problem, RunSummary
from humwatch.storage.errors import (
    BadConfiguration,
    HumwatchError,
    NothingReadable,
    TerminalError,
    WeightsNotFound,
)
from humwatch.tasks.alarms.task import judge_nights
from humwatch.tasks.detectors.task import fit_models
from humwatch.tasks.evaluation.task import evaluate_scores
from humwatch.tasks.features.task import compute_features
from humwatch.tasks.ingest.task import ingest_sources
from humwatch.tasks.plan.next_step import next_step, told_rejects
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scope import Scope
from humwatch.tasks.plan.scores import expected_scores
from humwatch.tasks.reports.task import publish_report
from humwatch.tasks.scoring.task import score_recordings
from humwatch.tasks.spectrograms.task import compute_spectrograms

StageName = Literal["ingest", "spectrograms", "features", "fit", "score", "alarms", "evaluate", "report"]
STAGES: tuple[StageName, ...] = ("ingest", "spectrograms", "features", "fit", "score", "evaluate", "report")
_NEED_BACKBONES = {"features", "fit", "score"}


class RunFailed(TerminalError):
    """A run that could not go on; `summary` says what it did until then and why it stopped."""

    code = "run_failed"

    def __init__(self, summary: RunSummary) -> None:
        super().__init__(summary)
        self.summary = summary

    def __str__(self) -> str:
        return "; ".join(problem.message for problem in self.summary.errors)


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
    """Yield the summary of a run, with workers there; an error of ours becomes `RunFailed` with what was done.

    With `sources` they are taken in before workers are begun: where nothing can be read, nothing needs them.

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
                stack.enter_context(workers(run.settings.dask))
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


def take_in(summary: RunSummary, run: Run, sources: Sequence[str]) -> None:
    """Run the stage `ingest` and add what it did to `summary`.

    Raises:
        NothingReadable: nothing of the sources can be used, nor anything that was in the lake before.
        RunFailed: no source can be read, and the lake is empty.
    """
    with timed(summary, "ingest"):
        ingested = ingest_sources(run, sources)
    summary.recording_ids = ingested.recording_ids
    summary.doubts = list(ingested.doubts)
    summary.errors += [Problem.of(source, "ingest", error) for source, error in ingested.errors]
    summary.count(run)
    if ingested.errors and run.history().rows.empty:
        raise RunFailed(summary)
    if sources:
        _require_usable(run)


def run_stages(summary: RunSummary, run: Run, stages: Sequence[StageName]) -> None:
    """Run `stages` in order, all but `ingest`, and add what they did to `summary`.

    Raises:
        NothingReadable: every recording of the lake was rejected.
    """
    if "spectrograms" in stages:
        with timed(summary, "spectrograms"):
            decoded = compute_spectrograms(run)
        summary.recordings_decoded += decoded.recordings_decoded
        summary.batches_finished |= decoded.batches
        summary.errors += [Problem.of(source, "spectrograms", error) for source, error in decoded.errors]
        summary.count(run)
        _require_usable(run)
    if "features" in stages:
        with timed(summary, "features"):
            summary.windows_embedded += compute_features(run).windows_embedded
    if "fit" in stages:
        with timed(summary, "fit"):
            summary.models_fitted += fit_models(run).models_fitted
    if "score" in stages:
        with timed(summary, "score"):
            summary.recordings_scored += score_recordings(run).recordings_scored
        if not summary.recordings_scored and next(expected_scores(run), None) is None:
            rows = Scope(machines=run.scope.machines).recordings(run.history().rows)
            summary.next_step = next_step(rows, run.settings.fit)
    if "alarms" in stages:
        with timed(summary, "alarms"):
            judge_nights(run)
    summary.count(run)
    if "evaluate" in stages or "report" in stages:
        with timed(summary, "evaluate"):
            summary.evaluation_id = evaluate_scores(run)
    if "report" in stages and summary.evaluation_id:
        with timed(summary, "report"):
            summary.report = publish_report(run, summary.evaluation_id, summary.as_json())


def _require_usable(run: Run) -> None:
    """Refuse to go on with a lake all of whose recordings are rejected."""
    rows = run.history().rows
    if len(rows) and rows["status"].eq("rejected").all():
        raise NothingReadable(f"all {len(rows)} recordings were rejected: {told_rejects(rows)}")


@contextmanager
def timed(summary: RunSummary, stage: str) -> Iterator[None]:
    """Time a stage into `summary.seconds` and note the error that ends it."""
    begun = time.perf_counter()
    try:
        yield
    except HumwatchError as error:
        summary.errors.append(Problem.of("", stage, error))
        raise
    finally:
        spent = summary.seconds.get(stage, 0.0) + time.perf_counter() - begun
        summary.seconds[stage] = round(spent, 3)
