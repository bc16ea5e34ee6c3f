"""Distance to the nearest training windows, as it is or relative to the density around them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from humwatch.tasks.detectors.kinds.algorithm import Matrix
from humwatch.tasks.settings import FitSettings


def fit_knn(features: Matrix, settings: FitSettings, _seed: int, notes: list[str]) -> Any:
    neighbours = min(settings.knn_neighbours, len(features))
    if neighbours < settings.knn_neighbours:
        notes.append(f"{neighbours} nearest neighbours instead of {settings.knn_neighbours}: all training windows")
    nearest = NearestNeighbors(n_neighbors=neighbours, algorithm="brute", metric=settings.knn_metric).fit(features)
    if settings.knn_local is None:
        return {"nearest": nearest, "spacing": None}
    # The window itself is left out by its place: equal windows are neighbours too.
    around = nearest.kneighbors(n_neighbors=min(settings.knn_local, len(features) - 1))[0].mean(axis=1)
    return {"nearest": nearest, "spacing": np.where(around > 0, around, around[around > 0].min(initial=1.0))}


def score_knn(neighbours: Mapping[str, Any], features: Matrix) -> Matrix:
    """With `spacing`: the local density ratio of Wilkinghoff et al. 2025 (arXiv 2509.10951), here over neighbours."""
    distances, indices = neighbours["nearest"].kneighbors(features)
    spacing = neighbours["spacing"]
    scores: Matrix = (distances if spacing is None else distances / spacing[indices]).mean(axis=1)
    return scores
