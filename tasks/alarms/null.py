"""What the statistics of normal nights look like: the tail, checked by the fleet instead of believed.

Student's t is exact for normal night scores only. So a statistic is not read off the normal distribution but ranked
among the leave-one-night-out statistics of the commissioning nights of all machines: p = (1 + number at least as large)
/ (N + 1), the conformal p-value (Vovk, Gammerman & Shafer, *Algorithmic Learning in a Random World*, 2005). N nights of
a whole fleet support rates that those of one machine cannot. It rests on machines whose night scores have one shape,
apart from mean and spread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from humwatch.tasks.alarms.reference_nights import Bools, Floats

MIN_FLEET = 10  # the median of fewer machines is noise of its own


@dataclass(frozen=True)
class Null:
    """Statistics of normal nights, float64 (N,), sorted; and how those of one machine follow each other."""

    statistics: Floats
    autocorrelation: float

    @classmethod
    def of(cls, statistics: Floats) -> Null:
        """Return the null of leave-one-out statistics (machine, night), nights in order; NaN is no night."""
        finite = statistics[np.isfinite(statistics)]
        return cls(np.sort(finite), _autocorrelation(statistics))

    @classmethod
    def of_all(cls, tables: Sequence[Floats]) -> Null:
        """Return one null of several tables, such as those of all types."""
        nulls = [cls.of(table) for table in tables]
        weights = [max(len(null.statistics), 1) for null in nulls]
        statistics = np.sort(np.concatenate([null.statistics for null in nulls]))
        return cls(statistics, float(np.average([null.autocorrelation for null in nulls], weights=weights)))

    def supports(self, rate: float) -> bool:
        """Whether a p-value can be as small as `rate`."""
        return rate * (len(self.statistics) + 1) >= 1

    def p_values(self, statistics: Floats) -> Floats:
        """Return float64 (machine,), from 1 / (N + 1) to 1; NaN where the statistic is."""
        order = np.argsort(statistics)  # looked up in order they are found ten times as fast
        at_least = np.empty(len(statistics), dtype=np.int64)
        at_least[order] = len(self.statistics) - np.searchsorted(self.statistics, statistics[order], side="left")
        return np.where(np.isnan(statistics), np.nan, (1 + at_least) / (len(self.statistics) + 1))


def normal_scores(p_values: Floats, count: int) -> Floats:
    """Return standard normal scores of conformal p-values among `count`: large is abnormal, never infinite."""
    return -ndtri(np.minimum(p_values, 1 - 1 / (count + 1)))


def fleet_effect(statistics: Floats, in_alarm: Bools | None = None) -> float:
    """Return what a night did to all machines, the median of their statistics; 0 when they are too few to say.

    Machines in alarm do not count, unless fewer than half of MIN_FLEET others are left: what a night did to a fleet is
    not gone because one of its machines is in alarm.
    """
    finite = np.isfinite(statistics)
    if finite.sum() < MIN_FLEET:
        return 0.0
    others = finite if in_alarm is None else finite & ~in_alarm
    return float(np.median(statistics[others if 2 * others.sum() >= MIN_FLEET else finite]))


def _autocorrelation(statistics: Floats) -> float:
    """Return the correlation of consecutive nights, at least 0, pooled over machines.

    Corrected for the mean each machine's own nights were taken from: for n nights the expected value is about
    r - (1 + 4 r) / n (Kendall, "Note on bias in the estimation of autocorrelation", Biometrika 41, 1954).
    """
    if statistics.shape[1] < 2:
        return 0.0
    first, second = statistics[:, :-1], statistics[:, 1:]
    both = np.isfinite(first) & np.isfinite(second)
    nights = np.isfinite(statistics).sum(axis=1)
    nights = float(np.mean(nights[nights > 1])) if (nights > 1).any() else 0.0
    variance = float(np.nanmean(statistics**2)) if nights else 0.0
    if nights <= 4 or not both.any() or variance == 0:
        return 0.0
    raw = float(np.mean(first[both] * second[both])) / variance
    return float(np.clip((raw + 1 / nights) / (1 - 4 / nights), 0.0, 0.95))
