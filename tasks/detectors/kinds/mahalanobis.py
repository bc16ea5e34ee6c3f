"""Mahalanobis distance under a shrunk covariance (Ledoit & Wolf 2004, by scikit-learn)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.covariance import LedoitWolf

from humwatch.tasks.detectors.kinds.algorithm import Matrix
from humwatch.tasks.settings import FitSettings


def fit_mahalanobis(features: Matrix, _settings: FitSettings, _seed: int, notes: list[str]) -> Any:
    covariance = LedoitWolf().fit(features)
    if covariance.covariance_.any():
        return {"location": covariance.location_, "precision": covariance.precision_}
    notes.append("all training windows are equal: Euclidean distance instead of Mahalanobis")
    return {"location": covariance.location_, "precision": np.eye(features.shape[1])}


def score_mahalanobis(normal: Mapping[str, Matrix], features: Matrix) -> Matrix:
    """The squared distance, as scikit-learn's `mahalanobis`: minus twice the log density, but for a constant."""
    centred = features - normal["location"]
    scores: Matrix = ((centred @ normal["precision"]) * centred).sum(axis=1)
    return scores
