"""Which night it is by the clock, and when the newest night is too old."""

from datetime import UTC, datetime

import pandas as pd
import pytest

from humwatch.tasks.plan.tonight import arrival_of, of_nights
from humwatch.tasks.settings import IngestSettings

TWO_IN_BERLIN = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("settings", "tonight", "expected"),
    [
        ({}, "2026-11-21", "2026-11-20"),
        ({"time_zone": "Europe/Berlin"}, "2026-11-21", "2026-11-20"),
        ({"time_zone": "America/New_York"}, "2026-11-20", "2026-11-19"),
        ({"time_zone": "Europe/Berlin", "day_begins": "06:00"}, "2026-11-20", "2026-11-19"),
        ({"expect_within_nights": 0}, "2026-11-21", "2026-11-21"),
        ({"expect_within_nights": 3}, "2026-11-21", "2026-11-18"),
        ({"expect_within_nights": None}, "2026-11-21", None),
    ],
)
def test_tonight_is_the_plants(settings, tonight, expected):
    arrival = arrival_of("2026-11-20", IngestSettings(**settings), TWO_IN_BERLIN)
    assert (arrival.tonight, arrival.expected) == (tonight, expected)


@pytest.mark.parametrize(
    ("newest", "overdue", "nights_old", "told"),
    [
        ("2026-11-21", False, 0, "the newest night is 2026-11-21, 0 nights before 2026-11-21"),
        ("2026-11-20", False, 1, "the newest night is 2026-11-20, 1 night before 2026-11-21"),
        ("2026-11-19", True, 2, "the newest night is 2026-11-19, 2 nights before 2026-11-21"),
        (None, True, None, "there is no night yet, and tonight is 2026-11-21"),
    ],
)
def test_a_newest_night_that_is_older_than_expected_is_overdue(newest, overdue, nights_old, told):
    arrival = arrival_of(newest, IngestSettings(), TWO_IN_BERLIN)
    assert (arrival.is_overdue, arrival.nights_old, arrival.told) == (overdue, nights_old, told)
    assert arrival.as_json() == {
        "tonight": "2026-11-21", "expected": "2026-11-20", "newest": newest, "nights_old": nights_old,
        "overdue": overdue,
    }  # fmt: skip


def test_nothing_is_overdue_where_nothing_is_expected():
    assert not arrival_of("2020-01-01", IngestSettings(expect_within_nights=None), TWO_IN_BERLIN).is_overdue


def test_nights_are_dates_of_the_calendar_that_have_begun_somewhere():
    batches = [
        "2026-11-21",
        "2026-11-22",
        "2026-02-29",
        "2024-02-29",
        "2026-13-01",
        "20261121",
        "all",
        "-6_dB",
        "2099-01-01",
    ]
    rows = pd.DataFrame({"batch": batches})
    assert list(of_nights(rows, TWO_IN_BERLIN)["batch"]) == ["2026-11-21", "2024-02-29"]
    assert list(of_nights(rows, TWO_IN_BERLIN.replace(hour=10))["batch"]) == ["2026-11-21", "2026-11-22", "2024-02-29"]
    assert of_nights(rows[:0], TWO_IN_BERLIN).empty
