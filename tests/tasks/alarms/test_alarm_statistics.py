"""The statistic of a night, its p-value, and the numbers that stand behind them, against independent values."""

from datetime import date

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from passports import passport

from humwatch.storage.models import Machine
from humwatch.tasks.alarms.facts import commissioning, night_facts
from humwatch.tasks.alarms.night_scores import calibration_of, night_score
from humwatch.tasks.alarms.null import MIN_FLEET, MOST_BEYOND, Autocorrelation, Null, fleet_effect, night_evidence
from humwatch.tasks.alarms.reference_nights import ReferenceNights, leave_one_out
from humwatch.tasks.settings import AlarmSettings, FitSettings

FIT = FitSettings(training="assumed_normal")


def calibrated(scores, batches, folds=2):
    return passport(calibration_scores=scores, calibration_batches=batches, fit={"calibration_folds": folds})


def test_the_statistic_is_the_prediction_t_statistic_as_a_normal_quantile():
    nights = np.array([0.1, -0.4, 0.3, 0.9, -0.2, 0.0])
    t = (1.5 - nights.mean()) / (nights.std(ddof=1) * np.sqrt(1 + 1 / 6))
    expected = scipy.stats.norm.isf(scipy.stats.t.sf(t, df=5))
    assert ReferenceNights.of(nights[None]).statistic(np.array([1.5]))[0] == pytest.approx(expected, rel=1e-9)


def test_a_night_of_fewer_recordings_may_stray_further():
    nights = np.array([0.1, -0.4, 0.3, 0.9, -0.2, 0.0])
    t = (1.5 - nights.mean()) / (nights.std(ddof=1) * np.sqrt(4 + 1 / 6))
    expected = scipy.stats.norm.isf(scipy.stats.t.sf(t, df=5))
    assert ReferenceNights.of(nights[None]).statistic(np.array([1.5]), 2.0)[0] == pytest.approx(expected, rel=1e-9)


def test_nights_that_join_one_by_one_make_the_same_reference():
    nights = np.random.default_rng(0).normal(size=(3, 9))
    nights[1, 4] = np.nan
    grown = ReferenceNights.of(nights[:, :2])
    for night in range(2, 9):
        grown.add(nights[:, night])
    whole = ReferenceNights.of(nights)
    assert grown.count.tolist() == whole.count.tolist() == [9, 8, 9]
    np.testing.assert_allclose(grown.mean, np.nanmean(nights, axis=1))
    np.testing.assert_allclose(grown.squares / (grown.count - 1), np.nanvar(nights, axis=1, ddof=1))


def test_leave_one_out_compares_a_night_with_the_others():
    nights = np.array([[0.1, -0.4, 0.3, 0.9, -0.2, np.nan]])
    left_out = leave_one_out(nights)
    others = ReferenceNights.of(np.delete(nights, 3, axis=1))
    assert left_out[0, 3] == pytest.approx(others.statistic(np.array([0.9]))[0])
    assert np.isnan(left_out[0, 5])


@pytest.mark.parametrize("nights", [[[1.0, 1.0, 1.0]], [[1.0]]])
def test_without_spread_there_is_no_statistic(nights):
    assert np.isnan(ReferenceNights.of(np.array(nights)).statistic(np.array([2.0]))).all()


def test_p_values_are_ranks_among_the_nights_of_the_fleet():
    null = Null.of(np.array([[3.0, 1.0, np.nan], [2.0, 4.0, 0.0]]))
    values = null.p_values(np.array([5.0, 2.5, 2.0, -1.0, np.nan]))
    np.testing.assert_allclose(values, [1 / 6, 3 / 6, 4 / 6, 6 / 6, np.nan])
    assert null.supports(1 / 6)
    assert not null.supports(0.16)


def test_the_fleet_effect_needs_a_fleet():
    assert fleet_effect(np.arange(MIN_FLEET, dtype=float)) == (MIN_FLEET - 1) / 2
    assert fleet_effect(np.array([*np.arange(MIN_FLEET - 1), np.nan], dtype=float)) == 0


@pytest.mark.parametrize("correlation", [0.0, 0.4])
def test_the_autocorrelation_of_nights_is_found_in_spite_of_short_series(correlation):
    generator = np.random.default_rng(1)
    nights = np.empty((500, 14))
    nights[:, 0] = generator.normal(size=500)
    for night in range(1, 14):
        nights[:, night] = correlation * nights[:, night - 1]
        nights[:, night] += np.sqrt(1 - correlation**2) * generator.normal(size=500)
    found = Null.of(leave_one_out(nights)).autocorrelation
    assert found.mean == pytest.approx(correlation, abs=0.05)
    assert found.sd < 0.02


def test_few_nights_say_little_of_the_autocorrelation():
    nothing = Autocorrelation.of([])
    one, forty = (
        Null.of(leave_one_out(np.random.default_rng(2).normal(size=(machines, 14)))).autocorrelation
        for machines in (1, 40)
    )
    assert nothing.sd > one.sd > 0.12
    assert abs(one.mean - nothing.mean) < 0.05
    assert abs(forty.mean) < 0.06


def test_what_lies_above_all_nights_of_the_fleet_counts_by_how_far():
    null = Null.of(np.linspace(-2.0, 2.0, 99)[None])
    statistics = np.array([1.9, 2.0, 2.5, 9.0, np.nan])
    p_values = null.p_values(statistics)
    said = night_evidence(p_values, statistics, 2.0, 99)
    ranks = scipy.stats.norm.isf([4 / 100, 2 / 100, 1 / 100, 1 / 100])
    np.testing.assert_allclose(said, [*(ranks + np.array([0, 0, 0.5, MOST_BEYOND])), np.nan])


def test_a_night_score_is_the_mean_normal_score_and_bounded():
    assert night_score(np.array([0.5, 0.1]), 99) == pytest.approx(scipy.stats.norm.isf([0.5, 0.1]).mean())
    assert night_score(np.array([1.0, 0.01]), 99) == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(night_score(np.array([]), 99))


def test_calibration_nights_are_ranked_among_the_other_recordings():
    calibration = calibration_of(calibrated([5.0, 1.0, 2.0, 3.0], ["a", "a", "b", "b"]))
    ranks = [1 / 4, 4 / 4, 3 / 4, 2 / 4]  # 1 + how many others are at least as large, of 4
    normal = scipy.stats.norm.isf(np.minimum(ranks, 3 / 4))
    assert calibration.nights == ("a", "b")
    np.testing.assert_allclose(calibration.scores, [normal[:2].mean(), normal[2:].mean()])
    assert calibration.recordings == 2


def test_abnormal_nights_and_folds_within_nights_are_no_reference():
    assert calibration_of(calibrated([5.0, 1.0, 2.0], ["a", "b", "c"]), {"b"}).nights == ("a", "c")
    assert calibration_of(calibrated([5.0, 1.0, 2.0], ["a", "b", "c"], folds=4)).nights == ()


def test_a_night_is_ranked_among_all_recordings_whatever_the_domains_say():
    """The table's p-values are the largest over domains, the reference nights' are not."""
    fan = {"site": None, "machine_type": "fan", "machine_id": "id_00", "condition": None}
    measured = {"batch": "2026-01-02", "status": "accepted", "rms_dbfs": -30.0, "clipped_fraction": 0.0, "label": None}
    measured |= {"reason": None, "ac_rms_dbfs": -30.0, "dc_offset": 0.0, "channels_heard": 1}
    measured |= {"silent_fraction": 0.0, "constant_fraction": 0.0}
    scored = {"in_training": False, "model_version": "v", "p_value": 1.0, "drift": 0.1}
    recordings = pd.DataFrame([{"recording_id": name, **fan, **measured} for name in "ab"])
    scores = pd.DataFrame([{"recording_id": name, **fan, **scored, "score": 2.5} for name in "ab"])
    passports = {
        (Machine("fan", "id_00"), "v"): passport(calibration_scores=[1.0, 2.0, 3.0], training_recordings=["c"])
    }
    nights = pd.DataFrame([{**fan, "batch": "2026-01-02", "usable": 2}])
    judged = night_facts("2026-01-02", recordings, nights, scores, passports, AlarmSettings(), FitSettings())
    (facts,) = judged.to_dict("records")
    assert facts["night_score"] == pytest.approx(scipy.stats.norm.isf(2 / 4))
    scores["p_value"] = np.nan
    unranked = night_facts("2026-01-02", recordings, nights, scores, passports, AlarmSettings(), FitSettings())
    assert np.isnan(unranked["night_score"][0])
    assert unranked["reason"][0] == "none of its recordings has a score with a p-value"


@pytest.mark.parametrize(
    ("fit", "said"),
    [
        (FIT, "learning: 3 of 14 nights, 5 of 20 recordings; judged from 2026-01-16 on if every night has some"),
        (
            FIT.model_copy(update={"commissioning_nights": 3, "min_training_recordings": 4}),
            "learning: 3 of 3 nights, 4 of 4 recordings; judged from 2026-01-05 on if every night has some",
        ),
        (
            FIT.model_copy(update={"commissioning_until": date(2026, 2, 1)}),
            "learning: nights until 2026-02-01 are learned as normal, 5 of 20 recordings; judged from 2026-02-02 on",
        ),
        (FitSettings(), "no model yet that was not trained on this night"),
    ],
)
def test_a_machine_without_a_model_is_told_how_far_it_is_and_when_it_is_judged(fit, said):
    """Rejected recordings and those labelled abnormal do not count; one night had nothing else."""
    recordings = pd.DataFrame({
        "day": ["01", "01", "02", "03", "03", "04", "04"],
        "label": [None, "normal", "abnormal", None, None, None, None],
        "status": ["accepted"] * 5 + ["rejected", "accepted"],
    })  # fmt: skip
    recordings["batch"] = "2026-01-" + recordings["day"]
    recordings["usable"] = recordings["status"].eq("accepted") & recordings["label"].ne("abnormal")
    nights = recordings.groupby("batch")["usable"].sum().reset_index()
    assert commissioning("2026-01-04", nights, fit).startswith(said)
