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
MOST_BEYOND = 1.0  # standard deviations
_EXPECTED_MEAN, _EXPECTED_SD = 0.1, 0.15  # of the autocorrelation, before any night was heard


@dataclass(frozen=True)
class Autocorrelation:
    """What is known of how the nights of a machine follow each other (AR(1)): a normal distribution.

    Few nights say little of it. So the estimate is combined with what is expected before any night was heard, 0.1 with
    a standard deviation of 0.15, each weighing as much as it is precise: some hundred nights speak for themselves.
    """

    mean: float
    sd: float

    @classmethod
    def of(cls, tables: Sequence[Floats]) -> Autocorrelation:
        """Return it from tables of leave-one-out statistics (machine, night), nights in order; NaN is no night."""
        estimates = [_autocorrelation(table) for table in tables]
        precision = _EXPECTED_SD**-2 + sum(weight for _, weight in estimates)
        total = _EXPECTED_MEAN * _EXPECTED_SD**-2 + sum(mean * weight for mean, weight in estimates)
        return cls(total / precision, precision**-0.5)


@dataclass(frozen=True)
class Null:
    """Statistics of normal nights, float64 (N,), sorted; and how those of one machine follow each other."""

    statistics: Floats
    autocorrelation: Autocorrelation

    @classmethod
    def of(cls, *tables: Floats) -> Null:
        """Return the null of leave-one-out statistics (machine, night), nights in order; NaN is no night.

        Several tables, such as those of all types, make one null.
        """
        statistics = np.concatenate([table[np.isfinite(table)] for table in tables])
        return cls(np.sort(statistics), Autocorrelation.of(tables))

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


def night_evidence(p_values: Floats, statistics: Floats, largest: Floats | float, count: int) -> Floats:
    """Return what nights add to the evidence before the allowance, float64 (machine,).

    The normal score of the p-value; and how far the statistic lies above all `count` nights of the null, of which ranks
    know nothing: at most `MOST_BEYOND`, since how long the tail is there nobody has seen.

    Args:
        p_values: of the nights, NaN for none.
        statistics: of the nights.
        largest: statistic of the null that each was ranked among.
        count: nights of that null.
    """
    return np.asarray(normal_scores(p_values, count) + np.clip(statistics - largest, 0.0, MOST_BEYOND))


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


def _autocorrelation(statistics: Floats) -> tuple[float, float]:
    """Return the correlation of consecutive nights, pooled over machines, and its precision, 1 / variance; 0 for none.

    Corrected for the mean each machine's own nights were taken from: for n nights the expected value is about
    r - (1 + 4 r) / n (Kendall, "Note on bias in the estimation of autocorrelation", Biometrika 41, 1954).
    """
    first, second = statistics[:, :-1], statistics[:, 1:]
    both = np.isfinite(first) & np.isfinite(second)
    nights = np.isfinite(statistics).sum(axis=1)
    nights = float(np.mean(nights[nights > 1])) if (nights > 1).any() else 0.0
    variance = float(np.nanmean(statistics**2)) if nights else 0.0
    if nights <= 4 or not both.any() or variance == 0:
        return 0.0, 0.0
    raw, shrunk = float(np.mean(first[both] * second[both])) / variance, 1 - 4 / nights
    return (raw + 1 / nights) / shrunk, float(np.isfinite(statistics).sum()) * shrunk**2
