"""The gate refuses what it must, and says why."""

import numpy as np
import pytest

from humwatch.tasks.detectors.calibration import threshold
from humwatch.tasks.detectors.gate import judge_candidate

RATE, CONFIDENCE = 0.01, 0.95


def judge(scores, threshold=1.0, minimum=50):
    return judge_candidate(np.asarray(scores, dtype=np.float64), threshold, RATE, minimum, CONFIDENCE)


def with_alarms(count, alarms):
    return [2.0] * alarms + [0.0] * (count - alarms)


def test_a_model_that_keeps_its_rate_passes():
    result = judge(with_alarms(200, 2))
    assert result.accepted
    assert (result.recordings, result.false_alarms) == (200, 2)


def test_a_model_with_five_times_the_rate_is_refused():
    result = judge(with_alarms(200, 10))
    assert not result.accepted
    assert "too many false alarms: 10 false alarms in 200 recordings" in result.reason
    assert result.low > RATE


def test_the_interval_is_clopper_and_pearsons():
    # scipy.stats.beta.ppf(.025, 10, 191) and ppf(.975, 11, 190), computed by hand once.
    result = judge(with_alarms(200, 10))
    assert result.low == pytest.approx(0.02424, abs=1e-4)
    assert result.high == pytest.approx(0.09006, abs=1e-4)


@pytest.mark.parametrize(
    ("scores", "threshold", "minimum", "reason"),
    [
        ([*with_alarms(99, 0), np.nan], 1.0, 50, "1 of 100 gate recordings have no score"),
        (with_alarms(100, 0), None, 50, "supports no threshold"),
        (with_alarms(49, 0), 1.0, 50, "saw 49 recordings and needs 50"),
        ([], 1.0, 1, "saw 0 recordings and needs 1"),
    ],
)
def test_what_cannot_be_judged_is_refused(scores, threshold, minimum, reason):
    result = judge(scores, threshold, minimum)
    assert not result.accepted
    assert reason in result.reason


@pytest.mark.slow
def test_how_often_honest_and_bad_models_pass():
    generator = np.random.default_rng(0)

    def passed(rate):
        return np.mean([judge(with_alarms(200, generator.binomial(200, rate))).accepted for _ in range(500)])

    assert passed(RATE) > 0.95
    assert passed(5 * RATE) < 0.3


def test_a_candidate_without_a_threshold_is_told_what_the_rate_takes():
    for rate, fewest in ((0.01, 99), (0.05, 19), (0.2, 4), (0.003, 333)):
        result = judge_candidate(np.zeros(100), None, rate, 50, CONFIDENCE, "18 calibration recordings are too few")
        assert "18 calibration recordings are too few" in result.reason
        assert f"the rate {rate:g} takes {fewest} training recordings or more" in result.reason
        assert threshold(np.arange(fewest, dtype=np.float64), rate)[0] is not None
        assert threshold(np.arange(fewest - 1, dtype=np.float64), rate)[0] is None
