"""A machine's model: pooling, fusion and out-of-fold scores, against the same steps done by hand with scikit-learn."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import betabinom, percentileofscore
from sklearn.covariance import LedoitWolf
from sklearn.preprocessing import StandardScaler

from humwatch.tasks.detectors import machine_model
from humwatch.tasks.detectors.calibration import make_folds, p_values, threshold
from humwatch.tasks.detectors.detectors import full_width_rows
from humwatch.tasks.detectors.machine_model import MachineModel, fit_machine_model, pool
from humwatch.tasks.settings import DETECTOR_NAMES, FitSettings

SETTINGS = FitSettings(gmm_components=4, isolation_forest_trees=16, kde_bandwidth=0.7, ocsvm_nu=0.1)


def recordings(count=20, windows=4, features=6, seed=0):
    """Normal sound, each second recording one window shorter than the others."""
    sound = np.random.default_rng(seed).normal(size=(count, windows, features)).astype(np.float32)
    if windows > 1:
        sound[1::2, -1] = np.nan
    return sound


def folds_of(count, n_folds=5):
    return np.arange(count) % n_folds


def by_hand(training, tested):
    """Mahalanobis scores of the windows of `tested`, (recording, window) with NaN."""
    scaler = StandardScaler().fit(training[np.isfinite(training).all(axis=2)].astype(np.float64))
    covariance = LedoitWolf().fit(scaler.transform(training[np.isfinite(training).all(axis=2)].astype(np.float64)))
    scores = np.full(tested.shape[:2], np.nan)
    for index, recording in enumerate(tested):
        for window, features in enumerate(recording):
            if np.isfinite(features).all():
                scores[index, window] = covariance.mahalanobis(scaler.transform([features.astype(np.float64)]))[0]
    return scores


def by_hand_members(training, tested, folds):
    """The same of the fits without each fold, (fold, recording, window)."""
    return np.stack([by_hand(training[folds != fold], tested) for fold in sorted(set(folds))])


def by_hand_out_of_fold(training, folds):
    scores = np.full(training.shape[:2], np.nan)
    for fold in set(folds):
        scores[folds == fold] = by_hand(training[folds != fold], training[folds == fold])
    return scores


def test_window_and_recording_scores_by_hand():
    training, tested = recordings(), recordings(count=7, windows=5, seed=1)
    model = fit_machine_model("mahalanobis", [training], SETTINGS, 0, folds_of(20)).model
    of_members = by_hand_members(training, tested, folds_of(20))
    np.testing.assert_allclose(model.window_scores([tested]), np.median(of_members, axis=0), rtol=1e-9)
    of_recordings = np.median(np.nanmean(of_members, axis=2), axis=0)
    np.testing.assert_allclose(model.recording_scores([tested]), of_recordings, rtol=1e-9)
    windows, scores = model.scores([tested])
    np.testing.assert_array_equal(windows, model.window_scores([tested]))
    np.testing.assert_array_equal(scores, model.recording_scores([tested]))
    assert windows.dtype == scores.dtype == np.float64


def test_of_many_recordings_one_fit_to_all_is_kept(monkeypatch):
    monkeypatch.setattr(machine_model, "MOST_BY_FOLDS", 19)
    training, tested = recordings(), recordings(count=7, windows=5, seed=1)
    fitted = fit_machine_model("mahalanobis", [training], SETTINGS, 0, folds_of(20))
    np.testing.assert_allclose(fitted.model.window_scores([tested]), by_hand(training, tested), rtol=1e-9)
    expected = np.nanmean(by_hand_out_of_fold(training, folds_of(20)), axis=1)
    np.testing.assert_allclose(fitted.calibration_scores, expected, rtol=1e-9)


def test_drift_by_hand_is_the_median_shift_of_features_whatever_the_detector():
    training, tested = recordings(features=7), recordings(count=3, features=7, seed=1)
    is_window = np.isfinite(training).all(axis=2)
    tested[:, :, :4] += 5 * training[is_window].std(axis=0)[:4]  # most features move by five
    tested[:, :, 6] += 1e9  # one runs away
    tested[2] = np.nan
    expected = np.zeros(2)
    for fold in range(5):
        there = training[is_window & (folds_of(20) != fold)[:, None]].astype(np.float64)
        moved = np.nanmean(tested[:2], axis=1, dtype=np.float64) - there.mean(axis=0)
        expected += np.median(np.abs(moved) / there.std(axis=0), axis=1) / 5
    for name in ("mahalanobis", "knn"):
        drift = fit_machine_model(name, [training], SETTINGS, 0, folds_of(20)).model.drift([tested])
        np.testing.assert_allclose(drift[:2], expected, rtol=1e-6)
        assert np.isnan(drift[2])
    assert (np.abs(expected - 5) < 1).all()


def test_calibration_scores_are_out_of_fold():
    training, folds = recordings(), folds_of(20)
    fitted = fit_machine_model("mahalanobis", [training], SETTINGS, 0, folds)
    expected = np.nanmean(by_hand_out_of_fold(training, folds), axis=1)
    np.testing.assert_allclose(fitted.calibration_scores, expected, rtol=1e-9)
    assert fitted.notes == ()


def test_a_nearest_neighbour_is_not_calibrated_with_itself():
    training = recordings()
    fitted = fit_machine_model("knn", [training], SETTINGS, 0, folds_of(20))
    for member in range(5):
        alone = replace(fitted.model, members=fitted.model.members[member : member + 1])
        assert alone.recording_scores([training])[folds_of(20) != member].max() < 1e-3
    assert fitted.calibration_scores.min() > 0.1


@pytest.mark.parametrize("name", DETECTOR_NAMES)
@pytest.mark.parametrize("count", [20, 40, 72])
def test_p_values_of_new_normals_are_uniform_or_larger_at_every_size(name, count):
    """32 features with a spectrum that falls, whitened to as many components as the recordings allow."""
    spread = (1 / np.arange(1, 33) ** 0.5).astype(np.float32)
    settings = SETTINGS.model_copy(update={"pca_components": 64, "knn_local": 4})
    ps = []
    for seed in range(8):
        training, new = (spread * recordings(n, 1, 32, seed=(seed, n)) for n in (count, 60))
        fitted = fit_machine_model(name, [training], settings, 0, make_folds([None] * count, 5, 0))
        ps.append(p_values(fitted.model.recording_scores([new]), fitted.calibration_scores))
    # a fit to all recordings has .16 to .93 at or below .05 here, and a mean of .03 to .45
    assert np.mean(np.array(ps) <= 0.05) < 0.08
    assert np.mean(np.array(ps) <= 0.2) < 0.25
    assert 0.45 < np.mean(ps) < 0.6


def test_pooling():
    scores = np.array([[1.0, 5.0, 2.0, np.nan], [np.nan, 7.0, np.nan, np.nan], [np.nan] * 4])
    np.testing.assert_allclose(pool(scores, "mean", 2), [8 / 3, 7, np.nan])
    np.testing.assert_allclose(pool(scores, "max", 2), [5, 7, np.nan])
    np.testing.assert_allclose(pool(scores, "top_k", 2), [3.5, 7, np.nan])


@pytest.mark.parametrize("pooling", ["mean", "max", "top_k"])
def test_pooling_setting_is_used(pooling):
    training = recordings()
    settings = SETTINGS.model_copy(update={"pooling": pooling, "top_k": 2})
    model = fit_machine_model("mahalanobis", [training], settings, 0, folds_of(20)).model
    ordered = np.sort(by_hand_members(training, training, folds_of(20))[:, ::2], axis=2)
    pooled = {"mean": ordered.mean(axis=2), "max": ordered[:, :, -1], "top_k": ordered[:, :, -2:].mean(axis=2)}
    expected = np.median(pooled[pooling], axis=0)
    np.testing.assert_allclose(model.recording_scores([training])[::2], expected, rtol=1e-9)


def test_padding_changes_no_bit():
    training, tested = recordings(), recordings(count=9, windows=13, seed=2)
    wide = np.pad(tested, [(0, 0), (0, 30), (0, 0)], constant_values=np.nan)
    model = fit_machine_model("gmm", [training], SETTINGS, 0, folds_of(20)).model
    np.testing.assert_array_equal(model.recording_scores([wide]), model.recording_scores([tested]))
    widened = np.pad(training, [(0, 0), (0, 9), (0, 0)], constant_values=np.nan)
    again = fit_machine_model("gmm", [widened], SETTINGS, 0, folds_of(20)).model
    np.testing.assert_array_equal(again.recording_scores([tested]), model.recording_scores([tested]))


def test_a_recording_without_windows_has_no_score():
    training, tested = recordings(), recordings(count=3, seed=1)
    tested[1] = np.nan
    model = fit_machine_model("gmm", [training], SETTINGS, 0, folds_of(20)).model
    np.testing.assert_array_equal(np.isnan(model.recording_scores([tested])), [False, True, False])
    assert np.isnan(model.window_scores([tested])[1]).all()
    silent = np.full_like(tested, np.nan)
    assert np.isnan(model.recording_scores([silent])).all()
    training[4] = np.nan
    fitted = fit_machine_model("gmm", [training], SETTINGS, 0, folds_of(20))
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(fitted.calibration_scores)), [4])
    assert "1 of 20 training recordings have no out-of-fold score" in fitted.notes


@pytest.mark.parametrize("name", DETECTOR_NAMES)
def test_one_recording_fits_but_calibrates_nothing(name):
    training = recordings(count=1)
    fitted = fit_machine_model(name, [training], SETTINGS, 0, np.zeros(1, dtype=int))
    assert np.isfinite(fitted.model.recording_scores([training])).all()
    np.testing.assert_array_equal(fitted.calibration_scores, [np.nan])


def scaled(scores, held_out, fusion):
    """Scores on the scale of held-out ones, NaN where they are."""
    held_out = held_out[np.isfinite(held_out)]
    if fusion == "zscore":
        return (scores - held_out.mean()) / held_out.std()
    ranks = [np.nan if np.isnan(score) else percentileofscore(held_out, score, kind="mean") for score in scores.flat]
    return np.reshape(ranks, scores.shape) / 100


@pytest.mark.parametrize("fusion", ["zscore", "rank"])
def test_two_representations_are_fused_window_by_window(fusion):
    training = [recordings(seed=0), recordings(features=9, seed=1)]
    tested = [recordings(count=5, seed=2), recordings(count=5, features=9, seed=3)]
    settings, folds = SETTINGS.model_copy(update={"fusion": fusion}), folds_of(20)
    fitted = fit_machine_model("mahalanobis", training, settings, 0, folds)
    of_members, calibration = np.zeros((5, 5, 4)), np.zeros((20, 4))
    for train, test in zip(training, tested, strict=True):
        held_out = by_hand_out_of_fold(train, folds)
        of_members += scaled(by_hand_members(train, test, folds), held_out, fusion)
        calibration += scaled(held_out, held_out, fusion)
    expected = np.median(of_members, axis=0)
    np.testing.assert_allclose(fitted.model.window_scores(tested), expected, rtol=1e-8)
    of_recordings = np.median(np.nanmean(of_members, axis=2), axis=0)
    np.testing.assert_allclose(fitted.model.recording_scores(tested), of_recordings, rtol=1e-8)
    np.testing.assert_allclose(fitted.calibration_scores, np.nanmean(calibration, axis=1), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("fusion", ["zscore", "rank"])
def test_windows_and_whole_recordings_are_fused_recording_by_recording(fusion):
    settings = SETTINGS.model_copy(update={"fusion": fusion, "pooling": "max"})
    training = [recordings(windows=1, features=9, seed=1), recordings(seed=0)]
    tested = [recordings(count=5, windows=1, features=9, seed=3), recordings(count=5, seed=2)]
    tested[1][3] = np.nan
    model = fit_machine_model("mahalanobis", training, settings, 0, folds_of(20)).model
    of_members = np.zeros((5, 5))
    for train, test in zip(training, tested, strict=True):
        reference = np.nanmax(by_hand_out_of_fold(train, folds_of(20)), axis=1)
        scores = by_hand_members(train, test, folds_of(20))
        pooled = np.where(np.isnan(scores).all(axis=2), np.nan, np.nan_to_num(scores, nan=-np.inf).max(axis=2))
        of_members += scaled(pooled, reference, fusion)
    np.testing.assert_allclose(model.recording_scores(tested), np.median(of_members, axis=0), rtol=1e-8)
    # the windows shown are those of the representation that has some, on its detector's own scale
    shown = np.median(by_hand_members(training[1], tested[1], folds_of(20)), axis=0)
    np.testing.assert_allclose(model.window_scores(tested), shown, rtol=1e-9)


def test_two_representations_of_whole_recordings():
    training = [recordings(windows=1, seed=0), recordings(windows=1, seed=1)]
    model = fit_machine_model("knn", training, SETTINGS, 0, folds_of(20)).model
    windows, scores = model.scores(training)
    assert windows.shape == (20, 1)
    assert np.isfinite(scores).all()


def test_the_scale_of_a_fusion_is_of_held_out_scores():
    training = [recordings(seed=0), recordings(features=9, seed=1)]
    model = fit_machine_model("knn", training, SETTINGS, 0, folds_of(20)).model
    assert all(reference.min() > 0.1 for reference in model.references)  # its own training scores are 0


def test_a_fusion_of_one_recording_falls_back_to_its_own_scores():
    training = [recordings(count=1, seed=0), recordings(count=1, features=9, seed=1)]
    fitted = fit_machine_model("mahalanobis", training, SETTINGS, 0, np.zeros(1, dtype=int))
    assert np.isfinite(fitted.model.recording_scores(training)).all()
    assert sum("no held-out ones" in note for note in fitted.notes) == 2
    assert np.isnan(fitted.calibration_scores).all()


def test_an_outlier_in_either_representation_is_found():
    training = [recordings(seed=0), recordings(features=9, seed=1)]
    for fusion in ("zscore", "rank"):
        settings = SETTINGS.model_copy(update={"fusion": fusion})
        model = fit_machine_model("gmm", training, settings, 0, folds_of(20)).model
        usual = np.median(model.recording_scores(training))
        for broken in (0, 1):
            tested = [each[:1].copy() for each in training]
            tested[broken] += 8
            assert model.recording_scores(tested)[0] > usual


def test_max_windows_is_a_seeded_sample():
    training = recordings(count=30)
    settings = SETTINGS.model_copy(update={"max_windows": 25})
    first, again, other = (fit_machine_model("kde", [training], settings, seed, folds_of(30)) for seed in (0, 0, 1))
    assert first.model.members[0][0].estimator["training"].shape == (25, 6)
    assert first.notes == ("fitted to a random 25 of 84 windows",)
    np.testing.assert_array_equal(again.calibration_scores, first.calibration_scores)
    assert not np.array_equal(other.calibration_scores, first.calibration_scores)


@pytest.mark.slow
def test_a_fit_copies_no_features():
    """What is computed at full width is bounded, so the training features are there once, whatever the folds."""

    def peak_bytes(count):
        training = np.random.default_rng(0).standard_normal((count, 1, 2048), dtype=np.float32)
        tracemalloc.start()
        fit_machine_model("knn", [training], FitSettings(pca_components=4), 0, folds_of(count))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    rows = 2 * full_width_rows(2048)
    assert peak_bytes(2 * rows) - peak_bytes(rows) < rows * 2048 * 4 / 4


@pytest.mark.parametrize("name", DETECTOR_NAMES)
def test_the_same_input_gives_the_same_bits(name):
    training = [recordings(seed=0), recordings(features=9, seed=1)]
    first, second = (fit_machine_model(name, training, SETTINGS, 3, folds_of(20)) for _ in range(2))
    np.testing.assert_array_equal(first.calibration_scores, second.calibration_scores)
    np.testing.assert_array_equal(first.model.window_scores(training), second.model.window_scores(training))


def test_notes_name_the_representation():
    training = [recordings(count=4), recordings(count=4, windows=1)]
    notes = fit_machine_model("gmm", training, FitSettings(), 0, folds_of(4, 2)).notes
    assert "representation 1: 6 mixture components instead of 80: one a training window" in notes
    assert "representation 2: 2 mixture components instead of 80: one a training window" in notes


@pytest.mark.parametrize("name", ["mahalanobis", "knn"])
def test_the_stated_false_alarm_rate_holds_with_out_of_fold_scores(name):
    """One calibration set: the alarms among new recordings are beta-binomial; 99.9 % interval of 400 recordings."""
    training, new = recordings(count=199, windows=3, seed=5), recordings(count=400, windows=3, seed=6)
    folds = make_folds([None] * 199, 5, seed=0)
    fitted = fit_machine_model(name, [training], SETTINGS, 0, folds)
    limit, _ = threshold(fitted.calibration_scores, 0.1)
    alarms = int((fitted.model.recording_scores([new]) > limit).sum())
    low, high = betabinom(400, 20, 180).interval(0.999)
    assert low <= alarms <= high


def test_state_round_trip():
    training = [recordings(seed=0), recordings(windows=1, seed=1)]
    model = fit_machine_model("gmm", training, SETTINGS, 0, folds_of(20)).model
    again = MachineModel.from_state(model.state())
    np.testing.assert_array_equal(again.recording_scores(training), model.recording_scores(training))
    one_fit = {key: value for key, value in model.state().items() if key != "members"}
    from_before = MachineModel.from_state({**one_fit, "detectors": model.state()["members"][0]})
    alone = replace(model, members=model.members[:1])
    np.testing.assert_array_equal(from_before.recording_scores(training), alone.recording_scores(training))
    with pytest.raises(KeyError, match="pooling"):
        MachineModel.from_state({key: value for key, value in model.state().items() if key != "pooling"})


def test_arrays_that_do_not_fit_are_refused():
    training = recordings()
    model = fit_machine_model("knn", [training], SETTINGS, 0, folds_of(20)).model
    with pytest.raises(ValueError, match="2 representations where 1"):
        model.recording_scores([training, training])
    with pytest.raises(ValueError, match="recordings"):
        fit_machine_model("knn", [training, training[:5]], SETTINGS, 0, folds_of(20))
    with pytest.raises(ValueError, match="3 folds for 20 recordings"):
        fit_machine_model("knn", [training], SETTINGS, 0, folds_of(3))
    with pytest.raises(ValueError, match="representations"):
        fit_machine_model("knn", [], SETTINGS, 0, folds_of(20))
    with pytest.raises(ValueError):
        fit_machine_model("knn", [np.full_like(training, np.nan)], SETTINGS, 0, folds_of(20))
    fused = fit_machine_model("knn", [training, training], SETTINGS, 0, folds_of(20)).model
    with pytest.raises(ValueError, match="same windows"):
        fused.recording_scores([training, training[:, :2]])
