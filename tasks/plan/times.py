"""Dates and times in names, as people and recorders write them.

Dates: `2026-11-21`, `2026_11_21`, `20261121`, where letters do not touch the digits (`SMU20210423` is a serial number);
as folders also `21.11.2026`, and `21-11-2026` or `11-21-2026` where only one reading is a date.
Times: a date with `T`, `_`, `-` or a space before the clock, `02-00-00` or `020000`, and perhaps a zone (`Z`, `+0100`,
`-05:00`; after a `T` also `-0500`); `20261121020000`; `2026_11_21_02_00_00`. Of two times in a name, as some recorders
write start and end, the first counts if it is the earlier one.

A time without a zone is what a `Clock` shows: of a local time that there are two of (clocks set back in autumn) the
first is meant, and one that there is not (clocks set forward in spring) is taken as if they had not been set forward,
so that 02:30 is half an hour after 02:00. Both are what PEP 495 does, and what java.time does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

_DAY = r"(?P<year>(?:19|20)\d\d)(?P<dash>[-_]?)(?P<month>\d\d)(?P=dash)(?P<day>\d\d)"
_DATE = re.compile(rf"(?<![0-9A-Za-z]){_DAY}(?=$|[^0-9A-Za-z]|T\d)")
_TIME = re.compile(
    rf"(?<!\d){_DAY}(?P<between>[T_ -]?)(?P<hour>\d\d)(?P<colon>[-:_.]?)(?P<minute>\d\d)(?P=colon)(?P<second>\d\d)"
    r"(?:[.,]\d+)?(?P<zone>Z|[+]\d\d:?\d\d|-\d\d:\d\d|(?<=\d)-(?:0\d|1[0-2])(?:00|15|30|45)(?![\d:]))?(?!\d)"
)
_DAY_AND_YEAR = re.compile(r"(?P<first>\d{1,2})(?P<dash>[-_.])(?P<second>\d{1,2})(?P=dash)(?P<year>(?:19|20)\d\d)")
_SPREAD = re.compile(r"(?P<year>(?:19|20)\d\d)[-_/]?(?P<month>\d\d)[-_/]?(?P<day>\d\d)")


@dataclass(frozen=True)
class Clock:
    """What a time without a zone means, and when a night ends.

    Attributes:
        zone: of times that say none.
        day_begins: what is recorded before this local time of day belongs to the night of the day before.
    """

    zone: tzinfo = UTC
    day_begins: time = time(0)

    def in_utc(self, moment: datetime) -> datetime:
        """Return a point in time in UTC; without a zone it is local."""
        return (moment.replace(tzinfo=self.zone) if moment.tzinfo is None else moment).astimezone(UTC)

    def night_of(self, moment: datetime) -> str:
        """Return the night of a point in time (with a zone), such as `2026-11-21`."""
        local = moment.astimezone(self.zone).replace(tzinfo=None)
        return (local - timedelta(hours=self.day_begins.hour, minutes=self.day_begins.minute)).date().isoformat()

    def at(self, night: date, time_of_day: time) -> datetime:
        """Return the point in time, in UTC, at which a time of day (local if it has no zone) was in a night."""
        day = night + timedelta(days=time_of_day.replace(tzinfo=None) < self.day_begins)
        return self.in_utc(datetime.combine(day, time_of_day))


UTC_CLOCK = Clock()


def date_of(text: str) -> str | None:
    """Return the one calendar date in `text` as `2026-11-21`; None when there is none, or several."""
    whole = _DAY_AND_YEAR.fullmatch(text)
    if whole:
        return _day_and_year(whole)
    dates = {day.isoformat() for match in _DATE.finditer(text) if (day := _day(match))}
    return dates.pop() if len(dates) == 1 else None


def date_of_folders(folders: Sequence[str]) -> str | None:
    """Return the date that consecutive folders spell, such as `2026`, `11`, `21` or `2026-11`, `21`; else None."""
    match = _SPREAD.fullmatch("/".join(folders))
    day = _day(match) if match else None
    return day.isoformat() if day else None


def strip_dates(text: str) -> str:
    """Return `text` without its calendar dates."""
    if date_of(text) and _DAY_AND_YEAR.fullmatch(text):
        return ""
    return _DATE.sub(lambda match: "" if _day(match) else match[0], text)


def time_of(text: str, clock: Clock = UTC_CLOCK) -> datetime | None:
    """Return the one point in time in `text`, or the start of two, in UTC."""
    times = list(dict.fromkeys(moment for match in _TIME.finditer(text) if (moment := _moment(match, clock))))
    if len(times) == 1 or (len(times) == 2 and times[0] < times[1]):
        return times[0]
    return None


def text_before_time(text: str) -> str | None:
    """Return what stands before the time in `text`, without the separators between; None when there is no time."""
    match = _TIME.search(text) if time_of(text) else None
    return text[: match.start()].strip("_-. ") if match else None


def parse_time(text: str, clock: Clock = UTC_CLOCK) -> datetime:
    """Return an ISO 8601 time, or one as in file names, in UTC.

    Raises:
        ValueError: it is neither.
    """
    return time_of(text, clock) or clock.in_utc(datetime.fromisoformat(text))


def _day(match: re.Match[str]) -> date | None:
    try:
        return date(int(match["year"]), int(match["month"]), int(match["day"]))
    except ValueError:
        return None


def _day_and_year(match: re.Match[str]) -> str | None:
    """With dots the day comes first; else the order in which alone it is a date."""
    first, second, year = int(match["first"]), int(match["second"]), int(match["year"])
    orders = [(second, first)] if match["dash"] == "." else [(second, first), (first, second)]
    dates = set()
    for month, day in orders:
        try:
            dates.add(date(year, month, day).isoformat())
        except ValueError:
            continue
    return dates.pop() if len(dates) == 1 else None


def _moment(match: re.Match[str], clock: Clock) -> datetime | None:
    zone = match["zone"] or ""
    if re.fullmatch(r"-\d{4}", zone) and match["between"] != "T":
        zone = ""  # a number that follows
    digits = f"{match['year']}{match['month']}{match['day']}T{match['hour']}{match['minute']}{match['second']}"
    try:
        return clock.in_utc(datetime.fromisoformat(digits + zone.replace(":", "")))
    except ValueError:
        return None
