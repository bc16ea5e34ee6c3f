"""Models of normality over a matrix of features (sample, feature); a higher score is more abnormal, always.

All but the autoencoders see float64 features standardised to zero mean and unit variance, then reduced by PCA where the
settings ask for it. The list is that of Müller et al. 2020 (arXiv 2006.03429), with k nearest neighbours, the
Mahalanobis distance and the autoencoder of MIMII added.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache, partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn import config_context
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from sklearn.utils import gen_batches
from threadpoolctl import ThreadpoolController

from tasks.settings import AUTOENCODER_NAMES, DetectorName, FitSettings

Features: TypeAlias = NDArray[np.floating[Any]]
Matrix: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.integer[Any]]
Fit: TypeAlias = Callable[[Any, FitSettings, int, list[str]], Any]

# Rows scored by one matrix product. The last block is filled with zeros: products of one shape round alike, so the
# score of a row does not depend on the rows it is scored with. It also bounds the memory of kde.
BLOCK_ROWS = 256
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
        block_rows = _ALGORITHMS[self.name].block_rows
        with _threads().limit(limits=1):
            for start in range(0, len(rows), block_rows):
                there = features[rows[start : start + block_rows]]
                _must_be_finite(there)
                block = np.zeros((block_rows, features.shape[1]))
                block[: len(there)] = there
                scores[start : start + len(there)] = self._score_block(block)[: len(there)]
        return scores

    def _score_block(self, block: Matrix) -> Matrix:
        algorithm = _ALGORITHMS[self.name]
        reduced: Matrix = block if algorithm.raw else self.scaler.transform(block)
        if self.pca is not None:
            reduced = self.pca.transform(reduced)
        return algorithm.score(self.estimator, reduced)

    def distances(self, features: Features) -> Matrix:
        """Distance of each value from the training mean in training standard deviations, float64 (sample, feature)."""
        standardised: Matrix = self.scaler.transform(np.asarray(features, dtype=np.float64))
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
        if state["name"] not in _ALGORITHMS:
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
    algorithm = _ALGORITHMS[name]
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
    if _ALGORITHMS[name].raw:
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


def _fit_gmm(features: Matrix, settings: FitSettings, seed: int, notes: list[str]) -> Any:
    return GaussianMixture(**_mixture_parameters(features, settings, seed, notes)).fit(features)


def _fit_bayesian_gmm(features: Matrix, settings: FitSettings, seed: int, notes: list[str]) -> Any:
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


def _score_mixture(mixture: Any, features: Matrix) -> Matrix:
    scores: Matrix = -mixture.score_samples(features)
    return scores


def _fit_ocsvm(features: Matrix, settings: FitSettings, _seed: int, _notes: list[str]) -> Any:
    variance = float(features.var())
    gamma = 1 / (features.shape[1] * variance) if variance > 0 else 1.0  # scikit-learn's gamma="scale", as a number
    return OneClassSVM(kernel="rbf", gamma=gamma, nu=settings.ocsvm_nu).fit(features)


def _score_ocsvm(machine: OneClassSVM, features: Matrix) -> Matrix:
    kernel = rbf_kernel(features, machine.support_vectors_, gamma=machine.gamma)
    scores: Matrix = -(kernel @ machine.dual_coef_[0] + machine.intercept_[0])
    return scores


def _fit_isolation_forest(features: Matrix, settings: FitSettings, seed: int, _notes: list[str]) -> Any:
    """The trees as arrays over all their nodes, end to end; a leaf is its own child.

    scikit-learn's trees are 128 objects of 20 kB, slow to load, and a damaged one crashes the process that follows it.
    """
    forest = IsolationForest(n_estimators=settings.isolation_forest_trees, random_state=seed).fit(features)
    trees = [each.tree_ for each in forest.estimators_]
    roots = np.cumsum([0] + [tree.node_count for tree in trees[:-1]])
    nodes = np.arange(sum(tree.node_count for tree in trees))
    is_leaf = np.concatenate([tree.children_left == -1 for tree in trees])
    left = np.concatenate([root + tree.children_left for root, tree in zip(roots, trees, strict=True)])
    right = np.concatenate([root + tree.children_right for root, tree in zip(roots, trees, strict=True)])
    levels = max(tree.max_depth for tree in trees)
    depth, level = np.zeros(len(nodes)), roots
    for below in range(1, levels + 1):
        level = level[~is_leaf[level]]
        level = np.concatenate([left[level], right[level]])
        depth[level] = below
    return {
        "roots": roots,
        "levels": levels,
        "left": np.where(is_leaf, nodes, left),
        "right": np.where(is_leaf, nodes, right),
        "feature": np.where(is_leaf, 0, np.concatenate([tree.feature for tree in trees])),
        "cut": np.concatenate([tree.threshold for tree in trees]),
        "path": depth + _mean_path(np.concatenate([tree.n_node_samples for tree in trees])),
        "mean_path": float(_mean_path(np.array([forest.max_samples_]))[0]),
    }


def _mean_path(samples: NDArray[np.integer[Any]]) -> Matrix:
    """Mean depth at which a random tree over so many samples isolates one (Liu, Ting & Zhou 2008, equation 1)."""
    others = np.maximum(samples - 1, 2)
    path = 2 * (np.log(others) + np.euler_gamma - others / (others + 1))
    mean: Matrix = np.where(samples > 2, path, np.maximum(samples - 1, 0))
    return mean


def _score_isolation_forest(forest: Mapping[str, Any], features: Matrix) -> Matrix:
    """2 ** (-path / mean path), in (0, 1), as in the paper (Liu et al., equation 2) and minus scikit-learn's."""
    rows = features.astype(np.float32)  # what scikit-learn's trees were grown on
    row = np.arange(len(rows))[:, None]
    node = np.repeat(forest["roots"][None], len(rows), axis=0)
    for _ in range(forest["levels"]):
        goes_left = rows[row, forest["feature"][node]] <= forest["cut"][node]
        node = np.where(goes_left, forest["left"][node], forest["right"][node])
    scores: Matrix = 2 ** (-forest["path"][node].mean(axis=1) / forest["mean_path"])
    return scores


def _fit_kde(features: Matrix, settings: FitSettings, _seed: int, _notes: list[str]) -> Any:
    return {"training": features, "bandwidth": settings.kde_bandwidth}


def _score_kde(density: Mapping[str, Any], features: Matrix) -> Matrix:
    """Summed directly: scikit-learn's tree loses the digits of low densities, those of outliers, to cancellation."""
    training, bandwidth = density["training"], density["bandwidth"]
    count, dimensions = training.shape
    exponents = euclidean_distances(features, training, squared=True) / (-2 * bandwidth**2)
    log_norm = np.log(count) + dimensions / 2 * np.log(2 * np.pi * bandwidth**2)
    scores: Matrix = log_norm - logsumexp(exponents, axis=1)
    return scores


def _fit_knn(features: Matrix, settings: FitSettings, _seed: int, notes: list[str]) -> Any:
    neighbours = min(settings.knn_neighbours, len(features))
    if neighbours < settings.knn_neighbours:
        notes.append(f"{neighbours} nearest neighbours instead of {settings.knn_neighbours}: all training windows")
    nearest = NearestNeighbors(n_neighbors=neighbours, algorithm="brute", metric=settings.knn_metric).fit(features)
    if settings.knn_local is None:
        return {"nearest": nearest, "spacing": None}
    # The window itself is left out by its place: equal windows are neighbours too.
    around = nearest.kneighbors(n_neighbors=min(settings.knn_local, len(features) - 1))[0].mean(axis=1)
    return {"nearest": nearest, "spacing": np.where(around > 0, around, around[around > 0].min(initial=1.0))}


def _score_knn(neighbours: Mapping[str, Any], features: Matrix) -> Matrix:
    """With `spacing`: the local density ratio of Wilkinghoff et al. 2025 (arXiv 2509.10951), here over neighbours."""
    distances, indices = neighbours["nearest"].kneighbors(features)
    spacing = neighbours["spacing"]
    scores: Matrix = (distances if spacing is None else distances / spacing[indices]).mean(axis=1)
    return scores


def _fit_mahalanobis(features: Matrix, _settings: FitSettings, _seed: int, notes: list[str]) -> Any:
    covariance = LedoitWolf().fit(features)
    if covariance.covariance_.any():
        return {"location": covariance.location_, "precision": covariance.precision_}
    notes.append("all training windows are equal: Euclidean distance instead of Mahalanobis")
    return {"location": covariance.location_, "precision": np.eye(features.shape[1])}


def _score_mahalanobis(normal: Mapping[str, Matrix], features: Matrix) -> Matrix:
    """The squared distance, as scikit-learn's `mahalanobis`: minus twice the log density, but for a constant."""
    centred = features - normal["location"]
    scores: Matrix = ((centred @ normal["precision"]) * centred).sum(axis=1)
    return scores


def _fit_autoencoder(name: str, features: Features, settings: FitSettings, seed: int, _notes: list[str]) -> Any:
    # torch takes seconds to import, which only processes that train networks should pay.
    from tasks.detectors.autoencoders import fit_autoencoder  # noqa: PLC0415

    return fit_autoencoder(name, features, settings, seed)


def _score_autoencoder(stored: Any, block: Matrix) -> Matrix:
    from tasks.detectors.autoencoders import score_autoencoder  # noqa: PLC0415 - as above

    return score_autoencoder(stored, block)


@dataclass(frozen=True)
class _Algorithm:
    """How a detector is fitted and scored.

    `whiten`: to unit variance in every principal component, for distances. `raw`: neither standardised nor reduced.
    `block_rows`: rows scored at once; a network's maps take more memory than a product.
    """

    fit: Fit
    score: Callable[[Any, Matrix], Matrix]
    whiten: bool = False
    raw: bool = False
    block_rows: int = BLOCK_ROWS


_ALGORITHMS: dict[DetectorName, _Algorithm] = {
    "gmm": _Algorithm(_fit_gmm, _score_mixture),
    "bayesian_gmm": _Algorithm(_fit_bayesian_gmm, _score_mixture),
    "ocsvm": _Algorithm(_fit_ocsvm, _score_ocsvm),
    "isolation_forest": _Algorithm(_fit_isolation_forest, _score_isolation_forest),
    "kde": _Algorithm(_fit_kde, _score_kde),
    "knn": _Algorithm(_fit_knn, _score_knn, whiten=True),
    "mahalanobis": _Algorithm(_fit_mahalanobis, _score_mahalanobis, whiten=True),
    **{
        name: _Algorithm(partial(_fit_autoencoder, name), _score_autoencoder, raw=True, block_rows=32)
        for name in AUTOENCODER_NAMES
    },
}
