"""The score stage: the missing score tables of every part, on Dask workers."""

from __future__ import annotations

from dataclasses import dataclass

from storage.lake import side_by_side
from tasks.scoring.score import plan_scores, score_unit
from tasks.task import run_on_workers, stage
from tasks.work import Work


@dataclass(frozen=True)
class ScoreSummary:
    """What the stage did: recordings scored in this run, each counted once whatever the number of detectors."""

    recordings_scored: int


@stage("score")
def score_recordings(work: Work) -> ScoreSummary:
    """Score what the current models have not scored yet."""
    lake = work.open_lake()
    planned = list(plan_scores(lake, work))
    there = side_by_side(lambda unit: lake.exists(unit.path), planned)
    units = [unit for unit, done in zip(planned, there, strict=True) if not done]
    scored: set[str] = set()
    for recording_ids in run_on_workers("score", score_unit, units, len(units), work.settings.dask.blocks_in_flight):
        scored |= recording_ids
    return ScoreSummary(len(scored))
