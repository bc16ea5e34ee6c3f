"""A fleet through its nights: the stated rate, causality, feedback, retraining, and what cannot be supported."""

import numpy as np
import pytest
from alarm_fleets import table, watch
from scipy.stats import binom

from humwatch.tasks.alarms.chart import GUARD_NIGHTS
from humwatch.tasks.alarms.levels import levels
from humwatch.tasks.alarms.night_scores import Calibration
from humwatch.tasks.settings import AlarmSettings

QUICK = AlarmSettings(false_alarm_rate=0.01, attention_rate=0.05)
COLUMNS = ("statistic", "p_value", "evidence", "level_alarm", "attention", "alarm", "new_alarm", "alarm_since", "onset")


@pytest.fixture(scope="module")
def quiet():
    """Night scores of 300 machines without a fault: skewed, each on a scale of its own."""
    generator = np.random.default_rng(5)
    skewed = (generator.gamma(4.0, size=(300, 44)) - 4) / 2
    return generator.lognormal(size=(300, 1)) * skewed + generator.normal(size=(300, 1))


@pytest.fixture(scope="module")
def verdicts(quiet):
    return watch(quiet, 14, QUICK)


def test_normal_machines_are_called_as_often_as_stated(verdicts):
    new, alarm = table(verdicts, "new_alarm"), table(verdicts, "alarm")
    at_risk = int((~alarm | new).sum())
    low, high = binom.interval(0.999, at_risk, QUICK.false_alarm_rate)
    assert low <= new.sum() <= high
    attention = table(verdicts, "attention") & ~alarm
    assert attention.sum() / at_risk == pytest.approx(QUICK.attention_rate, rel=0.4)


def test_half_the_level_would_be_found_out(verdicts):
    evidence, level = table(verdicts, "evidence"), table(verdicts, "level_alarm")
    assert (evidence >= level / 2).any(axis=0).sum() > binom.interval(0.999, evidence.size, 0.01)[1]


def test_later_nights_change_no_earlier_one(quiet, verdicts):
    changed = quiet.copy()
    changed[:, 30:] += 100 * np.random.default_rng(6).normal(size=changed[:, 30:].shape)
    for before, after in zip(verdicts[:16], watch(changed, 14, QUICK)[:16], strict=True):
        for name in COLUMNS:
            np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    for before, after in zip(verdicts[:16], watch(quiet[:, :30], 14, QUICK), strict=True):
        np.testing.assert_array_equal(before.evidence, after.evidence)


def test_a_lasting_shift_is_found_and_dated(quiet):
    faulty = quiet.copy()
    faulty[0, 24:] += 4 * quiet[0, :14].std()
    verdicts = watch(faulty, 14, QUICK)
    since = {verdict.alarm_since[0] for verdict in verdicts if verdict.new_alarm[0]}
    assert len(since) == 1
    (raised,) = since
    assert verdicts[10].date <= raised <= verdicts[14].date
    assert abs(int(verdicts[-1].onset[0][-2:]) - int(verdicts[10].date[-2:])) <= 2
    assert verdicts[-1].alarm[0]


def test_what_a_night_did_to_all_machines_is_no_machines_fault(quiet):
    stormy = quiet.copy()
    stormy[:, 24:30] += 3 * quiet[:, :14].std(axis=1, keepdims=True)
    new = table(watch(stormy, 14, QUICK), "new_alarm")[10:16]
    assert new.sum() <= binom.interval(0.999, new.size, QUICK.false_alarm_rate)[1]
    assert (table(watch(stormy, 14, QUICK), "fleet_effect")[10:16] > 2).all()


def test_a_night_called_normal_clears_the_alarm_and_joins_the_reference(quiet):
    faulty = quiet.copy()
    faulty[0, 24:] += 6 * quiet[0, :14].std()
    said = np.zeros(faulty[:, 14:].shape, dtype=bool)
    said[0, 16:24] = True
    before, after = watch(faulty, 14, QUICK), watch(faulty, 14, QUICK, normal=said)
    assert before[-1].alarm[0]
    assert not any(verdict.alarm[0] for verdict in after[16:])
    assert after[24].reference_nights[0] == before[24].reference_nights[0] + 8
    assert after[-1].statistic[0] < before[-1].statistic[0]


def test_a_new_model_begins_a_new_chart_and_its_alarm_stands(quiet):
    faulty = quiet[:20].copy()
    faulty[0, 24:] += 6 * quiet[0, :14].std()
    settings = AlarmSettings(false_alarm_rate=0.01, attention_rate=0.05)
    names = [[f"model {machine}" for machine in range(20)] for _ in range(30)]
    for night in range(20, 30):
        names[night][0] = "new"
    learned = Calibration(tuple(f"2026-03-{day:02d}" for day in range(1, 11)), faulty[0, 24:34], 4.0)
    verdicts = watch(faulty, 14, settings, models=names, calibrations={"new": learned})
    assert verdicts[19].alarm[0]
    assert verdicts[20].reference_nights[0] == 10
    assert verdicts[20].evidence[0] < verdicts[19].evidence[0]
    assert verdicts[20].alarm_since[0] == verdicts[19].alarm_since[0]
    assert not verdicts[-1].alarm[0]


def test_a_rate_that_the_fleet_does_not_support_raises_nothing_and_says_why(quiet):
    faulty = quiet[:5].copy()
    faulty[0, 24:] += 20 * quiet[0, :14].std()
    verdicts = watch(faulty, 14)
    assert not table(verdicts, "alarm").any()
    assert np.isnan(table(verdicts, "level_alarm")).all()
    assert verdicts[-1].reasons[0] == (
        "70 commissioning nights of the fleet support no alarm rate below 0.014; asked for 0.001"
    )
    assert verdicts[-1].evidence[0] > 10  # it is told all the same


def test_too_few_reference_nights_give_no_statistic_until_quiet_ones_have_joined(quiet):
    verdicts = watch(quiet[:, :24], 3, QUICK)
    assert verdicts[0].reasons[0] == "3 reference nights; a statistic needs 5"
    assert np.isnan(verdicts[0].statistic).all()
    assert np.isfinite(verdicts[GUARD_NIGHTS + 2].statistic).all()


def test_without_commissioning_nights_nothing_is_compared(quiet):
    verdicts = watch(quiet[:10, :20], 0, QUICK)
    assert np.isnan(table(verdicts, "p_value")).all()
    assert not table(verdicts, "attention").any()
    assert verdicts[-1].reasons[0] == (
        "0 commissioning nights of the fleet support no alarm rate below 1; asked for 0.01"
    )


def test_fewer_reference_nights_need_more_evidence():
    few, many = (levels(count, 0.0, QUICK).alarm[:30].mean() for count in (5, 28))
    assert few > many > 2


def test_correlated_nights_need_more_evidence():
    independent, correlated = (levels(14, rho, QUICK).alarm[:30].mean() for rho in (0.0, 0.3))
    assert correlated > independent
