"""Which nights there have been, and how old the newest is by the clock."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from humwatch.tasks.plan.scope import is_dated
from humwatch.tasks.plan.times import Clock
from humwatch.tasks.settings import IngestSettings
from humwatch.tasks.words import counted

# Where a day begins first: a date that has not come there yet has come nowhere.
_FIRST_ZONE = timezone(timedelta(hours=14))


@dataclass(frozen=True)
class Arrival:
    """How old the newest night is.

    Attributes:
        tonight: The night by the clock.
        expected: The oldest that the newest night may be; None where none is expected.
        newest: The newest night with recordings; None without any.
    """

    tonight: str
    expected: str | None
    newest: str | None

    @property
    def is_overdue(self) -> bool:
        """Whether recordings of the night expected, and of every later one, are missing."""
        return self.expected is not None and (self.newest is None or self.newest < self.expected)

    @property
    def nights_old(self) -> int | None:
        """How many nights before tonight the newest was; None without any."""
        return None if self.newest is None else nights_between(self.newest, self.tonight)

    def as_json(self) -> dict[str, Any]:
        """Return JSON values: tonight, expected, newest, nights_old, overdue."""
        return {**asdict(self), "nights_old": self.nights_old, "overdue": self.is_overdue}

    @property
    def told(self) -> str:
        """How old the newest night is, in words."""
        if self.newest is None:
            return f"there is no night yet, and tonight is {self.tonight}"
        return f"the newest night is {self.newest}, {counted(self.nights_old or 0, 'night')} before {self.tonight}"


def clock_of(settings: IngestSettings) -> Clock:
    """Return what a time without a zone means, and when a night ends, by the settings."""
    return Clock(ZoneInfo(settings.time_zone), time.fromisoformat(settings.day_begins))


def of_nights(rows: pd.DataFrame, now: datetime) -> pd.DataFrame:
    """Return the rows (column batch) of nights that have been: dates of the calendar that are not to come.

    A date is to come when it has not begun anywhere on Earth: so no time zone makes a night of today one of tomorrow.

    Args:
        rows: of recordings.
        now: with a zone.
    """
    latest = now.astimezone(_FIRST_ZONE).date().isoformat()
    return rows[is_dated(rows["batch"]) & (rows["batch"] <= latest)]


def arrival_of(newest: str | None, settings: IngestSettings, now: datetime) -> Arrival:
    """Return how old the newest night is by the clock of the settings."""
    tonight, within = clock_of(settings).night_of(now), settings.expect_within_nights
    expected = None if within is None else (date.fromisoformat(tonight) - timedelta(days=within)).isoformat()
    return Arrival(tonight, expected, newest)


def nights_between(earlier: str, later: str) -> int:
    """Return how many nights lie between two, negative where `later` is the earlier one."""
    return (date.fromisoformat(later) - date.fromisoformat(earlier)).days
