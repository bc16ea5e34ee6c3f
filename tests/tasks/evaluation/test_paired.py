"""DeLong's test against the definition of its 1988 paper, pair by pair, and against simulation."""

import numpy as np
import pytest

from humwatch.tasks.evaluation.paired import delong, normal_interval, placements


def kernel(normal, abnormal):
    difference = np.subtract.outer(abnormal, normal)
    return (difference > 0) + 0.5 * (difference == 0)


def direct(a, b):
    """Difference and standard error from every pair of recordings, as DeLong et al. write it."""
    kernels = [kernel(*a), kernel(*b)]
    v10 = [one.mean(axis=1) for one in kernels]
    v01 = [one.mean(axis=0) for one in kernels]
    covariance = np.cov(v10) / len(v10[0]) + np.cov(v01) / len(v01[0])
    contrast = np.array([1, -1])
    return kernels[0].mean() - kernels[1].mean(), np.sqrt(contrast @ covariance @ contrast)


def models(seed, n_normal, n_abnormal, *, levels=None, gap=1.0):
    """Scores of two models that have a part in common: [(normal, abnormal), (normal, abnormal)]."""
    rng = np.random.default_rng(seed)
    common = rng.normal(0, 1, n_normal), rng.normal(0.8, 1, n_abnormal)
    pair = [tuple(part + gap * rng.normal(0, 1, part.size) for part in common) for _ in range(2)]
    return pair if levels is None else [tuple(np.round(part * levels) for part in one) for one in pair]


@pytest.mark.parametrize(
    ("n_normal", "n_abnormal", "levels"), [(50, 40, None), (7, 90, None), (30, 30, 1), (2, 2, None)]
)
def test_it_is_the_direct_computation(n_normal, n_abnormal, levels):
    a, b = models(n_normal, n_normal, n_abnormal, levels=levels)
    assert delong(placements(*a), placements(*b)) == pytest.approx(direct(a, b), abs=1e-12)
    assert placements(*a).auc == pytest.approx(kernel(*a).mean(), abs=1e-12)


def test_equal_models_differ_in_about_five_of_a_hundred_and_then_the_interval_excludes_zero():
    excluded = 0
    for seed in range(200):
        a, b = models(seed, 40, 40)
        difference, error = delong(placements(*a), placements(*b))
        low, high, p_value = normal_interval(difference, error, 0.95)
        assert (p_value < 0.05) == (not low <= 0 <= high)
        excluded += p_value < 0.05
    # Binomial(200, 0.05): 3 to 19 in 99.7 %.
    assert 3 <= excluded <= 19


def test_a_model_against_itself_differs_by_nothing():
    a, _ = models(0, 20, 20)
    assert delong(placements(*a), placements(*a)) == (0.0, 0.0)
    assert normal_interval(0.0, 0.0, 0.95) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((([1.0], [2.0, 3.0])), ([2.0], [1.0, 3.0])),
        (([1.0, 2.0], [3.0]), ([1.0, 3.0], [2.0])),
        # Perfectly right against perfectly wrong: every recording has the same placements, so there is no variance.
        (([1.0, 2.0], [3.0, 4.0]), ([3.0, 4.0], [1.0, 2.0])),
    ],
)
def test_what_has_no_variance_is_undefined(a, b):
    assert delong(placements(*a), placements(*b)) is None


def test_the_interval_stays_on_the_scale():
    low, high, _ = normal_interval(0.9, 0.2, 0.95)
    assert (low, high) == (pytest.approx(0.9 - 1.959964 * 0.2, abs=1e-6), 1.0)


def test_clips_of_one_file_count_as_one():
    """Each recording ten times, as clips of its file: the error is that of the recordings."""
    generator = np.random.default_rng(0)
    normal, abnormal = generator.normal(0, 1, (40, 2)), generator.normal(1, 1, (40, 2))
    alone = delong(*(placements(normal[:, at], abnormal[:, at]) for at in (0, 1)))
    files = (np.repeat(np.arange(40), 10), np.repeat(np.arange(40), 10))
    ten = [placements(np.repeat(normal[:, at], 10), np.repeat(abnormal[:, at], 10)) for at in (0, 1)]
    assert delong(*ten, files) == pytest.approx(alone)
    assert delong(*ten)[1] < alone[1] / 3
    assert delong(*ten, (np.zeros(400), files[1])) is None
