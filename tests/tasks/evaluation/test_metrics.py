"""Metrics against scikit-learn, brute-force counts, hand-computed cases and simulation."""

import itertools
import tracemalloc

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score

from humwatch.tasks.evaluation.metrics import (
    Confusion,
    auc,
    auc_interval,
    average_precision,
    bootstrap_interval,
    bootstrap_interval_of_files,
    chance_of_perfection,
    confusion,
    newcombe_interval,
    pauc,
    roc_points,
)

UNDEFINED = [([], [1.0]), ([1.0], []), ([], []), ([1.0, np.nan], [2.0]), ([1.0], [np.nan, 2.0])]


def pairwise_auc(normal, abnormal):
    difference = np.subtract.outer(abnormal, normal)
    return (difference > 0).mean() + 0.5 * (difference == 0).mean()


@pytest.fixture
def scores():
    rng = np.random.default_rng(7)
    return rng.normal(0, 1, 60), rng.normal(0.8, 1.5, 45)


def test_auc_is_the_chance_to_outrank(scores):
    assert auc(*scores) == pytest.approx(pairwise_auc(*scores), abs=1e-12)


@pytest.mark.parametrize(
    ("normal", "abnormal", "expected"),
    [
        ([1, 2, 3], [4, 5], 1.0),
        ([4, 5], [1, 2, 3], 0.0),
        ([1, 1], [1, 1, 1], 0.5),
        ([1, 2], [2, 3], 0.875),
        ([0.0, -np.inf], [np.inf, 0.0], 0.875),
    ],
)
def test_auc_by_hand(normal, abnormal, expected):
    assert auc(normal, abnormal) == pytest.approx(expected, abs=1e-12)


def test_ties_count_half():
    rng = np.random.default_rng(3)
    normal, abnormal = rng.integers(0, 5, 40), rng.integers(1, 6, 30)
    assert auc(normal, abnormal) == pytest.approx(pairwise_auc(normal, abnormal), abs=1e-12)


def test_pauc_is_scikit_learns(scores):
    truth = np.r_[np.zeros(60), np.ones(45)]
    assert pauc(*scores, 0.1) == pytest.approx(roc_auc_score(truth, np.concatenate(scores), max_fpr=0.1), abs=1e-12)
    assert pauc(*scores, 0.1) != pytest.approx(auc(*scores), abs=1e-3)


def test_average_precision_is_scikit_learns_and_by_hand(scores):
    truth = np.r_[np.zeros(60), np.ones(45)]
    assert average_precision(*scores) == pytest.approx(
        average_precision_score(truth, np.concatenate(scores)), abs=1e-12
    )
    # Found at ranks 1 and 3 from the top: (1/1 + 2/3) / 2.
    assert average_precision([1, 3], [2, 4]) == pytest.approx(5 / 6, abs=1e-12)


def test_pauc_by_hand():
    # The curve rises at fpr 0 to 1/2 and stays there up to 0.5: area 0.25; chance 0.125, best 0.5.
    assert pauc([1, 3], [2, 4], 0.5) == pytest.approx(0.5 * (1 + (0.25 - 0.125) / (0.5 - 0.125)), abs=1e-12)


@pytest.mark.parametrize(("normal", "abnormal"), UNDEFINED)
def test_nothing_or_nan_is_undefined(normal, abnormal):
    assert auc(normal, abnormal) is None
    assert pauc(normal, abnormal, 0.1) is None
    assert roc_points(normal, abnormal) is None
    assert bootstrap_interval(normal, abnormal, 0.95, 100, 0) is None


def test_roc_points_enclose_the_auc(scores):
    fpr, tpr = roc_points(*scores)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert (np.diff(fpr) >= 0).all()
    assert (np.diff(tpr) >= 0).all()
    assert np.trapezoid(tpr, fpr) == pytest.approx(pairwise_auc(*scores), abs=1e-12)


def test_roc_points_of_a_tie_are_the_diagonal():
    fpr, tpr = roc_points([1, 1], [1])
    assert fpr.tolist() == tpr.tolist() == [0, 1]


def test_interval_agrees_with_a_plain_bootstrap(scores):
    normal, abnormal = scores
    rng = np.random.default_rng(99)
    plain = [pairwise_auc(rng.choice(normal, normal.size), rng.choice(abnormal, abnormal.size)) for _ in range(3000)]
    assert bootstrap_interval(normal, abnormal, 0.9, 3000, 0) == pytest.approx(
        np.quantile(plain, [0.05, 0.95]), abs=0.01
    )


def test_interval_agrees_with_a_plain_bootstrap_under_ties():
    rng = np.random.default_rng(5)
    normal, abnormal = rng.integers(0, 4, 30), rng.integers(1, 5, 25)
    plain = [pairwise_auc(rng.choice(normal, 30), rng.choice(abnormal, 25)) for _ in range(3000)]
    assert bootstrap_interval(normal, abnormal, 0.9, 3000, 0) == pytest.approx(
        np.quantile(plain, [0.05, 0.95]), abs=0.01
    )


def test_interval_of_two_against_one_is_exact():
    # Each drawn normal is below the only anomaly or not, with equal chance: AUC 0, 0.5, 1 at 1/4, 1/2, 1/4.
    assert bootstrap_interval([0, 2], [1], 0.4, 2000, 0) == (0.5, 0.5)
    assert bootstrap_interval([0, 2], [1], 0.6, 2000, 0) == (0.0, 1.0)


def test_interval_is_seeded_and_independent_of_the_scale(scores):
    normal, abnormal = scores
    first = bootstrap_interval(normal, abnormal, 0.95, 500, 4)
    assert bootstrap_interval(normal, abnormal, 0.95, 500, 4) == first
    assert bootstrap_interval(np.exp(normal), np.exp(abnormal), 0.95, 500, 4) == first
    assert bootstrap_interval(normal, abnormal, 0.95, 500, 5) != first


def test_interval_covers_the_true_auc():
    rng = np.random.default_rng(11)
    true_auc = norm.cdf(1 / np.sqrt(2))
    covered = 0
    for _ in range(300):
        low, high = bootstrap_interval(rng.normal(0, 1, 40), rng.normal(1, 1, 40), 0.9, 300, 0)
        covered += low <= true_auc <= high
    assert 0.83 < covered / 300 < 0.95


def test_interval_of_many_recordings_is_narrow_and_its_memory_bounded():
    rng = np.random.default_rng(2)
    normal, abnormal = rng.normal(0, 1, 5000), rng.normal(1, 1, 5000)
    tracemalloc.start()
    low, high = bootstrap_interval(normal, abnormal, 0.95, 1000, 0)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert low < pairwise_auc(normal, abnormal) < high
    # Hanley & McNeil (1982): the standard error of this AUC is close to 0.0047.
    assert high - low == pytest.approx(2 * 1.96 * 0.0047, rel=0.1)
    assert peak_bytes < 100e6


def test_newcombes_interval_is_the_published_one():
    # Newcombe 2006, Part 2: method 5 solves (auc - a)^2 = z^2 V(a); here by a grid instead of by a root finder.
    for observed, n, m, confidence in ((0.9, 20, 30, 0.95), (0.6, 5, 4, 0.9), (1.0, 2, 2, 0.95), (0.0, 7, 3, 0.95)):
        a = np.linspace(0, 1, 1_000_001)[1:-1]
        spread = 1 + ((n + m) / 2 - 1) * ((1 - a) / (2 - a) + a / (1 + a))
        inside = a[(observed - a) ** 2 <= norm.ppf((1 + confidence) / 2) ** 2 * a * (1 - a) / (n * m) * spread]
        expected = (min(inside[0], observed), max(inside[-1], observed))
        assert newcombe_interval(observed, n, m, confidence) == pytest.approx(expected, abs=3e-6)


def test_perfect_separation_of_few_recordings_is_not_certain_and_of_more_is_more_so():
    lows = []
    for n in (1, 2, 5, 20, 100):
        low, high = auc_interval(np.zeros(n), np.ones(n), 0.95, 200, 0)
        assert high == 1
        assert auc_interval(np.ones(n), np.zeros(n), 0.95, 200, 0) == pytest.approx((0, 1 - low))
        lows.append(low)
    assert lows == sorted(lows)
    assert lows[1] < 0.5 < lows[2] < 0.8 < lows[3] < lows[4] < 1


def test_the_interval_of_few_recordings_is_the_wider_of_both_and_of_many_the_bootstraps():
    rng = np.random.default_rng(3)
    for n in (8, 49, 50):
        normal, abnormal = rng.normal(0, 1, 60), rng.normal(1, 1, n)
        drawn = bootstrap_interval(normal, abnormal, 0.95, 500, 0)
        low, high = auc_interval(normal, abnormal, 0.95, 500, 0)
        if n == 50:
            assert (low, high) == drawn
        else:
            counted = newcombe_interval(auc(normal, abnormal), 60, n, 0.95)
            assert (low, high) == (min(drawn[0], counted[0]), max(drawn[1], counted[1]))
    assert auc_interval([], [1], 0.95, 100, 0) is None


def test_intervals_of_few_recordings_cover_the_true_auc():
    rng = np.random.default_rng(12)
    true_auc = norm.cdf(2 / np.sqrt(2))
    covered = drawn = 0
    for _ in range(300):
        normal, abnormal = rng.normal(0, 1, 6), rng.normal(2, 1, 5)
        for interval, counts in ((auc_interval, "few"), (bootstrap_interval, "drawn")):
            low, high = interval(normal, abnormal, 0.95, 200, 0)
            covered += counts == "few" and low <= true_auc <= high
            drawn += counts == "drawn" and low <= true_auc <= high
    assert covered / 300 > 0.94
    assert drawn / 300 < 0.9  # why the bootstrap alone will not do


def test_how_often_guessing_is_perfect():
    ranked = [p for p in itertools.permutations(range(5)) if max(p[:3]) < min(p[3:])]
    assert chance_of_perfection(3, 2) == len(ranked) / 120


def test_confusion_is_scikit_learns():
    rng = np.random.default_rng(8)
    normal, abnormal = rng.random(70) < 0.2, rng.random(30) < 0.6
    truth, called = np.r_[np.zeros(70), np.ones(30)], np.r_[normal, abnormal]
    rates = confusion(normal.tolist(), abnormal.tolist())
    assert rates.precision == pytest.approx(precision_score(truth, called))
    assert rates.recall == pytest.approx(recall_score(truth, called))
    assert rates.f1 == pytest.approx(f1_score(truth, called))
    assert rates.false_alarm_rate == pytest.approx(normal.mean())


@pytest.mark.parametrize(
    ("normal", "abnormal", "expected"),
    [
        ([False, False, False, True], [True, False], Confusion(0.5, 0.5, 0.5, 0.25)),
        ([False, False], [False], Confusion(None, 0.0, 0.0, 0.0)),
        ([], [True, False], Confusion(None, 0.5, None, None)),
        ([True, False], [], Confusion(None, None, None, 0.5)),
        ([], [], Confusion(None, None, None, None)),
        ([True, None], [True], Confusion(None, 1.0, None, None)),
        ([True, False], [True, None], Confusion(None, None, None, 0.5)),
    ],
)
def test_confusion_by_hand(normal, abnormal, expected):
    assert confusion(normal, abnormal) == expected


def test_clips_of_few_files_have_the_interval_of_few_files():
    """Copies of a recording add nothing: the interval is that of the files, not ten times as sure."""
    generator = np.random.default_rng(0)
    normal, abnormal = generator.normal(0, 1, 60), generator.normal(0.7, 1, 60)
    alone = auc_interval(normal, abnormal, 0.95, 2000, 0)
    files = (np.repeat(np.arange(60), 10), np.repeat(np.arange(60), 10))
    clips = auc_interval(np.repeat(normal, 10), np.repeat(abnormal, 10), 0.95, 2000, 0, files)
    assert clips == pytest.approx(alone, abs=0.02)
    one_each = auc_interval(normal, abnormal, 0.95, 2000, 0, (np.arange(60), np.arange(60)))
    assert one_each == alone


def test_the_files_of_clips_are_drawn_with_all_their_clips():
    """By hand: of two files and two, every draw has one of few AUCs."""
    normal, normal_files = [1.0, 4.0, 4.0], np.array([0, 1, 1])
    abnormal, abnormal_files = [2.0, 3.0], np.array([0, 1])
    low, high = bootstrap_interval_of_files(normal, abnormal, normal_files, abnormal_files, 0.999, 2000, 0)
    assert (low, high) == (0.0, 1.0)  # the second normal file alone, the first alone
    low, high = bootstrap_interval_of_files(normal, abnormal, np.array([0, 0, 0]), abnormal_files, 0.999, 2000, 0)
    assert low == high == pytest.approx(1 / 3)
