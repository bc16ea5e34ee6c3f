"""Why nothing was scored: with the numbers of the machine that is furthest, and what to type."""

from datetime import date

import pandas as pd
import pytest

from humwatch.tasks.plan.next_step import next_step
from humwatch.tasks.settings import FitSettings

NIGHTLY = FitSettings(training="assumed_normal")


def rows(n, **facts):
    given = {"site": None, "machine_type": "press", "machine_id": "7", "condition": None, "batch": "all", "label": None,
             "status": "accepted", "reason": None}  # fmt: skip
    return pd.DataFrame([given | facts] * n)


def nights(machine_id, n, recordings_each, **facts):
    return pd.concat(
        rows(recordings_each, machine_id=machine_id, batch=f"2026-11-{night:02d}", **facts) for night in range(1, n + 1)
    )


def test_a_lake_without_recordings_has_no_next_step():
    assert next_step(rows(0), FitSettings()) is None


@pytest.mark.parametrize(
    ("recordings", "fit", "code", "message", "advice"),
    [
        (rows(20), FitSettings(), "no_labels", "20 recordings, none labelled",
         "with dates in their names humwatch nightly needs no labels"),
        (nights("7", 5, 4), FitSettings(), "no_labels", "20 recordings, none labelled",
         "each machine's first nights, of which 5 are there: humwatch nightly"),
        (nights("7", 1, 4), FitSettings(), "no_labels", "4 recordings, none labelled",
         "each machine's first nights, of which 1 is there: humwatch nightly"),
        (rows(3, label="abnormal"), FitSettings(), "no_normal", "3 recordings, none labelled normal", "add normal"),
        (rows(3, label="normal"), FitSettings(), "no_models", "there are recordings to learn from", "humwatch fit"),
        (rows(20), NIGHTLY, "no_night", "20 recordings, none dated", "recorded_at"),
        (nights("7", 5, 2), NIGHTLY, "commissioning",
         "the only machine, press 7, has 5 of 14 nights and 10 of 20 recordings",
         "--set fit.commissioning_nights=5 --set fit.min_training_recordings=10"),
        (pd.concat([nights("7", 5, 2), nights("8", 14, 1), nights("9", 2, 9)]), NIGHTLY, "commissioning",
         "the furthest of 3 machines, press 8, has 14 of 14 nights and 14 of 20 recordings",
         "fewer: --set fit.min_training_recordings=14 ("),
        (nights("7", 20, 2), NIGHTLY, "no_models", "there are recordings to learn from", "humwatch nightly"),
        (pd.concat([nights("7", 14, 2), nights("7", 14, 1, label="abnormal")]).iloc[:30], NIGHTLY, "no_models",
         "there are recordings to learn from", "humwatch nightly"),
        (nights("7", 5, 2),
         FitSettings(training="assumed_normal", commissioning_until=date(2026, 12, 1)), "commissioning",
         "from its first night to 2026-12-01, or that is not over: the lake holds nights from 2026-11-01 to 2026-11-05",
         "fit.commissioning_until"),
        (pd.concat([rows(9, status="rejected", reason="wrong_length"), rows(3, status="rejected", reason="silent")]),
         FitSettings(), "all_rejected", "all 12 recordings were rejected: 9 wrong_length (its duration",
         "docs/tables.md"),
        (rows(4, status="pending"), FitSettings(), "not_decoded", "4 recordings are not decoded yet", "spectrograms"),
    ],
)  # fmt: skip
def test_the_reason_comes_with_numbers_and_what_to_type(recordings, fit, code, message, advice):
    found = next_step(recordings.reset_index(drop=True), fit)
    assert found.code == code
    assert message in found.message
    assert advice in found.advice
