"""The levels of evidence that keep a stated rate, found by watching simulated fleets of normal machines.

Evidence grows with a machine's age and with luck in its reference nights, so no one level keeps one rate (for charts
with estimated parameters: Jones, Champ & Rigdon, "The run length distribution of the CUSUM with estimated parameters",
Technometrics 46, 2004). So the level is a function of age: on each night, that which a share `false_alarm_rate` of
the simulated machines without an alarm reaches (dynamic probability control limits; Shen, Zou, Jiang & Tsui,
"Monitoring Poisson count data with probability control limits when sample sizes are time varying", Naval Research
Logistics 60, 2013). The machines go through the very code of the real ones: as many reference nights, the same guard,
and ranks among as many commissioning nights, drawn anew for each simulated fleet. So p-values are as coarse as the real
ones, and the luck of that draw is in the rate. A rate far below the smallest p-value is kept all the same: by several
such nights in a row. Coarse p-values make evidence that many machines share to the digit; where no level splits such a
group, what is left of the rate is carried on to later nights.

The night scores of simulated machines are normal; ranks among the fleet's own nights make those of real machines so.
They follow each other as the fleet's nights may do (AR(1); without that a CUSUM cries wolf: Johnson & Bagshaw, "The
effect of serial correlation on the performance of CUSUM tests", Technometrics 16, 1974): the autocorrelation of each
simulated fleet is drawn from what is known of it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import gamma

from humwatch.tasks.alarms.chart import ALLOWANCE, Charts, Ints
from humwatch.tasks.alarms.null import Autocorrelation, night_evidence
from humwatch.tasks.alarms.reference_nights import Bools, Floats, ReferenceNights, leave_one_out

HORIZON_NIGHTS = 100
"""Age from which the levels stay as they are."""
MIN_REFERENCE_NIGHTS = 5
_SETTLED_NIGHTS = 20
_EXCEEDING = 16  # simulated machines above the level of a night: its rate is known to a quarter
_FEWEST, _MOST = 4_000, 400_000
# Counts of reference nights for which levels are made; fewer nights need higher levels, so others are rounded down.
_COUNTS = (5, 6, 7, 8, 10, 12, 14, 17, 21, 28, 40, 60)
_FINE_NIGHTS = 60  # so few nights of a null are simulated exactly, more to a twentieth
_MOST_NULL_NIGHTS = 20_000
_MOST_AR = 0.95
_APART = 64.0  # statistics lie between -9 and 38
_SEED = 20_250_101


@dataclass(frozen=True)
class Rates:
    """Expected shares of the machine-nights of normal machines without an alarm.

    Attributes:
        false_alarm: on which an alarm is raised.
        attention: that are in attention.
    """

    false_alarm: float
    attention: float


@dataclass(frozen=True)
class Levels:
    """Levels by age: float64 (HORIZON_NIGHTS,), element i for the night of age i + 1; inf where none keeps the rate.

    Attributes:
        alarm, attention: of evidence.
        largest_step: most that one night adds to the evidence.
        rate_low, rate_high: nine fleets in ten have a rate of false alarms between these; others had more or less luck
            with their commissioning nights.
    """

    alarm: Floats
    attention: Floats
    largest_step: float
    rate_low: float
    rate_high: float

    def at(self, age: Ints) -> tuple[Floats, Floats]:
        """Return alarm and attention level for each age, 1 and more."""
        index = np.clip(age, 1, HORIZON_NIGHTS) - 1
        return self.alarm[index], self.attention[index]

    @property
    def first_age(self) -> int | None:
        """The first age at which an alarm can be raised, None for none."""
        finite = np.isfinite(self.alarm)
        return int(np.argmax(finite)) + 1 if finite.any() else None

    def nights_to_alarm(self, age: int) -> int | None:
        """Return how many nights of the largest evidence in a row, the first at this age, raise an alarm.

        None where no number does.
        """
        if self.largest_step <= 0:
            return None
        nights = np.arange(1, HORIZON_NIGHTS + 1)
        reached = nights * self.largest_step >= self.at(age + nights - 1)[0] - 1e-9
        return int(np.argmax(reached)) + 1 if reached.any() else None


def levels(
    reference_nights: int, null_nights: int, autocorrelation: Autocorrelation, rates: Rates, clear_nights: int
) -> Levels:
    """Return the levels of a fleet.

    Args:
        reference_nights: with which its machines began, at least MIN_REFERENCE_NIGHTS.
        null_nights: commissioning nights of all machines among which a night is ranked.
        autocorrelation: of nights of one machine that follow each other.
        rates: to keep.
        clear_nights: see `humwatch.tasks.settings.AlarmSettings`.
    """
    count = max(each for each in _COUNTS if each <= max(reference_nights, MIN_REFERENCE_NIGHTS))
    known = Autocorrelation(_fortieth(autocorrelation.mean), _fortieth(autocorrelation.sd))
    return _simulated(count, _rounded(null_nights), known, rates, clear_nights)


def striking(p_values: Floats, attention_rate: Floats | float, null_nights: Ints | int) -> Bools:
    """Return which nights deserve attention by themselves: half of the attention that normal machines get is theirs.

    None do where no p-value is that small; all attention is by evidence there.
    """
    return np.nan_to_num(p_values, nan=1.0) <= _single_rate(attention_rate, null_nights)


def _single_rate(attention_rate: Floats | float, null_nights: Ints | int) -> Floats:
    """Return the largest p-value of a night that deserves attention by itself, 0 for none."""
    half = np.asarray(attention_rate) / 2
    return np.where(half * (np.asarray(null_nights) + 1) >= 1, half, 0.0)


@functools.lru_cache(maxsize=256)
def _simulated(
    count: int, null_nights: int, autocorrelation: Autocorrelation, rates: Rates, clear_nights: int
) -> Levels:
    generator = np.random.default_rng(_SEED)
    per_fleet = math.ceil(null_nights / count)
    wanted = min(max(_FEWEST, round(_EXCEEDING / rates.false_alarm)), _MOST)
    n_fleets = max(4, math.ceil(wanted / per_fleet))
    size = n_fleets * per_fleet
    of_fleets = np.clip(generator.normal(autocorrelation.mean, autocorrelation.sd, n_fleets), -_MOST_AR, _MOST_AR)
    follows = np.repeat(of_fleets, per_fleet)
    step = np.sqrt(1 - follows**2)
    last = generator.normal(size=size)

    def one_night() -> Floats:
        nonlocal last
        last = np.asarray(follows * last + step * generator.normal(size=size))
        return last

    commissioning = np.stack([one_night() for _ in range(count)], axis=1)
    ranked = _RankedByFleet(leave_one_out(commissioning).reshape(n_fleets, -1)[:, :null_nights], per_fleet)
    charts = Charts.begin(ReferenceNights.of(commissioning))
    alarm, attention = np.empty(HORIZON_NIGHTS), np.empty(HORIZON_NIGHTS)
    by_evidence = rates.attention - float(_single_rate(rates.attention, null_nights))
    raised = np.zeros((2, n_fleets))
    alarms_left = attentions_left = 0.0
    for night in range(HORIZON_NIGHTS):
        scores = one_night()
        statistics = charts.reference.statistic(scores)
        p_values = ranked.p_values(statistics)
        charts.accumulate(night_evidence(p_values, statistics, ranked.largest, null_nights), night)
        quiet = np.sort(charts.evidence[charts.alarm_since < 0])
        alarm[night], alarms_left = _reached_by(quiet, rates.false_alarm * len(quiet) + alarms_left)
        attention[night], attentions_left = _reached_by(quiet, by_evidence * len(quiet) + attentions_left)
        of_tonight = (np.full(size, alarm[night]), np.full(size, attention[night]))
        single = striking(p_values, rates.attention, null_nights)
        new = charts.judge(np.ones(size, dtype=bool), night, of_tonight, single, clear_nights)
        raised[2 * night // HORIZON_NIGHTS] += new.reshape(n_fleets, per_fleet).sum(axis=1)
        charts.remember(scores)
    for each in (alarm, attention):
        each[-_SETTLED_NIGHTS:] = each[-_SETTLED_NIGHTS:].mean()
    smallest_p, beyond_all = np.array([1 / (null_nights + 1)]), np.array([math.inf])
    largest_step = float(night_evidence(smallest_p, beyond_all, 0.0, null_nights)[0]) - ALLOWANCE
    return Levels(alarm, attention, largest_step, *_interval(raised, rates.false_alarm))


class _RankedByFleet:
    """Statistics of normal nights of many fleets, (fleet, night), to rank statistics of the same fleets' machines.

    Attributes:
        largest: float64 (machine,): of its fleet.
    """

    def __init__(self, statistics: Floats, per_fleet: int) -> None:
        self._nights = statistics.shape[1]
        self._fleet = np.repeat(np.arange(len(statistics)), per_fleet)
        self.largest: Floats = statistics.max(axis=1)[self._fleet]
        # one sorted array for all: each fleet's lie above those of the fleet before
        self._sorted = np.sort(statistics + _APART * np.arange(len(statistics))[:, None], axis=None)

    def p_values(self, statistics: Floats) -> Floats:
        """Return conformal p-values, float64 (machine,), each among the nights of its fleet."""
        below = np.searchsorted(self._sorted, statistics + _APART * self._fleet) - self._nights * self._fleet
        return np.asarray((1 + self._nights - below) / (self._nights + 1))


def _reached_by(ordered: Floats, most: float) -> tuple[float, float]:
    """Return the smallest of these values that at most so many of them reach, and how many that leaves.

    inf if the largest is that of more.
    """
    first = max(len(ordered) - math.floor(most), 0)
    if 0 < first < len(ordered) and ordered[first - 1] == ordered[first]:
        first = int(np.searchsorted(ordered, ordered[first], side="right"))
    if first == len(ordered):
        return math.inf, most
    return float(ordered[first]), most - (len(ordered) - first)


def _interval(raised: Floats, rate: float) -> tuple[float, float]:
    """Return the rates between which nine fleets in ten lie, of alarms (half of the nights, fleet).

    What both halves of a fleet's nights have in common is its luck. Rates are taken for gamma distributed.
    """
    means = raised.mean(axis=1)
    if not (means > 0).all():
        return 0.0, rate
    covariance = float(np.mean((raised[0] - means[0]) * (raised[1] - means[1])))
    variance = max(covariance / float(means[0] * means[1]), 1e-6)
    low, high = gamma.interval(0.9, 1 / variance, scale=variance * rate)
    return float(low) if low > rate / 1000 else 0.0, float(high)


def _fortieth(value: float) -> float:
    return round(40 * value) / 40


def _rounded(null_nights: int) -> int:
    """Return a number of nights near to this one, so that few are simulated."""
    if null_nights <= _FINE_NIGHTS:
        return null_nights
    return min(round(math.exp(round(20 * math.log(null_nights)) / 20)), _MOST_NULL_NIGHTS)
