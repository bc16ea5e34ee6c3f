"""A fleet's nights one after the other: what a night says rests on that night and earlier ones alone.

Nothing is carried over from run to run but the nights' own scores, so that any night can be judged again and comes out
the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from humwatch.tasks.alarms.chart import Charts, Ints
from humwatch.tasks.alarms.fleet_levels import FleetLevels
from humwatch.tasks.alarms.levels import MIN_REFERENCE_NIGHTS, Rates, levels
from humwatch.tasks.alarms.night_scores import Calibration
from humwatch.tasks.alarms.null import Null, fleet_effect, night_evidence
from humwatch.tasks.alarms.rates import machine_rates
from humwatch.tasks.alarms.reference_nights import Bools, Floats, ReferenceNights, leave_one_out
from humwatch.tasks.settings import AlarmSettings


@dataclass(frozen=True)
class Night:
    """One night of a fleet; arrays are (machine,).

    Attributes:
        date: of the night.
        scores: float64: night scores, NaN where there is none.
        recordings: int64: how many recordings each is of.
        models: for each machine the name of the model that scored, None where none did.
        normal, abnormal: labelled so by people.
        known: heard on this night or before.
        repaired: for each machine the first night after its last repair so far, None for no repair; empty: nobody's.
    """

    date: str
    scores: Floats
    recordings: Ints
    models: Sequence[str | None]
    normal: Bools
    abnormal: Bools
    known: Bools
    repaired: Sequence[str | None] = ()


@dataclass(frozen=True)
class Verdict:
    """What a night said of each machine; arrays are (machine,), dates None and numbers NaN where there is none.

    Attributes:
        reference_nights: int64.
        fleet_effect: float64, of the machine's type.
        statistic, p_value, evidence, level_attention, level_alarm: float64; levels that keep the rate.
        false_alarm_rate, rate_low, rate_high: float64: stated, and what nine in ten such fleets have.
        nights_to_alarm: float64: nights as unusual as can be, in a row from no evidence on, that raise an alarm.
        attention, alarm, new_alarm: bool; an alarm is attention, too.
        alarm_since, onset: dates.
        reasons: in words, None where there is nothing to say.
    """

    date: str
    reference_nights: Ints
    fleet_effect: Floats
    statistic: Floats
    p_value: Floats
    evidence: Floats
    level_attention: Floats
    level_alarm: Floats
    false_alarm_rate: Floats
    rate_low: Floats
    rate_high: Floats
    nights_to_alarm: Floats
    attention: Bools
    alarm: Bools
    new_alarm: Bools
    alarm_since: list[str | None]
    onset: list[str | None]
    reasons: list[str | None]


def replay(
    types: Sequence[str],
    names: Sequence[str],
    nights: Sequence[Night],
    calibrations: Mapping[str, Calibration],
    settings: AlarmSettings,
) -> Iterator[Verdict]:
    """Yield the verdict of each night.

    Args:
        types: the type of each machine: those of one type share a fleet effect and, if they are enough, a null.
        names: `TYPE/ID` or `SITE/TYPE/ID` of each.
        nights: in their order.
        calibrations: of every model that the nights name; a name belongs to one machine.
        settings: rates and hysteresis.
    """
    fleet = _Fleet(np.array(types, dtype=object), names, calibrations, settings)
    dates = [night.date for night in nights]
    for index, night in enumerate(nights):
        yield fleet.judge(index, night, dates)


class _Fleet:
    """The charts of a fleet and the nulls of its types, as of one night."""

    def __init__(
        self,
        types: NDArray[np.object_],
        names: Sequence[str],
        calibrations: Mapping[str, Calibration],
        settings: AlarmSettings,
    ) -> None:
        size = len(types)
        self.types, self.names, self.calibrations, self.settings = types, names, calibrations, settings
        self.charts = Charts.begin(ReferenceNights.of(np.empty((size, 0))))
        self.models: list[str | None] = [None] * size
        self.repaired: list[str | None] = [None] * size
        self.usual_recordings = np.full(size, np.nan)
        self.begun_with = np.zeros(size, dtype=np.int64)
        self.heard: dict[str, dict[str, Calibration]] = {name: {} for name in sorted(set(types))}
        self.nulls: dict[str, Null] = {}

    def judge(self, index: int, night: Night, dates: Sequence[str]) -> Verdict:
        """Take the fleet through one night."""
        self._restart_repaired(night.repaired)
        self._restart_changed_models(night.models)
        charts, size = self.charts, len(self.types)
        reference_nights = charts.reference.count.astype(np.int64)
        spread = np.sqrt(np.fmax(1.0, self.usual_recordings / np.maximum(night.recordings, 1)))
        raw = np.where(
            reference_nights >= MIN_REFERENCE_NIGHTS, charts.reference.statistic(night.scores, spread), np.nan
        )
        statistic, p_value, said, effect = raw.copy(), np.full(size, np.nan), np.full(size, np.nan), np.zeros(size)
        for name, null in self.nulls.items():
            if not len(null.statistics):
                continue
            mine = self.types == name
            effect[mine] = fleet_effect(raw[mine], charts.alarm_since[mine] >= 0)
            statistic[mine] -= effect[mine]
            p_value[mine] = null.p_values(statistic[mine])
            said[mine] = night_evidence(p_value[mine], statistic[mine], null.statistics[-1], len(null.statistics))
        finite = np.isfinite(said)
        charts.accumulate(said, index)
        self.begun_with = np.where(finite & (charts.age == 1), reference_nights, self.begun_with)
        found = self._levels(finite, night)
        new = charts.judge(
            finite, index, (found.alarm, found.attention), found.striking(p_value), self.settings.clear_nights
        )
        evidence = np.where(charts.age > 0, charts.evidence, np.nan)
        charts.trust(night.normal)
        new &= ~night.normal
        # without a statistic no change can show itself, so that waiting would guard nothing
        learns = np.array([first is not None for first in self.repaired]) & (reference_nights < MIN_REFERENCE_NIGHTS)
        charts.remember(night.scores, joins_now=night.normal | (learns & ~night.abnormal), never=night.abnormal)
        onset = np.where(charts.alarm_since >= 0, charts.onset, np.where(charts.attention, charts.rise, -1))
        return Verdict(
            date=night.date,
            reference_nights=reference_nights,
            fleet_effect=np.where(finite & (effect != 0), effect, np.nan),
            statistic=np.where(finite, statistic, np.nan),
            p_value=p_value,
            evidence=np.where(night.normal & (charts.age > 0), 0.0, evidence),
            level_attention=found.attention,
            level_alarm=found.alarm,
            false_alarm_rate=found.rate,
            rate_low=found.rate_low,
            rate_high=found.rate_high,
            nights_to_alarm=found.nights_to_alarm,
            attention=charts.attention.copy(),
            alarm=charts.alarm_since >= 0,
            new_alarm=new,
            alarm_since=_dates(charts.alarm_since, dates),
            onset=_dates(onset, dates),
            reasons=[self._reason(night, found, machine, int(reference_nights[machine])) for machine in range(size)],
        )

    def _restart_repaired(self, repaired: Sequence[str | None]) -> None:
        """End the alarm of each machine that was repaired since the night before, and forget its nights."""
        which = np.zeros(len(self.types), dtype=bool)
        for machine, first in enumerate(repaired):
            if first != self.repaired[machine]:
                which[machine] = True
                self.repaired[machine], self.models[machine] = first, None  # its model begins anew, too
        if which.any():
            self.charts.restart(which, ReferenceNights.of(np.empty((len(which), 0))))
            self.charts.trust(which)

    def _restart_changed_models(self, models: Sequence[str | None]) -> None:
        """Begin a new chart for each machine whose model is another one, and let its nights into the null."""
        new = [machine for machine, model in enumerate(models) if model is not None and model != self.models[machine]]
        if not new:
            return
        size = len(self.types)
        longest = max(len(self.calibrations[str(models[machine])].scores) for machine in new)
        scores = np.full((size, longest), np.nan)
        for machine in new:
            model = str(models[machine])
            calibration = self.calibrations[model]
            reference = calibration.scores_from(self.repaired[machine])
            scores[machine, : len(reference)] = reference
            self.models[machine] = model
            self.usual_recordings[machine] = calibration.recordings
            self.heard[self.types[machine]][model] = calibration
        which = np.zeros(size, dtype=bool)
        which[new] = True
        self.charts.restart(which, ReferenceNights.of(scores))
        tables = {name: _leave_one_out(list(heard.values())) for name, heard in self.heard.items() if heard}
        whole_fleet = Null.of(*tables.values())
        for name, table in tables.items():
            null = Null.of(table)
            self.nulls[name] = null if null.supports(self.settings.false_alarm_rate) else whole_fleet

    def _levels(self, finite: Bools, night: Night) -> FleetLevels:
        """Return the levels of the machines that have a statistic."""
        found = FleetLevels.of_nobody(len(finite))
        known = np.flatnonzero(night.known).tolist()
        rates = dict(zip(known, machine_rates(self.settings, [self.names[one] for one in known]), strict=True))
        alike: dict[tuple[str, int, Rates], list[int]] = {}
        for machine in np.flatnonzero(finite).tolist():
            alike.setdefault((self.types[machine], int(self.begun_with[machine]), rates[machine]), []).append(machine)
        for (name, count, of_these), machines in alike.items():
            null = self.nulls[name]
            made = levels(count, len(null.statistics), null.autocorrelation, of_these, self.settings.clear_nights)
            found.add(machines, made, of_these, len(null.statistics), self.charts.age)
        return found

    def _reason(self, night: Night, found: FleetLevels, machine: int, reference_nights: int) -> str | None:
        if not np.isfinite(night.scores[machine]):
            return None
        if reference_nights < MIN_REFERENCE_NIGHTS:
            return f"{reference_nights} reference nights; a statistic needs {MIN_REFERENCE_NIGHTS}"
        made = found.levels.get(machine)
        if made is None:
            return "its reference nights, or those of its fleet, do not differ from each other"
        if np.isfinite(found.alarm[machine]):
            return None
        count, rate, first = len(self.nulls[self.types[machine]].statistics), found.rate[machine], made.first_age
        ranked = f"{count} commissioning nights of the fleet"
        if first is None:
            return f"{ranked} support no alarm at the rate {rate:g}: state a larger one"
        begins = _later(night.date, first - int(self.charts.age[machine]))
        return f"with {ranked} and a rate of {rate:g} an alarm takes {first} nights at least: judged from {begins} on"


def _leave_one_out(calibrations: Sequence[Calibration]) -> Floats:
    """Return leave-one-out statistics (model, night) in calendar order, the fleet effect of each night taken off."""
    dates = sorted({date for calibration in calibrations for date in calibration.nights})
    column = {date: index for index, date in enumerate(dates)}
    scores = np.full((len(calibrations), len(dates)), np.nan)
    for row, calibration in enumerate(calibrations):
        scores[row, [column[date] for date in calibration.nights]] = calibration.scores
    statistics = leave_one_out(scores)
    effects: Floats = np.array([fleet_effect(column) for column in statistics.T])
    return np.asarray(statistics - effects)


def _later(night: str, nights: int) -> str:
    return (date.fromisoformat(night) + timedelta(days=nights)).isoformat()


def _dates(indices: Ints, dates: Sequence[str]) -> list[str | None]:
    return [dates[index] if index >= 0 else None for index in indices.tolist()]
