"""The levels of the machines of a fleet on one night."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from humwatch.tasks.alarms.chart import Ints
from humwatch.tasks.alarms.levels import Levels, Rates, striking
from humwatch.tasks.alarms.reference_nights import Bools, Floats


@dataclass
class FleetLevels:
    """Each array is (machine,), float64, NaN for a machine without a statistic.

    Attributes:
        alarm, attention: levels of evidence, NaN also where none keeps the rate at the machine's age.
        rate, attention_rate: stated.
        rate_low, rate_high, nights_to_alarm: see `Levels`; NaN where no number of nights raises an alarm.
        null_nights: int64, nights among which its p-values are ranks.
        levels: of all ages, by machine.
    """

    alarm: Floats
    attention: Floats
    rate: Floats
    attention_rate: Floats
    rate_low: Floats
    rate_high: Floats
    nights_to_alarm: Floats
    null_nights: Ints
    levels: dict[int, Levels]

    @classmethod
    def of_nobody(cls, size: int) -> FleetLevels:
        """Return the levels of machines of which none has a statistic."""
        alarm, attention, rate, attention_rate, low, high, nights = np.full((7, size), np.nan)
        return cls(alarm, attention, rate, attention_rate, low, high, nights, np.zeros(size, dtype=np.int64), {})

    def add(self, machines: Sequence[int], made: Levels, rates: Rates, null_nights: int, age: Ints) -> None:
        """Set those of some machines, by their index; `age` is of all machines."""
        of_these = age[machines]
        for mine, level in zip((self.alarm, self.attention), made.at(of_these), strict=True):
            mine[machines] = np.where(np.isfinite(level), level, np.nan)
        self.rate[machines], self.attention_rate[machines] = rates.false_alarm, rates.attention
        self.rate_low[machines], self.rate_high[machines] = made.rate_low, made.rate_high
        nights = {each: made.nights_to_alarm(each) or np.nan for each in set(of_these.tolist())}
        self.nights_to_alarm[machines] = [nights[each] for each in of_these.tolist()]
        self.null_nights[machines] = null_nights
        self.levels |= dict.fromkeys(machines, made)

    def striking(self, p_values: Floats) -> Bools:
        """Return which machines deserve attention by this night alone: see `levels.striking`."""
        return striking(p_values, self.attention_rate, self.null_nights)
