"""Each detector against scikit-learn's answer on the same scaled features, and on data that are too few or too flat."""

import tracemalloc
import warnings

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.neighbors import KernelDensity, NearestNeighbors
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from threadpoolctl import threadpool_limits

from humwatch.tasks.detectors.detectors import Detector, fit_detector, full_width_rows, most_rows
from humwatch.tasks.detectors.kinds.algorithm import BLOCK_ROWS
from humwatch.tasks.settings import DETECTOR_NAMES, FitSettings

SEED = 7
SETTINGS = FitSettings(gmm_components=6, isolation_forest_trees=32, ocsvm_nu=0.05, kde_bandwidth=0.7, knn_neighbours=3)


def normal_sound(rows=300, features=12, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(scale=4, size=(3, features))
    return centres[rng.integers(3, size=rows)] + rng.normal(size=(rows, features)) * rng.uniform(0.2, 3, features)


def sklearn_scores(name, training, tested, settings, seed):
    """What scikit-learn answers on features that are ready for it, higher = more abnormal."""
    mixture = {"n_components": settings.gmm_components, "covariance_type": settings.gmm_covariance}
    mixture |= {"max_iter": settings.gmm_iterations, "random_state": seed}
    if name == "gmm":
        return -GaussianMixture(**mixture).fit(training).score_samples(tested)
    if name == "bayesian_gmm":
        return -BayesianGaussianMixture(**mixture).fit(training).score_samples(tested)
    if name == "ocsvm":
        return -OneClassSVM(nu=settings.ocsvm_nu, gamma="scale").fit(training).decision_function(tested)
    if name == "isolation_forest":
        forest = IsolationForest(n_estimators=settings.isolation_forest_trees, random_state=seed)
        return -forest.fit(training).score_samples(tested)
    if name == "kde":
        # one leaf: with more, scikit-learn 1.9.1 loses the digits of a low density to cancellation (here off by 60)
        density = KernelDensity(bandwidth=settings.kde_bandwidth, leaf_size=len(training))
        return -density.fit(training).score_samples(tested)
    if name == "knn":
        neighbours = NearestNeighbors(n_neighbors=settings.knn_neighbours, metric=settings.knn_metric)
        return neighbours.fit(training).kneighbors(tested)[0].mean(axis=1)
    return LedoitWolf().fit(training).mahalanobis(tested)


VARIANTS = {
    "default": {},
    "pca": {"pca_components": 5},
    "other": {"gmm_covariance": "full", "knn_metric": "cosine"},
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", DETECTOR_NAMES)
def test_scores_equal_scikit_learn(name, variant):
    settings = SETTINGS.model_copy(update=VARIANTS[variant])
    training, tested = normal_sound(), normal_sound(rows=2 * BLOCK_ROWS + 5, seed=1) * 1.3
    scaler = StandardScaler().fit(training)
    ready = [scaler.transform(training), scaler.transform(tested)]
    if settings.pca_components:
        pca = PCA(settings.pca_components, whiten=name in {"knn", "mahalanobis"}).fit(ready[0])
        ready = [pca.transform(each) for each in ready]
    expected = sklearn_scores(name, *ready, settings, SEED)

    scores = fit_detector(name, training, settings, SEED).score(tested)

    assert scores.dtype == np.float64
    assert scores.shape == (len(tested),)
    np.testing.assert_allclose(scores, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("name", DETECTOR_NAMES)
def test_an_outlier_scores_higher_than_all_normals(name):
    training = normal_sound()
    outlier = training.mean(axis=0, keepdims=True) + 30
    for pca_components in (None, 4):
        detector = fit_detector(name, training, SETTINGS.model_copy(update={"pca_components": pca_components}), SEED)
        # at the very far end one-class SVM and isolation forest are flat: nothing scores above the outlier
        assert detector.score(outlier)[0] >= detector.score(training).max()
        assert detector.score(outlier)[0] > np.quantile(detector.score(training), 0.99)


@pytest.mark.parametrize("name", DETECTOR_NAMES)
def test_float32_features_are_computed_on_in_float64(name):
    # values far from zero, as those of ReLU features: float32 arithmetic would lose the differences between them
    training = (normal_sound() * 0.01 + 1000).astype(np.float32)
    single = fit_detector(name, training, SETTINGS, SEED)
    double = fit_detector(name, training.astype(np.float64), SETTINGS, SEED)
    np.testing.assert_array_equal(single.score(training), double.score(training.astype(np.float64)))
    assert single.scaler.mean_.dtype == np.float64


def test_gmm_covariance_of_float32_features_is_the_true_one():
    rng = np.random.default_rng(0)
    training = (rng.normal(size=(4000, 2)) * [0.05, 0.1] + 500).astype(np.float32)
    settings = FitSettings(gmm_components=1)
    mixture = fit_detector("gmm", training, settings, SEED).estimator
    np.testing.assert_allclose(mixture.covariances_, 1, rtol=1e-5)  # of standardised features
    assert mixture.covariances_.dtype == np.float64


@pytest.mark.parametrize("name", DETECTOR_NAMES)
def test_a_score_does_not_depend_on_its_company(name):
    training, tested = normal_sound(features=70), normal_sound(rows=BLOCK_ROWS + 90, features=70, seed=1)
    detector = fit_detector(name, training, SETTINGS, SEED)
    together = detector.score(tested)
    np.testing.assert_array_equal(detector.score(tested[::-1])[::-1], together)
    for row in (0, 1, 5, BLOCK_ROWS - 1, BLOCK_ROWS, len(tested) - 1):
        np.testing.assert_array_equal(detector.score(tested[row : row + 1]), together[row : row + 1])
    assert detector.score(tested[:0]).shape == (0,)


@pytest.mark.parametrize("name", DETECTOR_NAMES)
def test_the_same_input_gives_the_same_bits_on_one_thread_or_two(name):
    training = normal_sound(rows=700, features=40)
    settings = SETTINGS.model_copy(update={"pca_components": 10})
    scores = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            scores.append(fit_detector(name, training, settings, SEED).score(training))
    np.testing.assert_array_equal(scores[0], scores[1])


@pytest.mark.parametrize("name", ["gmm", "bayesian_gmm", "isolation_forest"])
def test_the_seed_matters(name):
    training = normal_sound()
    first, second = (fit_detector(name, training, SETTINGS, seed).score(training) for seed in (1, 2))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("name", DETECTOR_NAMES)
@pytest.mark.parametrize("pca_components", [None, 3])
def test_constant_features_do_no_harm(name, pca_components):
    settings = SETTINGS.model_copy(update={"pca_components": pca_components, "gmm_components": 80})
    flat = np.full((60, 40), 0.1, dtype=np.float32)  # 0.1 has no exact mean: the variance is not exactly 0
    training = np.concatenate([normal_sound(rows=60, features=5), flat], axis=1)
    detector = fit_detector(name, training, settings, SEED)
    outlier = training[:1].copy()
    outlier[:, :5] += 40
    assert np.isfinite(detector.score(training)).all()
    assert detector.score(outlier)[0] >= detector.score(training).max()
    if pca_components is None and name != "isolation_forest":  # a feature that never changed and does now is abnormal
        moved = training.mean(axis=0, keepdims=True)
        still = detector.score(moved)[0]
        moved[:, 5:] += 10
        assert detector.score(moved)[0] > still


def test_empty_components_of_a_bayesian_mixture_do_not_decide_the_scores_through_constant_features():
    """Without a floor below the prior's variance, 40 constant features add hundreds to the log density at random."""
    training = np.concatenate([normal_sound(rows=60, features=5), np.ones((60, 40))], axis=1)
    settings = FitSettings(gmm_components=60)
    with_flat, without = (
        fit_detector("bayesian_gmm", features, settings, SEED).score(features)
        for features in (training, training[:, :5])
    )
    assert np.ptp(with_flat) < 10 * np.ptp(without)


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("name", DETECTOR_NAMES)
def test_very_few_windows(name, rows):
    training = normal_sound()[:rows].astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector = fit_detector(name, training, FitSettings(pca_components=8, knn_neighbours=5), SEED)
        scores = detector.score(np.concatenate([training, training + 20]))
    assert np.isfinite(scores).all()
    if name != "isolation_forest":  # its trees cannot split one value, nor see beyond the two ends of a split
        assert scores[rows:].min() > scores[:rows].min()
    assert ("fitted to a single window" in detector.notes) == (rows == 1)
    assert any("principal components instead of 8" in note for note in detector.notes)


def test_what_is_reduced_is_noted():
    training = normal_sound(rows=20)
    notes = {name: fit_detector(name, training, FitSettings(knn_neighbours=50), SEED).notes for name in DETECTOR_NAMES}
    assert notes["gmm"] == ("20 mixture components instead of 80: one a training window",)
    assert notes["bayesian_gmm"][0] == "20 mixture components instead of 80: one a training window"
    assert notes["knn"] == ("20 nearest neighbours instead of 50: all training windows",)
    assert notes["kde"] == notes["ocsvm"] == notes["isolation_forest"] == notes["mahalanobis"] == ()


def test_no_convergence_is_a_note_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        detector = fit_detector("gmm", normal_sound(), FitSettings(gmm_components=6, gmm_iterations=1), SEED)
    assert any("did not converge" in note for note in detector.notes)


def test_local_distances_are_relative_to_the_spacing_around_the_neighbour():
    dense, sparse = np.array([[0.0], [0.1], [0.2]]), np.array([[10.0], [12.0], [14.0]])
    detector = fit_detector("knn", np.concatenate([dense, sparse]), FitSettings(knn_local=1), SEED)
    scores = detector.score(np.array([[0.3], [16.0], [0.0]]))
    np.testing.assert_allclose(scores, [1, 1, 0], atol=1e-9)  # as far from its neighbour as that from the next


def test_equal_training_windows_have_no_spacing_to_divide_by():
    detector = fit_detector("knn", np.ones((5, 2)), FitSettings(knn_local=2), SEED)
    np.testing.assert_allclose(detector.score(np.array([[1.0, 1.0], [4.0, 5.0]])), [0, 5])


def test_pca_stops_at_the_rank():
    training = normal_sound(features=3) @ np.random.default_rng(3).normal(size=(3, 30))
    detector = fit_detector("mahalanobis", training, FitSettings(pca_components=20), SEED)
    assert detector.pca.n_components_ == 3
    assert detector.notes == ("3 principal components instead of 20: the training windows span no more",)


def test_mahalanobis_of_equal_windows_is_the_euclidean_distance():
    detector = fit_detector("mahalanobis", np.ones((5, 2)), FitSettings(), SEED)
    np.testing.assert_allclose(detector.score(np.array([[1.0, 1.0], [4.0, 5.0]])), [0, 25])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    training = normal_sound()
    detector = fit_detector("kde", training, SETTINGS, SEED)
    training[3, 3] = bad
    with pytest.raises(ValueError, match="finite"):
        fit_detector("mahalanobis", training, SETTINGS, SEED)
    with pytest.raises(ValueError, match="finite"):
        detector.score(training)


def test_no_windows_and_wrong_features_are_refused():
    with pytest.raises(ValueError):
        fit_detector("gmm", np.empty((0, 4)), SETTINGS, SEED)
    with pytest.raises(ValueError):
        fit_detector("gmm", normal_sound(), SETTINGS, SEED).score(np.ones((2, 5)))


@pytest.mark.parametrize("name", DETECTOR_NAMES)
def test_state_round_trip(name):
    training = normal_sound()
    detector = fit_detector(name, training, SETTINGS.model_copy(update={"pca_components": 4}), SEED)
    again = Detector.from_state(detector.state())
    np.testing.assert_array_equal(again.score(training), detector.score(training))
    assert again.notes == detector.notes


def test_a_state_of_an_unknown_detector_is_refused():
    state = fit_detector("knn", normal_sound(), SETTINGS, SEED).state()
    with pytest.raises(KeyError, match="crystal_ball"):
        Detector.from_state(state | {"name": "crystal_ball"})


def test_more_rows_than_are_held_in_full_width():
    settings = FitSettings(pca_components=3, max_windows=100_000)
    rows = np.random.default_rng(0).normal(3, 2, size=(full_width_rows(64) + 300, 64)).astype(np.float32)
    rows[:, 1] = rows[:, 0] + 0.1 * rows[:, 1]
    detector = fit_detector("mahalanobis", rows, settings, 0)
    whole = StandardScaler().fit(rows.astype(np.float64))
    np.testing.assert_allclose(detector.scaler.mean_, whole.mean_, rtol=1e-12)
    np.testing.assert_allclose(detector.scaler.scale_, whole.scale_, rtol=1e-12)
    assert f"principal components of a random {full_width_rows(64)} of {len(rows)} windows" in detector.notes
    # The first component, of the two that go together, is found in the sample as in all rows.
    expected = PCA(1).fit(whole.transform(rows.astype(np.float64))).components_[0]
    assert abs(detector.pca.components_[0] @ expected) > 0.999
    again = fit_detector("mahalanobis", rows, settings, 0)
    np.testing.assert_array_equal(again.score(rows[:300]), detector.score(rows[:300]))


def test_memory_grows_by_the_reduced_features_alone():
    def peak_bytes(rows):
        features = np.random.default_rng(0).standard_normal((rows, 2048), dtype=np.float32)
        tracemalloc.start()
        fit_detector("mahalanobis", features, FitSettings(pca_components=8), 0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    rows = full_width_rows(2048)
    assert peak_bytes(4 * rows) - peak_bytes(2 * rows) < 2 * rows * 2048 * 8 / 3


@pytest.mark.parametrize(
    ("width", "settings", "most"),
    [
        (1024, FitSettings(), 20_000),
        (2048, FitSettings(), 10_000),
        (2048, FitSettings(pca_components=64), 20_000),
        (2048, FitSettings(max_windows=700), 700),
        (1024 * 20_000, FitSettings(), 1_024),
    ],
)
def test_wide_windows_are_fewer_unless_they_are_reduced(width, settings, most):
    assert most_rows("gmm", width, settings) == most
    assert most_rows("small_dcae", width, settings) == settings.max_windows


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_distances_between_many_windows_are_never_one_matrix(metric):
    features = np.random.default_rng(0).standard_normal((5_000, 4))
    tracemalloc.start()
    fit_detector("knn", features, FitSettings(knn_local=2, knn_metric=metric), 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000 * 5_000 * 8 / 2


def test_rows_are_those_rows():
    features = normal_sound()
    rows = np.array([1, 5, 6, 30, 200])
    chosen = fit_detector("knn", features, SETTINGS, SEED, rows)
    np.testing.assert_array_equal(
        chosen.score(features[rows]), fit_detector("knn", features[rows], SETTINGS, SEED).score(features[rows])
    )
    np.testing.assert_array_equal(chosen.score(features, rows), chosen.score(features)[rows])
