"""Faults: what each does to a sound, and the band in which it does it.

bearing        impulses at the defect's rate (1 % slip) through a resonance (Randall and Antoni 2011,
               doi 10.1016/j.ymssp.2010.07.017)
imbalance      sidebands once a turn beside the blade-pass tone
looseness      rattling: impulses of very unequal strength, low in frequency
leak           steady noise in a band
missing_click  whole work cycles without their clicks
late_click     the clicks of whole work cycles come 0.4 cycles late
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import scipy.ndimage

from humwatch.flows.simulation.machines import HIGHEST_HZ, SimulatedMachine
from humwatch.flows.simulation.signals import Samples, band_gain, fft_length, filtered, random_phase_noise, rms


class FaultKind(StrEnum):
    """What can go wrong; the value is what the truth says."""

    BEARING = "bearing"
    IMBALANCE = "imbalance"
    LOOSENESS = "looseness"
    LEAK = "leak"
    MISSING_CLICK = "missing_click"
    LATE_CLICK = "late_click"


FAULTS_OF: dict[str, tuple[FaultKind, ...]] = {
    "fan": (FaultKind.BEARING, FaultKind.IMBALANCE, FaultKind.LOOSENESS),
    "pump": (FaultKind.BEARING, FaultKind.LEAK, FaultKind.LOOSENESS),
    "slider": (FaultKind.BEARING, FaultKind.LOOSENESS, FaultKind.LEAK),
    "valve": (FaultKind.MISSING_CLICK, FaultKind.LATE_CLICK, FaultKind.LEAK),
}
LATE_CYCLES = 0.4


@dataclass(frozen=True)
class Fault:
    """One fault; all that it changes lies between `low_hz` and `high_hz`.

    Attributes:
        kind: What it is.
        low_hz: Lower edge of its band.
        high_hz: Upper edge of its band.
        rate_hz: Impulses a second (bearing, looseness), turns a second (imbalance), work cycles a second (clicks);
            a leak has none.
    """

    kind: FaultKind
    low_hz: float
    high_hz: float
    rate_hz: float


def draw_fault(machine: SimulatedMachine, kind: FaultKind, rng: np.random.Generator) -> Fault:
    """A fault of this kind that fits the machine: below 7.5 kHz, at rates its speed explains."""
    if kind is FaultKind.BEARING:
        centre_hz = rng.uniform(2500, 6000)
        return Fault(kind, 0.8 * centre_hz, 1.2 * centre_hz, rng.uniform(2.3, 4.7) * min(machine.speed_hz, 50.0))
    if kind is FaultKind.IMBALANCE:
        carrier_hz = machine.blades * machine.speed_hz
        return Fault(kind, carrier_hz - 1.5 * machine.speed_hz, carrier_hz + 1.5 * machine.speed_hz, machine.speed_hz)
    if kind is FaultKind.LOOSENESS:
        low_hz = rng.uniform(100, 400)
        return Fault(kind, low_hz, low_hz + rng.uniform(400, 800), rng.uniform(10, 25))
    if kind is FaultKind.LEAK:
        low_hz = rng.uniform(2500, 4500)
        return Fault(kind, low_hz, 1.5 * low_hz, 0.0)
    centres_hz = [mode.centre_hz for mode in machine.resonances]
    return Fault(kind, 0.7 * min(centres_hz), min(1.3 * max(centres_hz), HIGHEST_HZ), machine.cycle_hz)


def add_fault(
    samples: Samples, fault: Fault, severity: float, rng: np.random.Generator, sample_rate_hz: int = 16_000
) -> Samples:
    """`samples` with the fault in them: float32 (sample,), a new array; severity 0 changes nothing.

    Severity is the RMS of what is added over the RMS of `samples`; for the clicks' faults, which move or remove what
    is there, it is the share of work cycles affected (at least one cycle, at most all).

    Raises:
        ValueError: The severity is negative, the band is empty or reaches beyond half the sample rate, or `samples` is
            too short to tell the band from its neighbours.
    """
    if severity < 0 or not 0 <= fault.low_hz < fault.high_hz <= sample_rate_hz / 2:
        raise ValueError(f"severity {severity} or band {fault.low_hz}-{fault.high_hz} Hz is out of range")
    if len(samples) * (fault.high_hz - fault.low_hz) < 4 * sample_rate_hz:
        raise ValueError(f"{len(samples)} samples cannot hold a fault in {fault.low_hz}-{fault.high_hz} Hz")
    if severity == 0:
        return samples.astype(np.float32)
    if fault.kind in (FaultKind.MISSING_CLICK, FaultKind.LATE_CLICK):
        return samples + _displaced_clicks(samples, fault, severity, rng, sample_rate_hz)
    if fault.kind is FaultKind.LEAK:
        gain = band_gain(len(samples), sample_rate_hz, fault.low_hz, fault.high_hz)
        sound = random_phase_noise(gain, len(samples), rng)
    elif fault.kind is FaultKind.IMBALANCE:
        sound = _sidebands(len(samples), fault, rng, sample_rate_hz)
    else:
        sound = _impulses(len(samples), fault, rng, sample_rate_hz)
    return samples + np.float32(severity * rms(samples) / rms(sound)) * sound


def _sidebands(n_samples: int, fault: Fault, rng: np.random.Generator, sample_rate_hz: int) -> Samples:
    turns = fault.rate_hz * np.arange(n_samples) / sample_rate_hz + rng.random()
    carrier = 2 * np.pi * (fault.low_hz + fault.high_hz) / 2 * np.arange(n_samples) / sample_rate_hz
    return (np.cos(2 * np.pi * turns) * np.sin(carrier + 2 * np.pi * rng.random())).astype(np.float32)


def _impulses(n_samples: int, fault: Fault, rng: np.random.Generator, sample_rate_hz: int) -> Samples:
    period = sample_rate_hz / fault.rate_hz
    bearing = fault.kind is FaultKind.BEARING
    intervals = period * (1 + (0.01 if bearing else 0.1) * rng.normal(size=int(n_samples / period) + 1))
    starts = np.concatenate([[0.0], np.cumsum(intervals)]) + rng.random() * min(period, n_samples)
    starts = starts[starts < n_samples].astype(np.int64)
    strengths = np.ones(len(starts)) if bearing else rng.lognormal(sigma=1.0, size=len(starts))
    train = np.bincount(starts, weights=strengths, minlength=n_samples).astype(np.float32)
    gain = band_gain(n_samples, sample_rate_hz, fault.low_hz, fault.high_hz)
    if not bearing:
        return filtered(train, gain)
    frequencies_hz = np.fft.rfftfreq(fft_length(n_samples), 1 / sample_rate_hz)
    half_width_hz = (fault.high_hz - fault.low_hz) / 8
    resonance = 1 / (1 + 1j * (frequencies_hz - (fault.low_hz + fault.high_hz) / 2) / half_width_hz)
    return filtered(train, (gain * resonance).astype(np.complex64))


def _displaced_clicks(
    samples: Samples, fault: Fault, severity: float, rng: np.random.Generator, sample_rate_hz: int
) -> Samples:
    slots = (fault.rate_hz * np.arange(len(samples)) / sample_rate_hz + rng.random()).astype(np.int64)
    affected = np.zeros(slots[-1] + 1, dtype=np.float32)
    affected[rng.permutation(len(affected))[: int(np.ceil(min(severity, 1.0) * len(affected)))]] = 1
    # 5 ms ramps: a hard edge would splash out of the band
    gate = scipy.ndimage.uniform_filter1d(affected[slots], max(sample_rate_hz // 200, 1))
    clicks = gate * filtered(samples, band_gain(len(samples), sample_rate_hz, fault.low_hz, fault.high_hz))
    change = -clicks
    if fault.kind is FaultKind.LATE_CLICK:
        delay = round(LATE_CYCLES * sample_rate_hz / fault.rate_hz)
        change[delay:] += clicks[: max(len(clicks) - delay, 0)]
    return change
