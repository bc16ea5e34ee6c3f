"""The one-class support vector machine with a Gaussian kernel (scikit-learn; scored by one matrix product)."""

from __future__ import annotations

from typing import Any

from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import OneClassSVM

from humwatch.tasks.detectors.kinds.algorithm import Matrix
from humwatch.tasks.settings import FitSettings


def fit_ocsvm(features: Matrix, settings: FitSettings, _seed: int, _notes: list[str]) -> Any:
    variance = float(features.var())
    gamma = 1 / (features.shape[1] * variance) if variance > 0 else 1.0  # scikit-learn's gamma="scale", as a number
    return OneClassSVM(kernel="rbf", gamma=gamma, nu=settings.ocsvm_nu).fit(features)


def score_ocsvm(machine: OneClassSVM, features: Matrix) -> Matrix:
    kernel = rbf_kernel(features, machine.support_vectors_, gamma=machine.gamma)
    scores: Matrix = -(kernel @ machine.dual_coef_[0] + machine.intercept_[0])
    return scores
