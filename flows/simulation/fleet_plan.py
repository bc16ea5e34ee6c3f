"""The plan of a fleet: which machine, which night, which fault, what goes missing. Pure functions of the plan.

Every draw has its own seed, spawned from the plan's by purpose, machine, night and recording, so any of them can be
made alone, in any order, in any process.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import IntEnum, StrEnum
from functools import lru_cache

import numpy as np

from humwatch.flows.simulation.faults import FAULTS_OF, Fault, FaultKind, draw_fault
from humwatch.flows.simulation.machine_types import MACHINE_TYPES, draw_machine
from humwatch.flows.simulation.machines import SimulatedMachine
from humwatch.storage.errors import BadConfiguration

NIGHT_S = 6 * 3600  # recordings are spread over midnight to six


class Stream(IntEnum):
    """What a seed is for; a number never changes its meaning."""

    MACHINE = 0
    SELECTION = 1
    FAULT = 2
    NIGHT = 3
    MACHINE_SOUND = 4
    FAULT_SOUND = 5
    BACKGROUND = 6


class Status(StrEnum):
    """What became of a planned recording."""

    SENT = "sent"
    MISSING = "missing"
    TRUNCATED = "truncated"
    SILENT = "silent"


@dataclass(frozen=True)
class FleetPlan:
    """All that decides a synthetic fleet.

    Attributes:
        machines: Machines in all; they take the types in turn.
        nights: Nights, one batch each.
        snr_db: 20 log10 of the RMS of the machine without its fault over the RMS of the factory background,
            each over the whole recording.
        seed: Same seed and plan, same bytes.
        first_night: Date of night 0.
        recordings_per_night: Recordings of each machine, evenly over six hours from midnight UTC.
        duration_s: Length of a recording.
        sample_rate_hz: At least 16,000.
        types: Machine types, of MACHINE_TYPES.
        fault_fraction: Share of the machines that get a fault (rounded, spread over the types).
        fault_size: Severity on the last night (see `add_fault`).
        commissioning_nights: First nights without any fault; unset: half of them, rounded up.
        dropout_rate: Chance that a machine sends nothing on a night.
        broken_rate: Chance that a recording arrives truncated or silent.

    Raises:
        BadConfiguration: A value is out of range.
    """

    machines: int
    nights: int
    snr_db: float
    seed: int
    first_night: date = date(2026, 1, 1)
    recordings_per_night: int = 4
    duration_s: float = 4.0
    sample_rate_hz: int = 16_000
    types: tuple[str, ...] = tuple(MACHINE_TYPES)
    fault_fraction: float = 0.2
    fault_size: float = 0.25
    commissioning_nights: int | None = None
    dropout_rate: float = 0.02
    broken_rate: float = 0.01

    def __post_init__(self) -> None:
        rates = (self.fault_fraction, self.dropout_rate, self.broken_rate)
        checks = {
            "machines, nights and recordings_per_night must be 1 or more": min(
                self.machines, self.nights, self.recordings_per_night
            )
            >= 1,
            "recordings_per_night must be 3600 or fewer": self.recordings_per_night <= 3600,
            "seed must be 0 or more": self.seed >= 0,
            "snr_db must be a finite number": math.isfinite(self.snr_db),
            "duration_s must be 0.1 or more": self.duration_s >= 0.1,
            "sample_rate_hz must be 16000 or more": self.sample_rate_hz >= 16_000,
            f"types must be some of {', '.join(MACHINE_TYPES)}, each once": 0 < len(self.types) == len(set(self.types))
            and set(self.types) <= set(MACHINE_TYPES),
            "fault_fraction, dropout_rate and broken_rate must be in 0..1": all(0 <= rate <= 1 for rate in rates),
            "fault_size must be above 0": self.fault_size > 0,
            "commissioning_nights must be 0 or more": (self.commissioning_nights or 0) >= 0,
        }
        for message, holds in checks.items():
            if not holds:
                raise BadConfiguration(message)

    @property
    def n_samples(self) -> int:
        """Samples in a recording."""
        return round(self.duration_s * self.sample_rate_hz)

    @property
    def first_fault_night(self) -> int:
        """Index of the first night on which a fault may begin."""
        return -(-self.nights // 2) if self.commissioning_nights is None else self.commissioning_nights

    @property
    def condition(self) -> str:
        """The SNR as MIMII's archives name it: `-6_dB`."""
        return f"{round(self.snr_db)}_dB"

    def machine_type(self, machine_index: int) -> str:
        """Type of a machine."""
        return self.types[machine_index % len(self.types)]

    def machine_id(self, machine_index: int) -> str:
        """ID of a machine, counted within its type: id_00; three digits where a type has more than 100 machines."""
        digits = max(2, len(str((self.machines - 1) // len(self.types))))
        return f"id_{machine_index // len(self.types):0{digits}d}"

    def recorded_at(self, night_index: int, recording_index: int) -> datetime:
        """When a recording was made (UTC)."""
        offset_s = night_index * 86_400 + NIGHT_S * recording_index // self.recordings_per_night
        return datetime.combine(self.first_night, time(tzinfo=UTC)) + timedelta(seconds=offset_s)


@dataclass(frozen=True)
class PlannedFault:
    """A fault and the night it begins on."""

    fault: Fault
    onset_night: int


def generator(plan: FleetPlan, stream: Stream, *key: int) -> np.random.Generator:
    """The generator of one purpose and, say, (machine, night, recording)."""
    return np.random.default_rng(np.random.SeedSequence(plan.seed, spawn_key=(stream, *key)))


@lru_cache(maxsize=4096)
def machine_of(plan: FleetPlan, machine_index: int) -> SimulatedMachine:
    """The physics of one machine of the fleet."""
    return draw_machine(plan.machine_type(machine_index), generator(plan, Stream.MACHINE, machine_index))


def fault_of(plan: FleetPlan, machine_index: int, kind: FaultKind) -> Fault:
    """The fault of a kind that this machine has, should it have one."""
    rng = generator(plan, Stream.FAULT, machine_index, list(FaultKind).index(kind))
    return draw_fault(machine_of(plan, machine_index), kind, rng)


@lru_cache(maxsize=8)
def planned_faults(plan: FleetPlan) -> Mapping[int, PlannedFault]:
    """The faults of the fleet by machine index.

    Onsets lie in the first half of the nights after commissioning, so that every fault has nights to grow in.
    """
    room = plan.nights - plan.first_fault_night
    if room < 1:
        return {}
    rng = generator(plan, Stream.SELECTION)
    order = rng.permutation(plan.machines)
    seen = dict.fromkeys(range(len(plan.types)), 0)
    ranks = []
    for index in order.tolist():  # by turns from each type: its first in this order, its second, ...
        ranks.append(seen[index % len(plan.types)])
        seen[index % len(plan.types)] += 1
    chosen = order[np.argsort(ranks, kind="stable")][: round(plan.fault_fraction * plan.machines)]
    faults = {}
    for index in sorted(chosen.tolist()):
        kinds = FAULTS_OF[plan.machine_type(index)]
        draw = generator(plan, Stream.SELECTION, index)
        kind = kinds[int(draw.integers(len(kinds)))]
        onset = plan.first_fault_night + int(draw.integers(-(-room // 2)))
        faults[index] = PlannedFault(fault_of(plan, index, kind), onset)
    return faults


def severity(plan: FleetPlan, machine_index: int, night_index: int) -> float:
    """Severity on a night: 0 before the onset, then in equal steps up to `fault_size` on the last night."""
    planned = planned_faults(plan).get(machine_index)
    if planned is None or night_index < planned.onset_night:
        return 0.0
    return plan.fault_size * (night_index - planned.onset_night + 1) / (plan.nights - planned.onset_night)


def statuses(plan: FleetPlan, machine_index: int, night_index: int) -> tuple[Status, ...]:
    """What becomes of each recording of a machine on a night."""
    rng = generator(plan, Stream.NIGHT, machine_index, night_index)
    if rng.random() < plan.dropout_rate:
        return (Status.MISSING,) * plan.recordings_per_night
    draws = rng.random((plan.recordings_per_night, 2))
    return tuple(
        (Status.TRUNCATED if kind < 0.5 else Status.SILENT) if broken < plan.broken_rate else Status.SENT
        for broken, kind in draws.tolist()
    )
