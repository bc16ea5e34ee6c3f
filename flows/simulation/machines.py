"""The physics of a machine: a rotor, a flow, a work cycle and clicks, mixed differently in each type.

sound = rotor tones * envelope + shaped noise * envelope + clicks      (envelopes follow the work cycle)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from humwatch.flows.simulation.signals import (
    TABLE_SIZE,
    Samples,
    add_pulses,
    log2_frequencies,
    oscillate,
    random_phase_noise,
    rms,
    unit_noise_magnitudes,
)

HIGHEST_HZ = 7500.0  # no resonance, harmonic or fault lies above
CLICK_S = 0.08


@dataclass(frozen=True)
class Resonance:
    """A mode of the housing: it lifts noise and rings after a click."""

    centre_hz: float
    bandwidth_hz: float
    gain_db: float


@dataclass(frozen=True)
class SimulatedMachine:
    """What does not change about one machine. Levels are RMS ratios between its three sources."""

    machine_type: str
    speed_hz: float
    blades: int
    harmonics: tuple[float, ...]
    cycle_hz: float
    floor: float  # of the envelope between strokes; 1 = no work cycle
    strokes: tuple[tuple[float, float], ...]  # (centre, width) in cycles
    clicks: tuple[float, ...]  # phases in cycles
    resonances: tuple[Resonance, ...]
    tilt_db_per_octave: float
    tone_level: float
    noise_level: float
    click_level: float
    level_dbfs: float
    drift_phase: float


@dataclass(frozen=True)
class Variation:
    """What differs from recording to recording of one machine; `speed` and `load` are ratios to its usual ones."""

    speed: float
    load: float
    tilt_db_per_octave: float


def draw_variation(machine: SimulatedMachine, night_index: int, rng: np.random.Generator) -> Variation:
    """Slow drift over the nights (periods of 9 and 31) and jitter from recording to recording."""
    turns = np.array([night_index / 9, night_index / 31]) + machine.drift_phase
    drift = float(np.sin(2 * np.pi * turns).mean())
    speed_jitter, load_jitter, tilt_jitter = rng.normal(size=3)
    return Variation(
        speed=1 + 0.004 * drift + 0.003 * float(speed_jitter),
        load=float(np.exp(0.08 * drift + 0.06 * load_jitter)),
        tilt_db_per_octave=0.2 * drift + 0.15 * float(tilt_jitter),
    )


def render_machine(
    machine: SimulatedMachine, variation: Variation, n_samples: int, sample_rate_hz: int, rng: np.random.Generator
) -> Samples:
    """The machine alone, without fault or background: float32 (sample,), RMS 1 over the recording."""
    tables = _tables(machine, n_samples, sample_rate_hz)
    rotor_start, cycle_start = rng.random(2).tolist()
    rotor_step = machine.speed_hz * variation.speed / sample_rate_hz
    cycle_step = machine.cycle_hz * variation.speed / sample_rate_hz
    tilt = np.exp2(log2_frequencies(n_samples, sample_rate_hz) * np.float32(variation.tilt_db_per_octave / 6.02))
    sound = random_phase_noise(tables.noise * tilt, n_samples, rng)
    tones = oscillate(tables.tones, n_samples, rotor_step, rotor_start)
    tones *= np.float32(variation.load)
    sound += tones
    if machine.strokes:
        sound *= oscillate(tables.envelope, n_samples, cycle_step, cycle_start)
    if machine.clicks:
        whole_cycles = np.arange(-1, int(cycle_start + cycle_step * n_samples) + 1)[:, None]
        click_cycles = (whole_cycles + np.array(machine.clicks)).ravel()
        jitter_samples = rng.normal(scale=0.002 * sample_rate_hz, size=len(click_cycles))
        starts = np.rint((click_cycles - cycle_start) / cycle_step + jitter_samples).astype(np.int64)
        add_pulses(sound, starts, np.float32(variation.load) * tables.click)
    sound /= np.float32(rms(sound))
    return sound


@dataclass(frozen=True)
class _Tables:
    tones: Samples  # one turn of the rotor
    envelope: Samples  # one work cycle
    noise: Samples  # magnitudes (bin,)
    click: Samples  # (sample,)


@lru_cache(maxsize=16)  # a unit of work goes from machine to machine
def _tables(machine: SimulatedMachine, n_samples: int, sample_rate_hz: int) -> _Tables:
    order = np.arange(1, len(machine.harmonics) + 1)
    spectrum = np.zeros(TABLE_SIZE // 2 + 1, dtype=np.complex128)
    # Schroeder's phases keep the crest factor of the sum low
    spectrum[order] = np.array(machine.harmonics) * np.exp(1j * np.pi * order**2 / len(order))
    tones = np.fft.irfft(spectrum)
    envelope = np.full(TABLE_SIZE, machine.floor)
    for centre, width in machine.strokes:
        offset = (np.arange(TABLE_SIZE) / TABLE_SIZE - centre + 0.5) % 1 - 0.5
        envelope += np.where(np.abs(offset) < width / 2, np.square(np.cos(np.pi * offset / width)), 0)
    return _Tables(
        tones=(machine.tone_level * tones / np.sqrt(np.mean(tones**2))).astype(np.float32),
        envelope=(envelope / np.sqrt(np.mean(envelope**2))).astype(np.float32),
        noise=np.float32(machine.noise_level)
        * unit_noise_magnitudes(_noise_gain_db(machine, n_samples, sample_rate_hz), n_samples),
        click=_click(machine, sample_rate_hz),
    )


def _noise_gain_db(machine: SimulatedMachine, n_samples: int, sample_rate_hz: int) -> Samples:
    octaves = log2_frequencies(n_samples, sample_rate_hz)
    gain_db: Samples = np.multiply(octaves, machine.tilt_db_per_octave, dtype=np.float32)
    for mode in machine.resonances:
        offset = (1000.0 * np.exp2(octaves) - mode.centre_hz) / (mode.bandwidth_hz / 2)
        gain_db += mode.gain_db / (1 + np.square(offset))
    return gain_db


def _click(machine: SimulatedMachine, sample_rate_hz: int) -> Samples:
    """The ringing of all resonances after one knock; a whole train of them has RMS `click_level`."""
    time_s = np.arange(round(CLICK_S * sample_rate_hz)) / sample_rate_hz
    ringing = np.zeros_like(time_s)
    for mode in machine.resonances:
        ringing += np.exp(-np.pi * mode.bandwidth_hz * time_s) * np.sin(2 * np.pi * mode.centre_hz * time_s)
    energy = np.sum(ringing**2) * max(len(machine.clicks), 1) * machine.cycle_hz / sample_rate_hz
    click: Samples = (machine.click_level * ringing / np.sqrt(energy)).astype(np.float32)
    return click
