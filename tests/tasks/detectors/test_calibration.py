"""Folds, thresholds and p-values: definitions written out, and the promised rate by simulation."""

import numpy as np
import pytest
from scipy.stats import binom

from humwatch.tasks.detectors.calibration import domain_notes, make_folds, p_values, threshold


def test_the_threshold_is_the_conformal_quantile():
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))  # 1 .. 99
    assert threshold(scores, 0.01) == (99.0, None)
    assert threshold(scores, 0.05) == (95.0, None)
    assert threshold(scores, 0.5) == (50.0, None)
    assert threshold(scores, 0.055) == (95.0, None)  # ceil(94.5)


def test_rates_are_taken_as_written():
    """100 * (1 - 0.43) is 57.00000000000001 in binary: rank 57, not 58."""
    scores = np.arange(1.0, 100.0)
    for hundredths in range(1, 100):
        assert threshold(scores, hundredths / 100) == (100.0 - hundredths, None)


def test_too_few_recordings_support_no_threshold():
    assert threshold(np.arange(12.0), 0.01) == (
        None,
        "12 calibration recordings support no rate below 0.077; asked for 0.01",
    )
    assert threshold(np.arange(98.0), 0.01)[0] is None
    assert threshold(np.arange(99.0), 0.01) == (98.0, None)
    assert threshold(np.array([]), 0.5)[0] is None
    assert threshold(np.full(5, np.nan), 0.5) == (None, "no training recording was held out to make a threshold of")


def test_missing_scores_do_not_count():
    scores = np.array([np.nan, 3.0, 1.0, np.nan, 2.0])
    assert threshold(scores, 0.25) == (3.0, None)
    assert threshold(scores, 0.2)[0] is None
    np.testing.assert_allclose(p_values(np.array([2.5]), scores), [2 / 4])


def test_p_values_by_definition():
    rng = np.random.default_rng(1)
    calibration, scores = rng.integers(0, 8, 30).astype(float), rng.integers(-2, 10, (4, 5)).astype(float)
    scores[1, 2] = np.nan
    expected = np.array([[(1 + sum(c >= s for c in calibration)) / 31 for s in row] for row in scores])
    expected[1, 2] = np.nan
    np.testing.assert_allclose(p_values(scores, calibration), expected)
    np.testing.assert_array_equal(p_values(np.array([1.0, np.nan]), np.array([])), [np.nan, np.nan])
    np.testing.assert_allclose(p_values(np.array([np.inf, -np.inf]), calibration), [1 / 31, 1])


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1, 0.37])
def test_threshold_and_p_value_decide_alike_with_ties(rate):
    rng = np.random.default_rng(2)
    for count in (5, 19, 20, 99, 150):
        calibration = rng.integers(0, 12, count).astype(float)
        scores = np.arange(-1.0, 14.0)
        limit, reason = threshold(calibration, rate)
        by_p_value = p_values(scores, calibration) <= rate
        if limit is None:
            assert reason
            assert not by_p_value.any()
        else:
            np.testing.assert_array_equal(scores > limit, by_p_value)


@pytest.mark.parametrize(("count", "rate"), [(99, 0.05), (99, 0.01), (40, 0.1)])
def test_the_false_alarm_rate_is_the_stated_one(count, rate):
    """Fresh calibration and one new normal recording, 4,000 times: alarms are binomial; its 99.9 % interval."""
    rng = np.random.default_rng(3)
    trials = 4000
    alarms = sum(rng.gamma(2) > threshold(rng.gamma(2, size=count), rate)[0] for _ in range(trials))
    exact = np.floor((count + 1) * rate + 1e-9) / (count + 1)
    low, high = binom(trials, exact).interval(0.999)
    assert low <= alarms <= high
    assert exact <= rate


def test_p_values_of_normal_recordings_are_uniform():
    rng = np.random.default_rng(4)
    values = np.concatenate([p_values(rng.normal(size=1), rng.normal(size=19)) for _ in range(4000)])
    for level in (0.05, 0.25, 0.5, 0.75):
        low, high = binom(4000, level).interval(0.999)
        assert low <= (values <= level + 1e-9).sum() <= high


def test_ties_never_raise_the_false_alarm_rate():
    rng = np.random.default_rng(5)
    alarms = sum(rng.integers(3) > threshold(rng.integers(3, size=19).astype(float), 0.1)[0] for _ in range(2000))
    assert alarms <= binom(2000, 0.1).ppf(0.999)


DOMAINS = ["source"] * 40 + ["target"] * 10


def test_a_threshold_is_the_highest_over_domains():
    scores = np.concatenate([np.arange(1.0, 41.0), np.arange(30.5, 40.0)])  # the target: 30.5 .. 39.5
    assert threshold(scores, 0.2) == (35.5, None)  # of all: rank 41 of 50
    assert threshold(scores, 0.2, DOMAINS) == (38.5, None)  # of the target: rank 9 of 10
    assert threshold(scores, 0.02, DOMAINS) == (40.0, None)  # of all: rank 50; of the target its highest, 39.5
    assert threshold(scores - 20 * (np.arange(50) >= 40), 0.2, DOMAINS)[0] == 33.0  # of the source: rank 33 of 40
    assert threshold(scores, 0.2, ["one"] * 50) == threshold(scores, 0.2, [None] * 50) == (35.5, None)
    assert threshold(scores, 0.01, DOMAINS)[0] is None


def test_recordings_without_a_domain_are_one_beside_the_others():
    scores = np.concatenate([np.zeros(40), np.full(10, 5.0)])
    assert threshold(scores, 0.3, ["source"] * 40 + [None] * 10) == (5.0, None)


def test_a_domain_of_a_few_recordings_is_not_heeded_and_said_so():
    scores, domains = np.arange(50.0), ["source"] * 46 + ["target"] * 4
    assert threshold(scores, 0.2, domains) == threshold(scores, 0.2)
    np.testing.assert_array_equal(p_values(scores, scores, domains), p_values(scores, scores))
    assert domain_notes(scores, 0.2, domains) == [
        "domain target: 4 calibration recordings, too few for the threshold to be made for them"
    ]
    assert domain_notes(scores, 0.2, DOMAINS) == []
    (note,) = domain_notes(scores, 0.05, DOMAINS)
    assert note == "domain target: 10 calibration recordings support no rate below 0.091; its highest score counts"
    assert domain_notes(scores, 0.05, [None] * 50) == []
    unscored = np.where(np.arange(50) < 40, scores, np.nan)
    assert domain_notes(unscored, 0.2, DOMAINS)[0].startswith("domain target: 0 calibration recordings, too few")


@pytest.mark.parametrize("rate", [0.02, 0.05, 0.1, 0.37])
def test_threshold_and_p_value_decide_alike_in_several_domains_with_ties(rate):
    rng = np.random.default_rng(2)
    for _ in range(20):
        calibration = np.concatenate([rng.integers(0, 12, 40), rng.integers(0, 16, 10)]).astype(float)
        scores = np.arange(-1.0, 18.0)
        limit, reason = threshold(calibration, rate, DOMAINS)
        assert reason is None
        np.testing.assert_array_equal(scores > limit, p_values(scores, calibration, DOMAINS) <= rate)


def test_the_stated_rate_holds_in_a_domain_that_scores_higher():
    """Fresh calibration of 90 + 19 and one new recording of the second domain, 4,000 times."""
    rng = np.random.default_rng(6)
    domains, alarms, pooled, trials, rate = ["source"] * 90 + ["target"] * 19, 0, 0, 4000, 0.05
    for _ in range(trials):
        calibration = np.concatenate([rng.normal(size=90), rng.normal(1.0, size=19)])
        new = rng.normal(1.0)
        alarms += new > threshold(calibration, rate, domains)[0]
        pooled += new > threshold(calibration, rate)[0]
    assert alarms <= binom(trials, rate).ppf(0.999)
    assert pooled > 2 * alarms


def test_folds_of_single_recordings():
    folds = make_folds([None] * 23, 5, seed=0)
    assert folds.dtype == np.int64
    assert sorted(np.bincount(folds)) == [4, 4, 5, 5, 5]
    np.testing.assert_array_equal(make_folds([None] * 23, 5, seed=0), folds)
    assert not np.array_equal(make_folds([None] * 23, 5, seed=1), folds)


def test_few_recordings_are_few_folds():
    assert sorted(make_folds(["a", "b", "b"], 5, seed=0)) == [0, 1, 2]
    np.testing.assert_array_equal(make_folds(["a"], 5, seed=0), [0])
    assert make_folds([], 5, seed=0).shape == (0,)


@pytest.mark.parametrize("batches", [[None] * 4, ["a", "a", "b", "b"]])
def test_one_fold_is_all_recordings(batches):
    np.testing.assert_array_equal(make_folds(batches, 1, seed=0), [0, 0, 0, 0])


def test_whole_batches_are_held_out_where_there_are_enough():
    batches = [f"2026-11-{day:02d}" for day in (1, 2, 3, 4, 5, 6, 7) for _ in range(9)]
    folds = make_folds(batches, 5, seed=0)
    assert set(folds) == set(range(5))
    for batch in set(batches):
        assert len({fold for fold, of in zip(folds, batches, strict=True) if of == batch}) == 1


def test_whole_batches_whatever_the_order_of_recordings():
    batches = np.array([f"night {night}" for night in range(6) for _ in range(4)])
    order = np.random.default_rng(0).permutation(len(batches))
    np.testing.assert_array_equal(
        make_folds(list(batches[order]), 3, seed=2), make_folds(list(batches), 3, seed=2)[order]
    )


def test_fewer_batches_than_folds_are_split():
    folds = make_folds(["a"] * 10 + ["b"] * 10, 5, seed=0)
    np.testing.assert_array_equal(np.bincount(folds), [4] * 5)


def test_recordings_without_a_batch_are_one_batch():
    folds = make_folds(["a", "a", None, None, "b", "b"], 3, seed=0)
    assert folds[0] == folds[1]
    assert folds[2] == folds[3]
    assert folds[4] == folds[5]
    assert len(set(folds)) == 3


def test_clips_of_one_file_are_held_out_together():
    """Neighbours within a file are so alike that a model which heard one knows the other: thresholds came out low."""
    clips = [(f"{file}.wav", 10.0 * index) for file in range(7) for index in range(30)]
    folds = make_folds([None] * len(clips), 5, seed=0, clips=clips)
    assert set(folds) == set(range(5))
    for file in range(7):
        assert len({fold for fold, (name, _) in zip(folds, clips, strict=True) if name == f"{file}.wav"}) == 1


def test_of_one_file_a_fold_is_a_piece_without_gaps():
    starts_s = np.random.default_rng(0).permutation(30) * 10.0
    folds = make_folds([None] * 30, 5, seed=0, clips=[("a.wav", start_s) for start_s in starts_s])
    np.testing.assert_array_equal(folds[np.argsort(starts_s)], np.repeat(np.arange(5), 6))


def test_whole_files_are_folded_as_before():
    clips = [(f"{file}.wav", 0.0) for file in range(23)]
    np.testing.assert_array_equal(make_folds([None] * 23, 5, 0, clips), make_folds([None] * 23, 5, 0))
