"""Evidence, alarms, hysteresis, onset, reference: on series whose answer is known."""

import numpy as np
import pytest

from humwatch.tasks.alarms.chart import ALLOWANCE, GUARD_NIGHTS, Charts
from humwatch.tasks.alarms.reference_nights import ReferenceNights

NOBODY = np.array([False])


def chart():
    return Charts.begin(ReferenceNights.of(np.array([[-1.0, 0.0, 1.0, 0.5, -0.5]])))


def run(charts, steps, alarm=5.0, attention=2.0, clear_nights=3, start=0):
    """Evidence, whether an alarm stands and whether it is new, night by night; a step is what a night adds to it."""
    rows = []
    for night, step in enumerate(steps, start=start):
        charts.accumulate(np.array([step + ALLOWANCE]), night)
        there = np.isfinite(np.array([step]))
        new = charts.judge(there, night, (np.array([alarm]), np.array([attention])), NOBODY, clear_nights)
        charts.remember(np.array([step]))
        rows.append((charts.evidence[0], bool(charts.alarm_since[0] >= 0), bool(new[0])))
    return rows


def test_evidence_of_a_step_grows_by_the_step_less_the_allowance():
    charts, evidence = chart(), []
    for night, said in enumerate([0.0, 0.0, 1.5, 1.5, 1.5]):
        charts.accumulate(np.array([said]), night)
        evidence.append(charts.evidence[0])
    assert evidence == [0.0, 0.0, *(nights * (1.5 - ALLOWANCE) for nights in (1, 2, 3))]


def test_an_alarm_is_raised_once_and_dated_to_the_night_after_the_last_zero():
    charts = chart()
    rows = run(charts, [-0.5, 1.5, -3.5, -0.5, 2.0, 2.0, 2.0, 2.0])
    assert [new for _, _, new in rows] == [False] * 6 + [True, False]
    assert charts.alarm_since[0] == 6
    assert charts.onset[0] == 4
    assert max(evidence for evidence, _, _ in rows) == 5.0  # it ends at the level


def test_an_alarm_is_cleared_only_after_calm_nights_in_a_row():
    charts = chart()
    rows = run(charts, [2.5, 3.0, -1.5, -1.5, -1.5, 1.0, -1.5, -1.5, -1.5, -1.5])
    # 5.0 | 3.5 2.0 (attention) 0.5 (calm) 1.5 (calm) 0 (calm): cleared on the seventh night
    assert [alarm for _, alarm, _ in rows] == [False, True, True, True, True, True, False, False, False, False]
    assert charts.onset[0] == -1


def test_evidence_between_the_levels_keeps_a_standing_alarm_and_raises_none():
    charts = chart()
    rows = run(charts, [2.5, 2.5, -1.5, 0.0, 0.0, 0.0, 0.0])  # 5, then 3.5 for good
    assert [alarm for _, alarm, _ in rows] == [False, True] + [True] * 5
    assert not any(alarm for _, alarm, _ in run(chart(), [2.5, 1.0, 0.0, 0.0, 0.0, 0.0]))


def test_a_night_without_a_score_changes_nothing():
    charts = chart()
    run(charts, [2.5, 2.5])
    before = (charts.evidence[0], charts.calm[0], charts.age[0], charts.alarm_since[0])
    run(charts, [np.nan] * 5, start=2)
    assert (charts.evidence[0], charts.calm[0], charts.age[0], charts.alarm_since[0]) == before


def test_quiet_nights_join_the_reference_after_the_guard_and_those_of_an_attention_never():
    charts = chart()
    run(charts, [-0.5] * GUARD_NIGHTS)
    assert charts.reference.count[0] == 5
    run(charts, [-0.5, -0.5], start=GUARD_NIGHTS)
    assert charts.reference.count[0] == 7
    run(charts, [2.1, 2.1, 2.1], start=GUARD_NIGHTS + 2)  # attention with the first: the queue is emptied
    run(charts, [-9.0] * GUARD_NIGHTS, start=GUARD_NIGHTS + 5)
    assert charts.reference.count[0] == 7


def test_a_striking_night_is_attention_by_itself():
    charts = chart()
    charts.accumulate(np.array([2.4]), 0)
    charts.judge(np.array([True]), 0, (np.array([9.0]), np.array([5.0])), np.array([True]), 3)
    assert charts.attention[0]
    assert charts.alarm_since[0] == -1


def test_without_levels_nothing_is_raised():
    rows = run(chart(), [8.0] * 5, alarm=np.nan, attention=np.nan)
    assert not any(alarm for _, alarm, _ in rows)
    assert rows[-1][0] == pytest.approx(5 * 8.0)
