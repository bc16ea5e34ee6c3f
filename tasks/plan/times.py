"""Dates and times in names: `2026-11-21`, `20261121`, `20261121T020000Z`, `2026-11-21_02-00-00`."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

_DAY = r"(?P<year>(?:19|20)\d\d)(?P<dash>-?)(?P<month>\d\d)(?P=dash)(?P<day>\d\d)"
_DATE = re.compile(rf"(?<!\d){_DAY}(?!\d)")
_TIME = re.compile(
    rf"(?<!\d){_DAY}[T_ -](?P<hour>\d\d)(?P<colon>[-:_.]?)(?P<minute>\d\d)(?P=colon)(?P<second>\d\d)"
    r"(?:[.,]\d+)?(?P<zone>Z|[+]\d\d:?\d\d|-\d\d:\d\d)?(?!\d)"
)


def date_of(text: str) -> str | None:
    """Return the one calendar date in `text` as `2026-11-21`; None when there is none, or several."""
    dates = {day.isoformat() for match in _DATE.finditer(text) if (day := _day(match))}
    return dates.pop() if len(dates) == 1 else None


def strip_dates(text: str) -> str:
    """Return `text` without its calendar dates."""
    return _DATE.sub(lambda match: "" if _day(match) else match[0], text)


def time_of(text: str) -> datetime | None:
    """Return the one point in time in `text`, in UTC (also assumed where no zone is given); else None."""
    times = {time for match in _TIME.finditer(text) if (time := _moment(match))}
    return times.pop() if len(times) == 1 else None


def parse_time(text: str) -> datetime:
    """Return an ISO 8601 time, or one as in file names, in UTC (also assumed where no zone is given).

    Raises:
        ValueError: it is neither.
    """
    return time_of(text) or _in_utc(datetime.fromisoformat(text))


def _day(match: re.Match[str]) -> date | None:
    try:
        return date(int(match["year"]), int(match["month"]), int(match["day"]))
    except ValueError:
        return None


def _moment(match: re.Match[str]) -> datetime | None:
    clock = f"{match['year']}{match['month']}{match['day']}T{match['hour']}{match['minute']}{match['second']}"
    try:
        return _in_utc(datetime.fromisoformat(clock + (match["zone"] or "").replace(":", "")))
    except ValueError:
        return None


def _in_utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
