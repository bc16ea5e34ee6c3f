"""Stages one after the other, each doing only what is missing: the body of every flow."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from prefect import flow
from prefect.settings import PREFECT_LOGGING_EXTRA_LOGGERS, PREFECT_LOGGING_LEVEL

from humwatch.flows.cluster import workers
from humwatch.flows.stage_progress import progress_artifacts
from humwatch.flows.summary import Problem, RunSummary
from humwatch.storage.errors import BadConfiguration, HumwatchError, TerminalError, WeightsNotFound
from humwatch.tasks.alarms.task import judge_nights
from humwatch.tasks.detectors.task import fit_models
from humwatch.tasks.evaluation.task import evaluate_scores
from humwatch.tasks.features.task import compute_features
from humwatch.tasks.ingest.task import ingest_sources
from humwatch.tasks.plan.run import Run
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
    with running(run, command, needs_backbones=bool(_NEED_BACKBONES & set(stages))) as summary:
        run_stages(summary, run, sources, stages)
    return summary


@contextmanager
def running(run: Run, command: str, *, needs_backbones: bool = True) -> Iterator[RunSummary]:
    """Yield the summary of a run, with workers there; an error of ours becomes `RunFailed` with what was done.

    Raises:
        BadConfiguration, WeightsNotFound: nothing was begun.
        RunFailed: weights, workers or the body raised another error of ours; retries are over.
    """
    summary = RunSummary(command=command, lake=run.lake_uri)
    _log_to_prefect_as_told()
    try:
        if needs_backbones:
            run.require_weights()
        with workers(run.settings.dask), progress_artifacts():
            yield summary
    except (BadConfiguration, WeightsNotFound):
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


def run_stages(summary: RunSummary, run: Run, sources: Sequence[str], stages: Sequence[StageName]) -> None:
    """Run `stages` in order and add what they did to `summary`."""
    if "ingest" in stages:
        with timed(summary, "ingest"):
            ingested = ingest_sources(run, sources)
        summary.recording_ids = ingested.recording_ids
        summary.errors += [Problem.of(source, "ingest", error) for source, error in ingested.errors]
    if "spectrograms" in stages:
        with timed(summary, "spectrograms"):
            decoded = compute_spectrograms(run)
        summary.recordings_decoded += decoded.recordings_decoded
        summary.batches_finished |= decoded.batches
        summary.errors += [Problem.of(source, "spectrograms", error) for source, error in decoded.errors]
    if "features" in stages:
        with timed(summary, "features"):
            summary.windows_embedded += compute_features(run).windows_embedded
    if "fit" in stages:
        with timed(summary, "fit"):
            summary.models_fitted += fit_models(run).models_fitted
    if "score" in stages:
        with timed(summary, "score"):
            summary.recordings_scored += score_recordings(run).recordings_scored
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
