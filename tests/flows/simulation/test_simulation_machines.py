from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from humwatch.flows.simulation import FleetPlan, render_recording
from humwatch.flows.simulation.fleet_plan import Stream, generator, machine_of
from humwatch.flows.simulation.machine_types import MACHINE_TYPES, draw_machine
from humwatch.flows.simulation.machines import HIGHEST_HZ, Variation, draw_variation, render_machine
from humwatch.flows.simulation.signals import rms

RATE_HZ = 16_000
USUAL = Variation(speed=1.0, load=1.0, tilt_db_per_octave=0.0)


def _alone(machine_type: str, seed: int, seconds: float = 4.0) -> tuple[object, np.ndarray]:
    machine = draw_machine(machine_type, np.random.default_rng(seed))
    samples = render_machine(machine, USUAL, round(seconds * RATE_HZ), RATE_HZ, np.random.default_rng(seed + 1))
    return machine, samples


@pytest.mark.parametrize("machine_type", MACHINE_TYPES)
def test_a_machine_is_finite_float32_of_rms_1(machine_type: str) -> None:
    for seed in range(4):
        machine, samples = _alone(machine_type, seed)
        assert machine.machine_type == machine_type
        assert samples.dtype == np.float32
        assert np.isfinite(samples).all()
        assert rms(samples) == pytest.approx(1, abs=1e-4)
        assert all(mode.centre_hz < HIGHEST_HZ for mode in machine.resonances)


def test_a_fan_shows_its_blade_pass_tone() -> None:
    machine, samples = _alone("fan", 5)
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    frequencies_hz = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
    blade_pass_hz = machine.blades * machine.speed_hz
    near = np.abs(frequencies_hz - blade_pass_hz) < 3
    between = np.abs(frequencies_hz - blade_pass_hz - machine.speed_hz / 2) < 3
    assert power[near].max() > 30 * power[between].max()


def test_a_pump_pulsates_at_its_cycle() -> None:
    machine, samples = _alone("pump", 7, seconds=8.0)
    envelope = np.abs(samples.astype(np.float64)).reshape(-1, 160).mean(axis=1)  # 100 Hz
    spectrum = np.abs(np.fft.rfft((envelope - envelope.mean()) * np.hanning(len(envelope))))
    frequencies_hz = np.fft.rfftfreq(len(envelope), 0.01)
    low = frequencies_hz < 20
    assert frequencies_hz[low][spectrum[low].argmax()] == pytest.approx(machine.cycle_hz, abs=0.2)


def test_a_valve_clicks_twice_a_cycle() -> None:
    machine, samples = _alone("valve", 3, seconds=8.0)
    envelope = np.abs(samples).reshape(-1, 80).max(axis=1)  # 5 ms
    peaks, _ = signal.find_peaks(envelope, height=0.35 * envelope.max(), distance=16)
    assert len(peaks) == pytest.approx(2 * 8.0 * machine.cycle_hz, abs=2)


def test_sparse_machines_have_higher_crests_than_steady_ones() -> None:
    crests = {kind: np.median([np.abs(_alone(kind, seed)[1]).max() for seed in range(5)]) for kind in MACHINE_TYPES}
    assert crests["valve"] > 1.5 * crests["slider"] > 1.5 * crests["fan"]


@pytest.mark.parametrize("machine_type", MACHINE_TYPES)
def test_machines_of_a_type_differ_more_between_than_within(machine_type: str) -> None:
    plan = FleetPlan(machines=6, nights=4, snr_db=6, seed=2, types=(machine_type,), fault_fraction=0)
    spectra = np.array(
        [[_log_spectrum(render_recording(plan, machine, night, 0)) for night in range(4)] for machine in range(6)]
    )
    centres = spectra.mean(axis=1)
    within = np.sqrt(np.mean((spectra - centres[:, None]) ** 2))
    distances = np.sqrt(np.mean((centres[:, None] - centres[None]) ** 2, axis=-1))
    between = distances[~np.eye(6, dtype=bool)].min()
    assert between > 1.5 * within


def _log_spectrum(samples: np.ndarray) -> np.ndarray:
    _, power = signal.welch(samples.astype(np.float64), RATE_HZ, nperseg=512)
    return 10 * np.log10(power)


def test_speed_varies_from_night_to_night_but_little() -> None:
    plan = FleetPlan(machines=1, nights=20, snr_db=30, seed=4, types=("fan",), fault_fraction=0)
    machine = machine_of(plan, 0)
    blade_pass_hz = machine.blades * machine.speed_hz
    found_hz = []
    for night in range(20):
        samples = render_recording(plan, 0, night, 0)
        power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 4 * len(samples)))
        frequencies_hz = np.fft.rfftfreq(4 * len(samples), 1 / RATE_HZ)
        near = np.abs(frequencies_hz / blade_pass_hz - 1) < 0.03
        found_hz.append(frequencies_hz[near][power[near].argmax()])
    ratios = np.array(found_hz) / blade_pass_hz
    assert 0.001 < ratios.std() < 0.01
    assert np.abs(ratios - 1).max() < 0.02


def test_jitter_within_a_night_and_drift_between_nights() -> None:
    machine = draw_machine("pump", np.random.default_rng(0))
    for quantity in ("speed", "load", "tilt_db_per_octave"):
        values = np.array(
            [
                [getattr(draw_variation(machine, night, np.random.default_rng(seed)), quantity) for seed in range(40)]
                for night in range(9)
            ]
        )
        assert values.std(axis=1).min() > 0
        # one set of seeds every night: what is left between the nights is the drift
        assert np.ptp(values.mean(axis=1)) > 0.5 * values.std(axis=1).mean()


def test_a_machine_does_not_depend_on_the_size_of_the_fleet() -> None:
    small = FleetPlan(machines=8, nights=2, snr_db=0, seed=9, fault_fraction=0)
    large = FleetPlan(machines=80, nights=5, snr_db=0, seed=9, fault_fraction=0)
    np.testing.assert_array_equal(render_recording(small, 5, 1, 2), render_recording(large, 5, 1, 2))


def test_seeds_of_different_purposes_do_not_meet() -> None:
    plan = FleetPlan(machines=2, nights=1, snr_db=0, seed=0)
    keys = [(stream, *key) for stream in Stream for key in ((), (0,), (1,), (0, 0), (0, 1), (1, 0, 0))]
    first = {int(generator(plan, *key).integers(1 << 62)) for key in keys}
    assert len(first) == len(keys)
