"""The flow: stages one after the other, each doing only what is missing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from prefect import flow

from flows.cluster import workers
from flows.settings import Settings
from flows.summary import Problem, RunSummary
from storage.errors import BadConfiguration, TerminalError, WeightsNotFound
from storage.lake import Lake
from tasks.detectors.task import fit_models
from tasks.evaluation.task import evaluate_scores
from tasks.features.task import compute_features
from tasks.features.weights import require_weights
from tasks.ingest.task import ingest_sources
from tasks.reports.task import publish_report
from tasks.scoring.task import score_recordings
from tasks.spectrograms.task import compute_spectrograms

StageName = Literal["ingest", "spectrograms", "features", "fit", "score", "evaluate", "report"]
STAGES: tuple[StageName, ...] = ("ingest", "spectrograms", "features", "fit", "score", "evaluate", "report")
_NEED_BACKBONES = {"features", "fit", "score"}


@flow(name="humwatch", log_prints=False, validate_parameters=False)
def pipeline(
    lake: str, sources: Sequence[str], settings: Settings, stages: Sequence[StageName] = STAGES, command: str = "run"
) -> RunSummary:
    """Run `stages` in order over one lake and return what was done.

    Raises:
        BadConfiguration, WeightsNotFound: nothing was begun.
        RunFailed: a stage cannot be carried out at all; what the stages before it did is kept.
    """
    summary = RunSummary(command=command, lake=lake)
    try:
        _run(summary, lake, sources, settings, stages)
    except TerminalError as error:
        if isinstance(error, BadConfiguration | WeightsNotFound):
            raise
        raise RunFailed(summary) from error
    return summary


class RunFailed(TerminalError):
    """A run that could not go on; `summary` says what it did until then and why it stopped."""

    code = "run_failed"

    def __init__(self, summary: RunSummary) -> None:
        super().__init__(summary)
        self.summary = summary

    def __str__(self) -> str:
        return "; ".join(problem.message for problem in self.summary.errors)


def _run(
    summary: RunSummary, lake_uri: str, sources: Sequence[str], settings: Settings, stages: Sequence[StageName]
) -> None:
    health, embedding, fit, dask = settings.health, settings.embedding, settings.fit, settings.dask
    if _NEED_BACKBONES & set(stages):
        require_weights(settings.features)
    with workers(dask):
        if "ingest" in stages:
            with _timed(summary, "ingest"):
                ingested = ingest_sources(lake_uri, list(sources), settings.ingest)
            summary.recording_ids = ingested.recording_ids
            summary.errors += [Problem.of(source, "ingest", error) for source, error in ingested.errors]
        if "spectrograms" in stages:
            with _timed(summary, "spectrograms"):
                decoded = compute_spectrograms(
                    lake_uri, settings.spectrogram, health, settings.ingest.max_member_bytes, settings.store, dask
                )
            summary.recordings_decoded = decoded.recordings_decoded
            summary.errors += [Problem.of(source, "spectrograms", error) for source, error in decoded.errors]
        if "features" in stages:
            with _timed(summary, "features"):
                summary.windows_embedded = compute_features(lake_uri, embedding, settings.store, dask).windows_embedded
        if "fit" in stages:
            with _timed(summary, "fit"):
                summary.models_fitted = fit_models(lake_uri, health, embedding, fit, dask).models_fitted
        if "score" in stages:
            with _timed(summary, "score"):
                summary.recordings_scored = score_recordings(lake_uri, health, embedding, fit, dask).recordings_scored
        summary.count(Lake.open(lake_uri), settings)
        evaluation_id = None
        if "evaluate" in stages or "report" in stages:
            with _timed(summary, "evaluate"):
                evaluation_id = evaluate_scores(lake_uri, health, embedding, fit, settings.evaluation)
            summary.evaluation_id = evaluation_id
        if "report" in stages and evaluation_id:
            with _timed(summary, "report"):
                everything = settings.model_dump(mode="json")
                summary.report = publish_report(
                    lake_uri, evaluation_id, health, embedding, fit, settings.report, everything, summary.as_json()
                )


@contextmanager
def _timed(summary: RunSummary, stage: StageName) -> Iterator[None]:
    begun = time.perf_counter()
    try:
        yield
    except TerminalError as error:
        summary.errors.append(Problem.of("", stage, error))
        raise
    finally:
        summary.seconds[stage] = round(time.perf_counter() - begun, 3)
