"""Models of normality over a matrix of features (sample, feature); a higher score is more abnormal, always.

All but the autoencoders see float64 features standardised to zero mean and unit variance, then reduced by PCA where the
settings ask for it. The list is that of Müller et al. 2020 (arXiv 2006.03429), with k nearest neighbours, the
Mahalanobis distance and the autoencoder of MIMII added.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from sklearn.utils import gen_batches
from threadpoolctl import ThreadpoolController

from humwatch.tasks.detectors.kinds.algorithm import Features, Matrix
from humwatch.tasks.detectors.kinds.table import ALGORITHMS
from humwatch.tasks.settings import DetectorName, FitSettings

Rows: TypeAlias = NDArray[np.integer[Any]]

# Values that are float64 in full width at once while fitting, and of which principal components are computed: memory
# then grows with the rows by their float32 and their reduced features alone.
FULL_WIDTH_VALUES = 2048 * 2048
LEAST_ROWS = 1024
# Values that a detector is fitted to, in float64 and with some copies of its own: half a gigabyte for a mixture. More
# than a machine of MIMII has windows in the paper's widest representation.
FITTED_VALUES = 20_000 * 1024
# Of a matrix of distances at once; scikit-learn's own bound is 1 GiB.
_DISTANCES_MIB = 32

_threads = cache(ThreadpoolController)  # its limit() takes microseconds, building it milliseconds


@dataclass(frozen=True)
class Detector:
    """A fitted detector: what `fit_detector` returns. It holds scikit-learn estimators and numpy arrays only.

    `estimator` is what the algorithm's fit left, `notes` say in plain words what is less than the settings asked for.
    """

    name: DetectorName
    scaler: StandardScaler
    pca: PCA | None
    estimator: Any
    notes: tuple[str, ...]

    def score(self, features: Features, rows: Rows | None = None) -> Matrix:
        """Abnormality of each row: float (sample, feature) to float64 (sample,), higher = more abnormal.

        A row's score is the same to the last bit whatever the other rows are. `rows`, int (row,), are the rows wanted:
        all, if None.

        Raises:
            ValueError: The number of features is not the fitted one, or a value is not finite.
        """
        rows = np.arange(len(features)) if rows is None else rows
        scores = np.empty(len(rows), dtype=np.float64)
        block_rows = ALGORITHMS[self.name].block_rows
        with _threads().limit(limits=1):
            for start in range(0, len(rows), block_rows):
                given = features[rows[start : start + block_rows]]
                _must_be_finite(given)
                block = np.zeros((block_rows, features.shape[1]))
                block[: len(given)] = given
                scores[start : start + len(given)] = self._score_block(block)[: len(given)]
        return scores

    def _score_block(self, block: Matrix) -> Matrix:
        algorithm = ALGORITHMS[self.name]
        reduced: Matrix = block if algorithm.raw else self.scaler.transform(block)
        if self.pca is not None:
            reduced = self.pca.transform(reduced)
        return algorithm.score(self.estimator, reduced)

    def distances(self, features: Features) -> Matrix:
        """Distance of each value from the training mean in training standard deviations, float64 (sample, feature)."""
        standardised: Matrix = self.scaler.transform(_float64(features))  # in place
        return np.abs(standardised)

    def state(self) -> dict[str, Any]:
        """A plain dict with all there is to store; `from_state` takes it back."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Detector:
        """The detector of a state.

        Raises:
            KeyError: The state lacks a field, or names no detector.
        """
        if state["name"] not in ALGORITHMS:
            raise KeyError(state["name"])
        return cls(**{field.name: state[field.name] for field in fields(cls)})


def fit_detector(
    name: DetectorName, features: Features, settings: FitSettings, seed: int, rows: Rows | None = None
) -> Detector:
    """Fit one detector to normal sound, on one thread: sums over several come out in another order each time.

    Args:
        name: Which of them.
        features: float (sample, feature); computed on in float64.
        settings: Parameters of the detectors.
        seed: 0 to 2**32 - 1; the same rows, settings and seed give the same bits.
        rows: The rows to choose from, int (row,); all, if None. Given by number, so that wide ones need not be copied.
            Of more than `most_rows` a seeded sample is fitted to, and a note says so.

    Raises:
        ValueError: There are no rows, or a value is not finite.
    """
    rows = np.arange(len(features)) if rows is None else rows
    if len(rows) == 0:
        raise ValueError("there is nothing to fit to")
    notes: list[str] = []
    rows = _sampled(rows, most_rows(name, features.shape[1], settings), seed, notes, "fitted to")
    if len(rows) == 1:
        notes.append("fitted to a single window")
        # Mixtures need two rows; twice the same changes no mean and no variance.
        rows = np.repeat(rows, 2)
    algorithm = ALGORITHMS[name]
    with (
        _threads().limit(limits=1),
        config_context(working_memory=_DISTANCES_MIB),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always", UserWarning)
        scaler = _fit_scaler(features, rows)
        pca = None
        if settings.pca_components is not None and not algorithm.raw:
            sample = _sampled(rows, full_width_rows(features.shape[1]), seed, notes, "principal components of")
            pca = _fit_pca(scaler, features[sample], settings.pca_components, seed, notes, whiten=algorithm.whiten)
        seen = features[rows] if algorithm.raw else _reduced(features, rows, scaler, pca)
        estimator = algorithm.fit(seen, settings, seed, notes)
    # a ConvergenceWarning is a fact about the model and belongs to it; advice follows its first sentence
    notes += [str(warning.message).split(". ")[0] for warning in caught]
    return Detector(name, scaler, pca, estimator, tuple(dict.fromkeys(notes)))


def _must_be_finite(features: Features) -> None:
    if not np.isfinite(features).all():
        raise ValueError("features must be finite")


def _float64(features: Features) -> Matrix:
    return np.array(features, dtype=np.float64)


def full_width_rows(width: int) -> int:
    """How many rows of so many features are float64 at once."""
    return max(LEAST_ROWS, FULL_WIDTH_VALUES // width)


def most_rows(name: DetectorName, width: int, settings: FitSettings) -> int:
    """How many rows of so many features a detector is fitted to at most, so that memory is bounded.

    `fit.max_windows`, or fewer where a detector sees them wider than 1,024 features.
    """
    if ALGORITHMS[name].raw:
        return settings.max_windows
    seen = min(width, settings.pca_components or width)
    return min(settings.max_windows, max(LEAST_ROWS, FITTED_VALUES // seen))


def _pieces(rows: Rows, width: int) -> Iterator[slice]:
    pieces: Iterator[slice] = gen_batches(len(rows), full_width_rows(width))
    return pieces


def _sampled(rows: Rows, most: int, seed: int, notes: list[str], what: str) -> Rows:
    """At most so many random rows, in their order."""
    if len(rows) <= most:
        return rows
    notes.append(f"{what} a random {most} of {len(rows)} windows")
    return rows[np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))]


def _fit_scaler(features: Features, rows: Rows) -> StandardScaler:
    scaler = StandardScaler(copy=False)
    for piece in _pieces(rows, features.shape[1]):
        full_width = _float64(features[rows[piece]])
        _must_be_finite(full_width)
        scaler.partial_fit(full_width)
    return scaler


def _reduced(features: Features, rows: Rows, scaler: StandardScaler, pca: PCA | None) -> Matrix:
    """Standardised features, float64 (row, feature), or their principal components."""
    width = features.shape[1]
    reduced = np.empty((len(rows), width if pca is None else pca.n_components_))
    for piece in _pieces(rows, width):
        scaled = scaler.transform(_float64(features[rows[piece]]))
        reduced[piece] = scaled if pca is None else pca.transform(scaled)
    return reduced


def _fit_pca(
    scaler: StandardScaler, sample: Features, asked: int, seed: int, notes: list[str], *, whiten: bool
) -> PCA | None:
    """PCA with `asked` components, or as many as the rows span: more would divide rounding noise by itself."""
    scaled = scaler.transform(_float64(sample))
    components = min(asked, scaled.shape[1], len(scaled) - 1)
    pca = PCA(components, whiten=whiten, random_state=seed).fit(scaled) if scaled.any() else None
    variances = np.zeros(1) if pca is None else pca.explained_variance_
    rank = int(np.sum(variances > variances[0] * max(scaled.shape) * np.finfo(np.float64).eps))
    if rank < asked:
        notes.append(f"{rank} principal components instead of {asked}: the training windows span no more")
    if pca is None or rank == components:
        return pca
    return PCA(rank, whiten=whiten, random_state=seed).fit(scaled)
