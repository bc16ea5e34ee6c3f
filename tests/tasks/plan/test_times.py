"""Clocks: what a time without a zone means, on the days when clocks are set, and which night it belongs to."""

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest

from humwatch.flows.presets import load
from humwatch.storage.errors import BadConfiguration
from humwatch.tasks.ingest.name_rules import NameRules
from humwatch.tasks.ingest.names import read_name
from humwatch.tasks.plan.times import UTC_CLOCK, Clock, parse_time, text_before_time, time_of
from humwatch.tasks.settings import IngestSettings

OSLO = Clock(ZoneInfo("Europe/Oslo"))
SHIFT = Clock(ZoneInfo("Europe/Oslo"), time(6))


def at(*numbers):
    return datetime(*numbers, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("20261121_020000", at(2026, 11, 21, 1)),
        ("20260721_020000", at(2026, 7, 21, 0)),  # summer time
        ("20261121T020000Z", at(2026, 11, 21, 2)),  # a zone is a zone
        ("20261121T020000-0500", at(2026, 11, 21, 7)),
        # 2026-10-25: 03:00 is 02:00 again. Of two the first is meant.
        ("20261025_015959", at(2026, 10, 24, 23, 59, 59)),
        ("20261025_023000", at(2026, 10, 25, 0, 30)),
        ("20261025_030000", at(2026, 10, 25, 2)),
        # 2026-03-29: 02:00 is 03:00. 02:30 is 03:30.
        ("20260329_015959", at(2026, 3, 29, 0, 59, 59)),
        ("20260329_023000", at(2026, 3, 29, 1, 30)),
        ("20260329_033000", at(2026, 3, 29, 1, 30)),
    ],
)
def test_a_time_without_a_zone_is_local(text, utc):
    assert time_of(text, OSLO) == utc
    assert parse_time(f"{text[:4]}-{text[4:6]}-{text[6:11].replace('_', 'T')}{text[11:]}", OSLO) == utc


def test_half_hour_zones():
    assert time_of("20261121_020000", Clock(ZoneInfo("Asia/Kolkata"))) == at(2026, 11, 20, 20, 30)


@pytest.mark.parametrize(
    ("clock", "moment", "night"),
    [
        (UTC_CLOCK, at(2026, 11, 21, 23, 59, 59), "2026-11-21"),
        (OSLO, at(2026, 11, 21, 23), "2026-11-22"),
        (SHIFT, at(2026, 11, 22, 4, 59, 59), "2026-11-21"),
        (SHIFT, at(2026, 11, 22, 5), "2026-11-22"),
        # The morning begins at six by the clock on the days when clocks are set, too.
        (SHIFT, at(2026, 10, 25, 4, 59), "2026-10-24"),
        (SHIFT, at(2026, 10, 25, 5), "2026-10-25"),
        (SHIFT, at(2026, 3, 29, 3, 59), "2026-03-28"),
        (SHIFT, at(2026, 3, 29, 4), "2026-03-29"),
        (SHIFT, at(2027, 1, 1, 0), "2026-12-31"),
    ],
)
def test_the_night_of_a_time(clock, moment, night):
    assert clock.night_of(moment) == night


def test_a_time_of_day_in_a_night_is_after_the_day_has_begun():
    assert SHIFT.at(date(2026, 11, 21), time(6)) == at(2026, 11, 21, 5)
    assert SHIFT.at(date(2026, 11, 21), time(5, 59)) == at(2026, 11, 22, 4, 59)
    assert UTC_CLOCK.at(date(2026, 11, 21), time(0)) == at(2026, 11, 21)


def test_the_clock_of_the_settings_is_that_of_names_manifests_and_layouts():
    settings = IngestSettings(time_zone="Europe/Oslo", day_begins="06:00")
    rules = NameRules.of(settings)
    named = read_name("sound/pump/3/20261122_030000.wav", rules)
    assert (named.recorded_at, named.batch) == (at(2026, 11, 22, 2), "2026-11-21")
    # A folder's date wins.
    dated = read_name("sound/2026-11-22/pump/3/20261122_030000.wav", rules)
    assert (dated.recorded_at, dated.batch) == (at(2026, 11, 22, 2), "2026-11-22")
    layout = ("{machine_id}/{batch:%Y-%m-%d}/{recorded_at:%H%M}.wav",)
    laid_out = read_name("3/2026-11-21/0300.wav", NameRules.of(settings.model_copy(update={"layout": layout})))
    assert (laid_out.recorded_at, laid_out.batch) == (at(2026, 11, 22, 2), "2026-11-21")


@pytest.mark.parametrize(
    "setting",
    [
        "time_zone=Oslo", "time_zone=../UTC", "time_zone=", "time_zone=CEST+1",
        "day_begins=6", "day_begins=24:00", "day_begins=06:00Z", "day_begins=6:00",
    ],
)  # fmt: skip
def test_what_is_no_zone_and_no_time_of_day_is_refused(setting):
    with pytest.raises(BadConfiguration, match=setting.partition("=")[0]):
        load(assignments=[f"ingest.{setting}"])


@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("pump_03_2026-11-01T01-00-00", "pump_03"),
        ("20261101_010000", ""),
        ("pump_03_20261101", None),
    ],
)
def test_what_stands_before_a_time(text, before):
    assert text_before_time(text) == before
