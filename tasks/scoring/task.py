"""The score stage: the missing score tables of every part, on Dask workers."""

from __future__ import annotations

from dataclasses import dataclass

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
    units = [unit for unit in plan_scores(lake, work) if not lake.exists(unit.path)]
    scored: set[str] = set()
    for recording_ids in run_on_workers("score", score_unit, units, len(units), work.settings.dask.blocks_in_flight):
        scored |= recording_ids
    return ScoreSummary(len(scored))
