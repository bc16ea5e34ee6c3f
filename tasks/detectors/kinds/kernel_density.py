"""Gaussian kernel density."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import logsumexp
from sklearn.metrics.pairwise import euclidean_distances

from humwatch.tasks.detectors.kinds.algorithm import Matrix
from humwatch.tasks.settings import FitSettings


def fit_kde(features: Matrix, settings: FitSettings, _seed: int, _notes: list[str]) -> Any:
    return {"training": features, "bandwidth": settings.kde_bandwidth}


def score_kde(density: Mapping[str, Any], features: Matrix) -> Matrix:
    """Summed directly: scikit-learn's tree loses the digits of low densities, those of outliers, to cancellation."""
    training, bandwidth = density["training"], density["bandwidth"]
    count, dimensions = training.shape
    exponents = euclidean_distances(features, training, squared=True) / (-2 * bandwidth**2)
    log_norm = np.log(count) + dimensions / 2 * np.log(2 * np.pi * bandwidth**2)
    scores: Matrix = log_norm - logsumexp(exponents, axis=1)
    return scores
