"""The score stage: the missing score tables of every part, on Dask workers."""

from __future__ import annotations

from dataclasses import dataclass

from storage.lake import Lake
from tasks.catalog import load_catalog
from tasks.features.blocks import EmbeddingSettings
from tasks.scoring.score import plan_scores, score_unit
from tasks.settings import DaskSettings, FitSettings, HealthSettings
from tasks.spectrograms.blocks import spectrogram_key
from tasks.task import run_on_workers, stage


@dataclass(frozen=True)
class ScoreSummary:
    """What the stage did: recordings scored in this run, each counted once whatever the number of detectors."""

    recordings_scored: int


@stage("score")
def score_recordings(
    lake_uri: str, health: HealthSettings, embedding: EmbeddingSettings, fit: FitSettings, dask: DaskSettings
) -> ScoreSummary:
    """Score what the current models have not scored yet."""
    lake = Lake.open(lake_uri)
    catalog = load_catalog(lake, spectrogram_key(embedding.spectrogram), health, embedding.images.window_frames)
    units = [unit for unit in plan_scores(lake, catalog, embedding, fit) if not lake.exists(unit.path)]
    scored: set[str] = set()
    for recording_ids in run_on_workers("score", score_unit, units, len(units), dask.blocks_in_flight):
        scored |= recording_ids
    return ScoreSummary(len(scored))
