"""The kinds of detectors by the names of the settings."""

from __future__ import annotations

from functools import partial
from typing import Any

from humwatch.tasks.detectors.kinds.algorithm import Algorithm, Features, Matrix
from humwatch.tasks.detectors.kinds.isolation_forest import fit_isolation_forest, score_isolation_forest
from humwatch.tasks.detectors.kinds.kernel_density import fit_kde, score_kde
from humwatch.tasks.detectors.kinds.mahalanobis import fit_mahalanobis, score_mahalanobis
from humwatch.tasks.detectors.kinds.mixtures import fit_bayesian_gmm, fit_gmm, score_mixture
from humwatch.tasks.detectors.kinds.neighbours import fit_knn, score_knn
from humwatch.tasks.detectors.kinds.one_class_svm import fit_ocsvm, score_ocsvm
from humwatch.tasks.settings import AUTOENCODER_NAMES, DetectorName, FitSettings


def _fit_autoencoder(name: str, features: Features, settings: FitSettings, seed: int, _notes: list[str]) -> Any:
    # torch takes seconds to import, which only processes that train networks should pay.
    from humwatch.tasks.detectors.kinds.autoencoders import fit_autoencoder  # noqa: PLC0415

    return fit_autoencoder(name, features, settings, seed)


def _score_autoencoder(stored: Any, block: Matrix) -> Matrix:
    from humwatch.tasks.detectors.kinds.autoencoders import score_autoencoder  # noqa: PLC0415 - as above

    return score_autoencoder(stored, block)


ALGORITHMS: dict[DetectorName, Algorithm] = {
    "gmm": Algorithm(fit_gmm, score_mixture),
    "bayesian_gmm": Algorithm(fit_bayesian_gmm, score_mixture),
    "ocsvm": Algorithm(fit_ocsvm, score_ocsvm),
    "isolation_forest": Algorithm(fit_isolation_forest, score_isolation_forest),
    "kde": Algorithm(fit_kde, score_kde),
    "knn": Algorithm(fit_knn, score_knn, whiten=True),
    "mahalanobis": Algorithm(fit_mahalanobis, score_mahalanobis, whiten=True),
    **{
        name: Algorithm(partial(_fit_autoencoder, name), _score_autoencoder, raw=True, block_rows=32)
        for name in AUTOENCODER_NAMES
    },
}
