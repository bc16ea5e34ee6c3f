"""The stages of a run in order, each doing only what is missing: what a flow does, and what a look goes over.

Knows no Prefect: a look into a lake with nothing to do shall not wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from humwatch.flows.run_failed import RunFailed
from humwatch.flows.summary import Problem, RunSummary
from humwatch.storage.errors import HumwatchError, NothingReadable
from humwatch.storage.parts import list_parts
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
    if ingested.errors and not list_parts(run.lake):
        raise RunFailed(summary)
    if sources:
        _require_usable(summary, run)


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
        _require_usable(summary, run)
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
            # Not above: only nights need it, and scipy.stats with it.
            from humwatch.tasks.alarms.task import judge_nights  # noqa: PLC0415

            judge_nights(run)
    summary.count(run)
    if "evaluate" in stages or "report" in stages:
        with timed(summary, "evaluate"):
            summary.evaluation_id = evaluate_scores(run)
    if "report" in stages and summary.evaluation_id:
        with timed(summary, "report"):
            summary.report = publish_report(run, summary.evaluation_id, summary.as_json())


def _require_usable(summary: RunSummary, run: Run) -> None:
    """Refuse to go on with a lake all of whose recordings are rejected."""
    if summary.accepted:
        return
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
