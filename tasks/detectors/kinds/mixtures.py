"""Gaussian mixtures, fitted by expectation-maximisation or with a prior on their weights (scikit-learn)."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture

from humwatch.tasks.detectors.kinds.algorithm import Matrix
from humwatch.tasks.settings import FitSettings


def _mixture_parameters(features: Matrix, settings: FitSettings, seed: int, notes: list[str]) -> dict[str, Any]:
    components = min(settings.gmm_components, len(features))
    if components < settings.gmm_components:
        notes.append(f"{components} mixture components instead of {settings.gmm_components}: one a training window")
    return {
        "n_components": components,
        "covariance_type": settings.gmm_covariance,
        "max_iter": settings.gmm_iterations,
        "init_params": "kmeans",
        "random_state": seed,
    }


def fit_gmm(features: Matrix, settings: FitSettings, seed: int, notes: list[str]) -> Any:
    return GaussianMixture(**_mixture_parameters(features, settings, seed, notes)).fit(features)


def fit_bayesian_gmm(features: Matrix, settings: FitSettings, seed: int, notes: list[str]) -> Any:
    # scikit-learn's prior is the data's covariance: for a constant feature 0, where empty components, which keep their
    # prior, would become infinitely sharp and decide every score. reg_covar is the floor for the others already.
    mixture = BayesianGaussianMixture(**_mixture_parameters(features, settings, seed, notes))
    variances = features.var(axis=0, ddof=1)
    floored = np.maximum(variances, mixture.reg_covar)
    if settings.gmm_covariance == "diag":
        mixture.covariance_prior = floored
    else:
        mixture.covariance_prior = np.atleast_2d(np.cov(features.T)) + np.diag(floored - variances)
    return mixture.fit(features)


def score_mixture(mixture: Any, features: Matrix) -> Matrix:
    scores: Matrix = -mixture.score_samples(features)
    return scores
