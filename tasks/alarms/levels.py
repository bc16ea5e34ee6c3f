"""The levels of evidence that keep a stated rate, found by watching simulated normal machines.

Evidence grows with a machine's age and with luck in its reference nights, so no one level keeps one rate (for charts
with estimated parameters: Jones, Champ & Rigdon, "The run length distribution of the CUSUM with estimated parameters",
Technometrics 46, 2004). So the level is a function of age: on each night, that which a share `false_alarm_rate` of the
simulated machines without an alarm exceeds (dynamic probability control limits; Shen, Zou, Jiang & Tsui,
"Monitoring Poisson count data with probability control limits when sample sizes are time varying", Naval Research
Logistics 60, 2013). The machines go through the very code of the real ones: as many reference nights, the same guard,
the same ranks. Their night scores are normal; ranks among the fleet's own nights make those of real machines so. They
follow each other with the autocorrelation of the fleet's nights (AR(1); without that a CUSUM cries wolf: Johnson &
Bagshaw, "The effect of serial correlation on the performance of CUSUM tests", Technometrics 16, 1974).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from humwatch.tasks.alarms.chart import Bools, Charts, Ints
from humwatch.tasks.alarms.null import Null, normal_scores
from humwatch.tasks.alarms.reference_nights import Floats, ReferenceNights, leave_one_out
from humwatch.tasks.settings import AlarmSettings

HORIZON_NIGHTS = 100
"""Age from which the levels stay as they are."""
_SETTLED_NIGHTS = 20
_EXCEEDING = 16  # simulated machines above the level of a night: its rate is known to a quarter
_FEWEST = 4_000
MIN_REFERENCE_NIGHTS = 5
# Counts of reference nights for which levels are made; fewer nights need higher levels, so others are rounded down.
_COUNTS = (5, 6, 7, 8, 10, 12, 14, 17, 21, 28, 40, 60)
_SEED = 20_250_101


@dataclass(frozen=True)
class Levels:
    """Levels by age: float64 (HORIZON_NIGHTS,), element i for the night of age i + 1."""

    alarm: Floats
    attention: Floats

    def at(self, age: Ints) -> tuple[Floats, Floats]:
        """Return alarm and attention level for each age, 1 and more."""
        index = np.clip(age, 1, HORIZON_NIGHTS) - 1
        return self.alarm[index], self.attention[index]


def levels(reference_nights: int, autocorrelation: float, settings: AlarmSettings) -> Levels:
    """Return the levels for machines that began with so many reference nights, at least MIN_REFERENCE_NIGHTS."""
    count = max(each for each in _COUNTS if each <= max(reference_nights, MIN_REFERENCE_NIGHTS))
    return _simulated(count, round(20 * autocorrelation) / 20, settings)


@functools.lru_cache(maxsize=256)
def _simulated(count: int, autocorrelation: float, settings: AlarmSettings) -> Levels:
    generator = np.random.default_rng(_SEED)
    size = max(_FEWEST, round(_EXCEEDING / settings.false_alarm_rate))
    step = np.sqrt(1 - autocorrelation**2)
    last = generator.normal(size=size)

    def one_night() -> Floats:
        nonlocal last
        last = np.asarray(autocorrelation * last + step * generator.normal(size=size))
        return last

    commissioning = np.stack([one_night() for _ in range(count)], axis=1)
    null = Null.of(leave_one_out(commissioning))
    charts = Charts.begin(ReferenceNights.of(commissioning))
    levels = Levels(np.empty(HORIZON_NIGHTS), np.empty(HORIZON_NIGHTS))
    for night in range(HORIZON_NIGHTS):
        scores = one_night()
        p_values = null.p_values(charts.reference.statistic(scores))
        charts.accumulate(normal_scores(p_values, len(null.statistics)), night)
        quiet = np.sort(charts.evidence[charts.alarm_since < 0])
        levels.alarm[night] = _exceeded_by(quiet, settings.false_alarm_rate)
        levels.attention[night] = _exceeded_by(quiet, settings.attention_rate / 2)
        of_tonight = (np.full(size, levels.alarm[night]), np.full(size, levels.attention[night]))
        single = striking(p_values, settings.attention_rate)
        charts.judge(np.ones(size, dtype=bool), night, of_tonight, single, settings.clear_nights)
        charts.remember(scores)
    for each in (levels.alarm, levels.attention):
        each[-_SETTLED_NIGHTS:] = each[-_SETTLED_NIGHTS:].mean()
    return levels


def striking(p_values: Floats, attention_rate: float) -> Bools:
    """Return which nights deserve attention by themselves: half of the attention that normal machines get is theirs."""
    return np.nan_to_num(p_values, nan=1.0) <= attention_rate / 2


def _exceeded_by(ordered: Floats, rate: float) -> float:
    """Return the value that a share `rate` of these reach."""
    return float(ordered[len(ordered) - max(1, round(rate * len(ordered)))])
