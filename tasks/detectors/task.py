"""The fit stage: the missing models of every machine, on Dask workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from storage.lake import Lake
from storage.models import has_model, set_current
from tasks.catalog import by_machine, load_catalog
from tasks.detectors.fit import FitUnit, bounded, fit_unit, variants
from tasks.detectors.roles import assign_roles
from tasks.features.blocks import EmbeddingSettings
from tasks.features.representations import parse
from tasks.features.windows import n_windows
from tasks.settings import DaskSettings, FitSettings, HealthSettings
from tasks.spectrograms.blocks import spectrogram_key
from tasks.task import run_on_workers, stage


@dataclass(frozen=True)
class FitSummary:
    """What the stage did: models fitted in this run."""

    models_fitted: int


@stage("fit")
def fit_models(
    lake_uri: str, health: HealthSettings, embedding: EmbeddingSettings, fit: FitSettings, dask: DaskSettings
) -> FitSummary:
    """Fit a model for every machine with training recordings and every variant that has none for this training set."""
    lake = Lake.open(lake_uri)
    units = list(_missing(lake, health, embedding, fit))
    fitted = sum(1 for _ in run_on_workers("fit", fit_unit, units, len(units), dask.blocks_in_flight))
    return FitSummary(fitted)


def _missing(lake: Lake, health: HealthSettings, embedding: EmbeddingSettings, fit: FitSettings) -> Iterator[FitUnit]:
    catalog = load_catalog(lake, spectrogram_key(embedding.spectrogram), health, embedding.images.window_frames)
    accepted = catalog.accepted
    columns = ["recording_id", "content_tag", "batch", "part_id", "row"]
    for seed in fit.seeds:
        roles = assign_roles(accepted, fit, seed)
        training_by_machine = by_machine(accepted[roles == "train"])
        for variant in (variant for variant in variants(embedding.features.backbones, fit) if variant.seed == seed):
            windowed = any(representation.level == "window" for representation in parse(variant.backbone))
            for machine, rows in training_by_machine.items():
                counts = np.array([n_windows(int(n), embedding.images) if windowed else 1 for n in rows["n_frames"]])
                training = bounded(rows[columns], counts, fit.max_windows, seed)
                parts = {part_id: catalog.parts[part_id] for part_id in training["part_id"].unique()}
                unit = FitUnit(lake.uri, machine, variant, training, parts, embedding, fit)
                if has_model(lake, unit.key, machine, unit.version):
                    set_current(lake, unit.key, machine, unit.version)
                else:
                    yield unit
