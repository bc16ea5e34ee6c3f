"""The score stage: the missing score tables of every part, on Dask workers."""

from __future__ import annotations

from dataclasses import dataclass

from humwatch.tasks.execution.stage import run_on_workers, stage
from humwatch.tasks.plan.presence import missing
from humwatch.tasks.plan.provisional import provisional_scores
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scores import expected_scores
from humwatch.tasks.scoring.score import score_unit


@dataclass(frozen=True)
class ScoreSummary:
    """What the stage did.

    Attributes:
        recordings_scored: by current models in this run, each counted once whatever the number of detectors.
    """

    recordings_scored: int


@stage("score")
def score_recordings(run: Run) -> ScoreSummary:
    """Score what the current models, and the provisional ones of machines in commissioning, have not scored yet."""
    in_flight, scored = run.settings.dask.blocks_in_flight, set[str]()
    units = missing(run.lake, expected_scores(run))
    for recording_ids in run_on_workers("score", score_unit, units, len(units), in_flight):
        scored |= recording_ids
    units = missing(run.lake, provisional_scores(run))
    for _ in run_on_workers("score", score_unit, units, len(units), in_flight):
        pass
    return ScoreSummary(len(scored))
