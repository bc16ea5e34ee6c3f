"""One recording of the plan: machine + fault + factory background, independent of every other recording."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from humwatch.flows.simulation.faults import Fault, add_fault
from humwatch.flows.simulation.fleet_plan import FleetPlan, Stream, generator, machine_of, planned_faults, severity
from humwatch.flows.simulation.machines import draw_variation, render_machine
from humwatch.flows.simulation.signals import (
    Samples,
    fft_length,
    log2_frequencies,
    random_phase_noise,
    rms,
    unit_noise_magnitudes,
)


@dataclass(frozen=True)
class Components:
    """What a recording is the sum of: float32 (sample,) each, full scale = 1.

    rms(machine) / rms(background) is the plan's SNR; the fault comes on top, so it changes neither.
    """

    machine: Samples
    fault: Samples
    background: Samples

    def mix(self) -> Samples:
        """The recording: float32 (sample,), clipped at full scale."""
        total: Samples = np.clip(self.machine + self.fault + self.background, -1.0, 1.0)
        return total


def render_recording(plan: FleetPlan, machine_index: int, night_index: int, recording_index: int) -> Samples:
    """One recording as the microphone heard it, whatever became of its file: float32 (sample,), full scale = 1."""
    return render_components(plan, machine_index, night_index, recording_index).mix()


def render_components(plan: FleetPlan, machine_index: int, night_index: int, recording_index: int) -> Components:
    """The parts of `render_recording`."""
    planned = planned_faults(plan).get(machine_index)
    fault = planned.fault if planned else None
    size = severity(plan, machine_index, night_index)
    return render_take(plan, (machine_index, night_index, recording_index), fault, size)


def render_take(plan: FleetPlan, key: tuple[int, int, int], fault: Fault | None, size: float) -> Components:
    """The recording (machine, night, recording) with a given fault at a given severity instead of the planned one."""
    machine_index, night_index, _ = key
    machine = machine_of(plan, machine_index)
    rng = generator(plan, Stream.MACHINE_SOUND, *key)
    variation = draw_variation(machine, night_index, rng)
    level_dbfs = machine.level_dbfs + 0.5 * rng.normal()
    # the level is that of machine and background together: as loud at any SNR
    gain = 10 ** (level_dbfs / 20) / np.sqrt(1 + 10 ** (-plan.snr_db / 10))
    normal = np.float32(gain) * render_machine(machine, variation, plan.n_samples, plan.sample_rate_hz, rng)
    change = np.zeros_like(normal)
    if fault is not None and size > 0:
        change = add_fault(normal, fault, size, generator(plan, Stream.FAULT_SOUND, *key), plan.sample_rate_hz) - normal
    rng = generator(plan, Stream.BACKGROUND, *key)
    background = _background(_hall(plan.seed, plan.n_samples, plan.sample_rate_hz), plan.n_samples, rng)
    return Components(normal, change, np.float32(gain * 10 ** (-plan.snr_db / 20)) * background)


def _background(hall: tuple[Samples, Samples], n_samples: int, rng: np.random.Generator) -> Samples:
    """A stretch of the factory hall, RMS 1: rumble and hiss from random places, hiss 9 +- 2 dB under rumble."""
    rumble_start, hiss_start = rng.integers(len(hall[0]) - n_samples, size=2).tolist()
    hiss_gain = np.float32(10 ** ((-9 + 2 * rng.normal()) / 20))
    sound = hiss_gain * hall[1][hiss_start : hiss_start + n_samples]
    sound += hall[0][rumble_start : rumble_start + n_samples]
    sound /= np.float32(rms(sound))
    return sound


@lru_cache(maxsize=2)
def _hall(seed: int, n_samples: int, sample_rate_hz: int) -> tuple[Samples, Samples]:
    """A minute of rumble (-6 dB an octave from 200 Hz) and of hiss (-1.5 dB) that swell and fade, to be cut from."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(Stream.BACKGROUND,)))
    length = fft_length(max(60 * sample_rate_hz, 4 * n_samples))
    octaves: Samples = np.maximum(log2_frequencies(length, sample_rate_hz), np.log2(np.float32(0.2)))
    rumble, hiss = (
        random_phase_noise(unit_noise_magnitudes(slope * octaves, length), length, rng)
        for slope in (np.float32(-6.0), np.float32(-1.5))
    )
    turns = 2 * np.pi * np.arange(length) / sample_rate_hz
    rumble *= 1 + 0.3 * np.sin(0.23 * turns).astype(np.float32)
    hiss *= 1 + 0.3 * np.sin(0.31 * turns).astype(np.float32)
    return rumble, hiss
