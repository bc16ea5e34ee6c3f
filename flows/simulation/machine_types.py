"""The four machine types of MIMII (Purohit et al. 2019, arXiv 1909.09347) as ranges of a machine's parameters.

fan     a steady rotor with strong blade-pass harmonics over broadband noise
pump    vane harmonics whose amplitude pulsates with the delivery
slider  two noise bursts a stroke through the rail's resonances, a servo whine, knocks at the ends
valve   sparse pairs of clicks (open, close) with a short hiss after each opening
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from humwatch.flows.simulation.machines import HIGHEST_HZ, Resonance, SimulatedMachine
from humwatch.flows.simulation.signals import TABLE_SIZE


def draw_machine(machine_type: str, rng: np.random.Generator) -> SimulatedMachine:
    """One machine of a type; `rng` decides everything about it.

    Raises:
        KeyError: The type is none of MACHINE_TYPES.
    """
    return MACHINE_TYPES[machine_type](rng)


def _harmonics(rng: np.random.Generator, speed_hz: float, blades: int, decay: float) -> tuple[float, ...]:
    order = np.arange(1, min(int(0.5 * HIGHEST_HZ / speed_hz), TABLE_SIZE // 8) + 1)
    amplitudes = order**-decay * rng.lognormal(sigma=0.6, size=len(order)) * np.where(order % blades, 1.0, 4.0)
    return tuple(amplitudes.tolist())


def _resonances(rng: np.random.Generator, number: int, quality: float) -> tuple[Resonance, ...]:
    centres_hz = np.exp(rng.uniform(np.log(300.0), np.log(6000.0), size=number))
    gains_db = rng.uniform(6, 18, size=number)
    return tuple(
        Resonance(float(centre), float(centre / quality), float(gain))
        for centre, gain in zip(np.sort(centres_hz), gains_db, strict=True)
    )


def _fan(rng: np.random.Generator) -> SimulatedMachine:
    speed_hz, blades = rng.uniform(18, 45), int(rng.integers(5, 10))
    return SimulatedMachine(
        machine_type="fan",
        speed_hz=speed_hz,
        blades=blades,
        harmonics=_harmonics(rng, speed_hz, blades, decay=1.0),
        cycle_hz=speed_hz,
        floor=1.0,
        strokes=(),
        clicks=(),
        resonances=_resonances(rng, 3, quality=4),
        tilt_db_per_octave=rng.uniform(-6, -3),
        tone_level=rng.uniform(0.4, 0.8),
        noise_level=1.0,
        click_level=0.0,
        level_dbfs=rng.uniform(-30, -24),
        drift_phase=rng.random(),
    )


def _pump(rng: np.random.Generator) -> SimulatedMachine:
    speed_hz, blades = rng.uniform(24, 50), int(rng.integers(3, 8))
    return SimulatedMachine(
        machine_type="pump",
        speed_hz=speed_hz,
        blades=blades,
        harmonics=_harmonics(rng, speed_hz, blades, decay=0.7),
        cycle_hz=rng.uniform(1.5, 6),
        floor=rng.uniform(0.2, 0.8),
        strokes=((0.5, 1.0),),
        clicks=(),
        resonances=_resonances(rng, 4, quality=6),
        tilt_db_per_octave=rng.uniform(-4, -1),
        tone_level=1.0,
        noise_level=rng.uniform(0.4, 0.7),
        click_level=0.0,
        level_dbfs=rng.uniform(-30, -24),
        drift_phase=rng.random(),
    )


def _slider(rng: np.random.Generator) -> SimulatedMachine:
    speed_hz = rng.uniform(80, 200)
    return SimulatedMachine(
        machine_type="slider",
        speed_hz=speed_hz,
        blades=4,
        harmonics=_harmonics(rng, speed_hz, 4, decay=1.2),
        cycle_hz=rng.uniform(0.7, 1.5),
        floor=0.05,
        strokes=((0.25, rng.uniform(0.25, 0.45)), (0.75, rng.uniform(0.25, 0.45))),
        clicks=(0.0, 0.5),
        resonances=_resonances(rng, 5, quality=10),
        tilt_db_per_octave=rng.uniform(-3, 0),
        tone_level=rng.uniform(0.2, 0.4),
        noise_level=1.0,
        click_level=rng.uniform(0.1, 0.3),
        level_dbfs=rng.uniform(-30, -24),
        drift_phase=rng.random(),
    )


def _valve(rng: np.random.Generator) -> SimulatedMachine:
    closing = rng.uniform(0.3, 0.6)
    return SimulatedMachine(
        machine_type="valve",
        speed_hz=100.0,  # the solenoid's hum: twice the mains
        blades=2,
        harmonics=_harmonics(rng, 100.0, 2, decay=1.5),
        cycle_hz=rng.uniform(1, 2.5),
        floor=0.1,
        strokes=((closing / 2, closing),),
        clicks=(0.0, closing),
        resonances=_resonances(rng, 4, quality=12),
        tilt_db_per_octave=rng.uniform(-2, 2),
        tone_level=rng.uniform(0.1, 0.2),
        noise_level=rng.uniform(0.2, 0.4),
        click_level=1.0,
        level_dbfs=rng.uniform(-36, -30),  # its clicks stand 20 dB and more above its RMS
        drift_phase=rng.random(),
    )


MACHINE_TYPES: dict[str, Callable[[np.random.Generator], SimulatedMachine]] = {
    "fan": _fan,
    "pump": _pump,
    "slider": _slider,
    "valve": _valve,
}
