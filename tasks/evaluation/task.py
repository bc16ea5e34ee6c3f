"""The evaluation stage."""

from __future__ import annotations

from storage.lake import Lake
from tasks.catalog import load_catalog
from tasks.evaluation.kept import evaluate
from tasks.features.blocks import EmbeddingSettings
from tasks.settings import EvaluationSettings, FitSettings, HealthSettings
from tasks.spectrograms.blocks import spectrogram_key
from tasks.task import stage


@stage("evaluate")
def evaluate_scores(
    lake_uri: str,
    health: HealthSettings,
    embedding: EmbeddingSettings,
    fit: FitSettings,
    evaluation: EvaluationSettings,
) -> str:
    """Evaluate the current scores unless that is done already; return the evaluation's id (tables stay in the lake)."""
    lake = Lake.open(lake_uri)
    catalog = load_catalog(lake, spectrogram_key(embedding.spectrogram), health, embedding.images.window_frames)
    return evaluate(lake, catalog, embedding, fit, evaluation)
