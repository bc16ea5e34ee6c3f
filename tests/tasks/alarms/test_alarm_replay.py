"""A fleet through its nights: the stated rate, causality, feedback, retraining, and what cannot be supported."""

import numpy as np
import pytest
from alarm_fleets import table, watch
from scipy.stats import binom

from humwatch.tasks.alarms.chart import GUARD_NIGHTS, Charts
from humwatch.tasks.alarms.levels import Rates, levels, striking
from humwatch.tasks.alarms.night_scores import Calibration
from humwatch.tasks.alarms.null import Autocorrelation, Null, night_evidence
from humwatch.tasks.alarms.rates import fleet_rates, machine_rates
from humwatch.tasks.alarms.reference_nights import ReferenceNights, leave_one_out
from humwatch.tasks.settings import AlarmSettings

QUICK = AlarmSettings(false_alarm_rate=0.01, attention_rate=0.05)
QUICK_RATES = Rates(0.01, 0.05)
INDEPENDENT = Autocorrelation(0.0, 0.0)
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


def repaired_from(night, machines, nights=30, machine=0):
    """For `watch`: one machine was repaired before the night of this index."""
    return [
        [f"2026-{1 + (14 + night) // 28:02d}-{1 + (14 + night) % 28:02d}" if each == machine and at >= night else None
         for each in range(machines)]
        for at in range(nights)
    ]  # fmt: skip


def test_a_repair_ends_the_alarm_and_begins_evidence_and_reference_anew(quiet):
    faulty = quiet[:50].copy()
    faulty[0, 24:] += 6 * quiet[0, :14].std()  # what it sounds like now is its normal sound
    before = watch(faulty, 14, QUICK)
    after = watch(faulty, 14, QUICK, repaired=repaired_from(18, 50))
    assert before[17].alarm[0]
    assert before[-1].alarm[0]
    for name in COLUMNS:  # the nights until then, and the other machines, are judged as they were
        np.testing.assert_array_equal(table(before[:18], name), table(after[:18], name))
    assert not any(verdict.alarm[0] or verdict.attention[0] for verdict in after[18:])
    assert after[18].alarm_since[0] is after[18].onset[0] is None
    assert [int(verdict.reference_nights[0]) for verdict in after[18:24]] == [0, 1, 2, 3, 4, 5]
    assert after[22].reasons[0] == "4 reference nights; a statistic needs 5"
    assert np.isnan(table(after[18:23], "statistic")[:, 0]).all()
    assert abs(table(after[23:], "statistic")[:, 0].mean()) < 1
    assert after[23].evidence[0] <= max(0.0, after[23].statistic[0])


def test_after_a_repair_the_guard_is_back_with_the_statistic(quiet):
    scores = quiet[:50].copy()
    scores[0, 14 + 10 :] = scores[1, 14 + 10 :] * 9 + 40  # another machine altogether
    scores[0, 14 + 18 :] += 30 * scores[0, 14 + 10 : 14 + 18].std()  # and a fault of its own
    verdicts = watch(scores, 14, QUICK, repaired=repaired_from(10, 50))
    assert [int(verdict.reference_nights[0]) for verdict in verdicts[15:20]] == [5] * 5
    raised = [at for at, verdict in enumerate(verdicts) if verdict.new_alarm[0]]
    assert raised
    assert 18 <= raised[0] <= 22


def test_nights_labelled_abnormal_after_a_repair_join_nothing(quiet):
    said = np.zeros(quiet[:50, 14:].shape, dtype=bool)
    said[0, 12] = True
    verdicts = watch(quiet[:50], 14, QUICK, repaired=repaired_from(10, 50), abnormal=said)
    assert [int(verdict.reference_nights[0]) for verdict in verdicts[10:16]] == [0, 1, 2, 2, 3, 4]


def test_a_silent_machine_that_was_repaired_is_in_no_alarm(quiet):
    faulty = quiet[:50].copy()
    faulty[0, 24:] += 6 * quiet[0, :14].std()
    faulty[0, 31:36] = np.nan
    names = [[f"model {machine}" for machine in range(50)] for _ in range(30)]
    for night in range(17, 22):
        names[night][0] = None
    after = watch(faulty, 14, QUICK, models=names, repaired=repaired_from(18, 50))
    assert after[17].alarm[0]
    assert not table(after[18:], "alarm")[:, 0].any()
    assert [int(verdict.reference_nights[0]) for verdict in after[21:25]] == [0, 0, 1, 2]


def test_of_a_model_trained_over_a_repair_only_the_nights_after_it_are_reference(quiet):
    days = tuple(f"2026-01-{1 + night:02d}" for night in range(14))
    assert Calibration(days, quiet[0, :14], 4.0).scores_from("2026-01-09").tolist() == quiet[0, 8:14].tolist()
    since = [["2026-01-09" if machine == 0 else None for machine in range(50)]] * 30
    verdicts = watch(quiet[:50], 14, QUICK, repaired=since)
    assert verdicts[0].reference_nights[:2].tolist() == [6, 14]
    assert np.isfinite(verdicts[0].statistic[0])


@pytest.mark.parametrize("machines", [1, 5, 12])
def test_a_rate_far_below_the_smallest_p_value_is_kept_by_several_such_nights(quiet, machines):
    """14 nights support no p-value below 0.07, and 12 machines with 14 none below 0.006; 0.001 is stated."""
    faulty = quiet[:machines].copy()
    faulty[0, 24:] += 6 * quiet[0, :14].std()
    verdicts = watch(faulty, 14)
    assert min(verdict.p_value[0] for verdict in verdicts) == pytest.approx(1 / (14 * machines + 1))
    raised = [index for index, verdict in enumerate(verdicts) if verdict.new_alarm[0]]
    assert raised
    assert 11 <= raised[0] <= 15
    assert verdicts[raised[0]].attention[0]
    assert not table(verdicts, "new_alarm")[:10].any()
    # from no evidence on it takes so many nights in a row, which a night that begins with some may undercut by one
    assert 2 <= verdicts[10].nights_to_alarm[0] <= 5
    assert verdicts[10].rate_low[0] < 0.001 < verdicts[10].rate_high[0]


def test_a_machine_that_can_raise_no_alarm_yet_is_told_when_it_can(quiet):
    verdicts = watch(quiet[:1], 14)
    can = np.isfinite(table(verdicts, "level_alarm")[:, 0])
    first = int(np.argmax(can))
    assert 0 < first < 5
    assert can[first:].all()
    for verdict in verdicts[:first]:
        assert verdict.reasons[0] == (
            "with 14 commissioning nights of the fleet and a rate of 0.001 an alarm takes "
            f"{first + 1} nights at least: judged from {verdicts[first].date} on"
        )
    assert verdicts[first].reasons[0] is None


def test_the_luck_of_few_commissioning_nights_is_told():
    one, few, many = (levels(14, 14 * count, INDEPENDENT, QUICK_RATES, 3) for count in (1, 12, 300))
    assert one.rate_high > few.rate_high > many.rate_high > 0.01
    assert one.rate_low < few.rate_low < many.rate_low < 0.01


def test_levels_keep_their_rate_over_fleets_of_single_machines():
    """Of machines of which each is a fleet, so that ranks among 14 nights and their luck are in the rate."""
    generator = np.random.default_rng(17)
    raised, at_risk = 0, 0
    for _ in range(150):
        verdicts = watch(generator.normal(size=(1, 44)), 14, QUICK)
        new, alarm = table(verdicts, "new_alarm"), table(verdicts, "alarm")
        raised, at_risk = raised + new.sum(), at_risk + (~alarm | new).sum()
    low, high = binom.interval(0.999, int(at_risk), QUICK.false_alarm_rate)
    assert low / 2 <= raised <= high  # estimated autocorrelation makes alarms rarer


def test_a_fleets_night_is_not_gone_when_two_of_ten_are_in_alarm(quiet):
    stormy = quiet[:10].copy()
    spread = quiet[:10, :14].std(axis=1, keepdims=True)
    stormy[:2, 24:] += 6 * spread[:2]
    stormy[:, 34:] += 3 * spread
    verdicts = watch(stormy, 14, QUICK)
    assert verdicts[19].alarm[:2].all()
    assert (table(verdicts, "fleet_effect")[20:, 2:] > 1).all()
    assert table(verdicts, "new_alarm")[20:, 2:].sum() <= 1


def test_false_alarms_of_a_year_are_those_of_the_whole_fleet():
    a_year = AlarmSettings(false_alarms_per_year=4.383)
    assert fleet_rates(a_year, 12).false_alarm == pytest.approx(0.001)
    assert fleet_rates(a_year, 1).false_alarm == pytest.approx(0.012)
    assert fleet_rates(a_year, 1).attention == pytest.approx(0.012)  # never rarer than alarms
    with pytest.raises(ValueError, match="one of false_alarm_rate and false_alarms_per_year"):
        AlarmSettings(false_alarms_per_year=4, false_alarm_rate=0.002)


def test_a_pattern_has_rates_of_its_own(quiet):
    settings = AlarmSettings(machines=[{"match": "fan/id_0[01]", "false_alarm_rate": 0.05, "attention_rate": 0.2}])
    assert machine_rates(settings, ["fan/id_01", "fan/id_02"]) == [Rates(0.05, 0.2), Rates(0.001, 0.01)]
    verdicts = watch(quiet[:20, :20], 14, settings)
    assert verdicts[-1].false_alarm_rate.tolist() == [0.05] * 2 + [0.001] * 18
    assert (verdicts[-1].level_alarm[:2] < verdicts[-1].level_alarm[2:].min()).all()
    with pytest.raises(ValueError, match="attention_rate must not be below"):
        AlarmSettings(machines=[{"match": "*", "false_alarm_rate": 0.05}])


def test_too_few_reference_nights_give_no_statistic_until_quiet_ones_have_joined(quiet):
    verdicts = watch(quiet[:, :24], 3, QUICK)
    assert verdicts[0].reasons[0] == "3 reference nights; a statistic needs 5"
    assert np.isnan(verdicts[0].statistic).all()
    assert np.isfinite(verdicts[GUARD_NIGHTS + 2].statistic).all()


def test_without_commissioning_nights_nothing_is_compared(quiet):
    verdicts = watch(quiet[:10, :20], 0, QUICK)
    assert np.isnan(table(verdicts, "p_value")).all()
    assert not table(verdicts, "attention").any()
    assert verdicts[-1].reasons[0] == "its reference nights, or those of its fleet, do not differ from each other"


def test_fewer_reference_nights_need_more_evidence():
    few, many = (levels(count, 2000, INDEPENDENT, QUICK_RATES, 3).alarm[:30].mean() for count in (5, 28))
    assert few > many > 2


def test_correlated_nights_need_more_evidence():
    independent, correlated, unsure = (
        levels(14, 2000, Autocorrelation(*known), QUICK_RATES, 3).alarm[:30].mean()
        for known in ((0.0, 0.0), (0.3, 0.0), (0.3, 0.2))
    )
    assert unsure > correlated > independent


@pytest.mark.parametrize("machines", [1, 3])
def test_levels_keep_their_rate_where_p_values_are_coarse(machines):
    """The share that a group of equal evidence leaves is carried on: nearly all of the stated rate is used."""
    nights = 14 * machines
    made = levels(14, nights, INDEPENDENT, Rates(0.002, 0.02), 3)
    generator = np.random.default_rng(5)
    raised = at_risk = 0
    for _ in range(2000):
        normal = generator.normal(size=(machines, 74))
        null = Null.of(leave_one_out(normal[:, :14]))
        charts = Charts.begin(ReferenceNights.of(normal[:, :14]))
        for night in range(60):
            statistics = charts.reference.statistic(normal[:, 14 + night])
            p_values = null.p_values(statistics)
            charts.accumulate(night_evidence(p_values, statistics, null.statistics[-1], nights), night)
            single = striking(p_values, 0.02, nights)
            at_risk += (charts.alarm_since < 0).sum()
            everybody = np.ones(machines, dtype=bool)
            raised += charts.judge(everybody, night, made.at(charts.age), single, 3).sum()
            charts.remember(normal[:, 14 + night])
    assert raised / at_risk == pytest.approx(0.002, rel=0.25)
