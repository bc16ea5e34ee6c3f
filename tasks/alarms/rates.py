"""The rates that each machine's levels keep: of the fleet, or of a pattern on machines."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from humwatch.tasks.alarms.levels import Rates
from humwatch.tasks.settings import AlarmSettings

NIGHTS_A_YEAR = 365.25


def fleet_rates(settings: AlarmSettings, n_machines: int) -> Rates:
    """Return the rates of a fleet of so many machines; attention is never rarer than alarms."""
    rate = settings.false_alarm_rate
    if settings.false_alarms_per_year is not None:
        rate = min(settings.false_alarms_per_year / (NIGHTS_A_YEAR * max(n_machines, 1)), 0.1)
    return Rates(rate, max(settings.attention_rate, rate))


def machine_rates(settings: AlarmSettings, names: Sequence[str]) -> list[Rates]:
    """Return the rates of each machine of a fleet by its name, `TYPE/ID` or `SITE/TYPE/ID`."""
    of_fleet = fleet_rates(settings, len(names))
    return [_of(settings, name, of_fleet) for name in names]


def _of(settings: AlarmSettings, name: str, of_fleet: Rates) -> Rates:
    for one in settings.machines:
        if fnmatchcase(name, one.match):
            rate = one.false_alarm_rate or of_fleet.false_alarm
            return Rates(rate, max(one.attention_rate or of_fleet.attention, rate))
    return of_fleet
