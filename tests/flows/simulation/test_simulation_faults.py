from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from humwatch.flows.simulation import Fault, add_fault
from humwatch.flows.simulation.faults import FAULTS_OF, FaultKind, draw_fault
from humwatch.flows.simulation.machine_types import MACHINE_TYPES, draw_machine
from humwatch.flows.simulation.machines import Variation, render_machine
from humwatch.flows.simulation.signals import rms

RATE_HZ = 16_000
ALL_PAIRS = [(machine_type, kind) for machine_type, kinds in FAULTS_OF.items() for kind in kinds]
ADDED = [kind for kind in FaultKind if not kind.value.endswith("click")]


def _noise(n_samples: int = 64_000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.05, size=n_samples).astype(np.float32)


def _share_in_band(samples: np.ndarray, fault: Fault) -> float:
    power = np.abs(np.fft.rfft(samples.astype(np.float64) * np.hanning(len(samples)))) ** 2
    frequencies_hz = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
    return power[(frequencies_hz >= fault.low_hz) & (frequencies_hz <= fault.high_hz)].sum() / power.sum()


def test_every_type_has_faults() -> None:
    assert set(FAULTS_OF) == set(MACHINE_TYPES)
    assert {kind for kinds in FAULTS_OF.values() for kind in kinds} == set(FaultKind)


@pytest.mark.parametrize(("machine_type", "kind"), ALL_PAIRS)
def test_what_a_fault_changes_lies_in_its_band(machine_type: str, kind: FaultKind) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        machine = draw_machine(machine_type, rng)
        fault = draw_fault(machine, kind, rng)
        normal = render_machine(machine, Variation(1.0, 1.0, 0.0), 64_000, RATE_HZ, rng)
        faulty = add_fault(normal, fault, 0.5, rng)
        assert 0 < fault.low_hz < fault.high_hz < RATE_HZ / 2
        assert faulty.dtype == np.float32
        assert _share_in_band(faulty - normal, fault) > 0.98


@pytest.mark.parametrize("kind", ADDED)
def test_severity_is_the_rms_ratio(kind: FaultKind) -> None:
    normal = _noise()
    fault = Fault(kind, 1000.0, 1600.0, 40.0)
    for severity in (0.05, 0.5, 2.0):
        added = add_fault(normal, fault, severity, np.random.default_rng(1)) - normal
        assert rms(added) / rms(normal) == pytest.approx(severity, rel=1e-3)


@pytest.mark.parametrize("kind", list(FaultKind))
def test_severity_0_changes_nothing_and_the_input_is_never_touched(kind: FaultKind) -> None:
    normal = _noise()
    before = normal.copy()
    fault = Fault(kind, 1000.0, 1600.0, 10.0)
    np.testing.assert_array_equal(add_fault(normal, fault, 0.0, np.random.default_rng(1)), before)
    faulty = add_fault(normal, fault, 1.0, np.random.default_rng(1))
    assert not np.array_equal(faulty, before)
    np.testing.assert_array_equal(normal, before)
    np.testing.assert_array_equal(faulty, add_fault(normal, fault, 1.0, np.random.default_rng(1)))


def test_a_bearing_beats_at_its_rate() -> None:
    fault = Fault(FaultKind.BEARING, 3000.0, 4500.0, 90.0)
    normal = _noise()
    added = add_fault(normal, fault, 1.0, np.random.default_rng(2)) - normal
    envelope = np.abs(signal.hilbert(added))
    spectrum = np.abs(np.fft.rfft(envelope - envelope.mean()))
    frequencies_hz = np.fft.rfftfreq(len(envelope), 1 / RATE_HZ)
    low = frequencies_hz < 130
    assert frequencies_hz[low][spectrum[low].argmax()] == pytest.approx(90, rel=0.02)


def test_imbalance_is_two_sidebands_one_turn_from_the_carrier() -> None:
    fault = Fault(FaultKind.IMBALANCE, 155.0, 245.0, 30.0)
    normal = _noise()
    added = add_fault(normal, fault, 1.0, np.random.default_rng(2)) - normal
    power = np.abs(np.fft.rfft(added)) ** 2
    strongest = np.sort(np.fft.rfftfreq(len(added), 1 / RATE_HZ)[np.argsort(power)[-2:]])
    np.testing.assert_allclose(strongest, [170, 230], atol=0.5)


def test_looseness_rattles_with_higher_crests_than_a_leak() -> None:
    normal = _noise()
    crests = {}
    for kind in (FaultKind.LOOSENESS, FaultKind.LEAK):
        added = add_fault(normal, Fault(kind, 200.0, 900.0, 12.0), 1.0, np.random.default_rng(3)) - normal
        crests[kind] = np.abs(added).max() / rms(added)
    assert crests[FaultKind.LOOSENESS] > 1.5 * crests[FaultKind.LEAK]


def _clicks(period_samples: int = 8000, count: int = 8) -> np.ndarray:
    time_s = np.arange(400) / RATE_HZ
    click = np.exp(-time_s * 200) * np.sin(2 * np.pi * 2000 * time_s)
    samples = np.zeros(period_samples * count, np.float32)
    for start in range(period_samples // 2, len(samples), period_samples):
        samples[start : start + 400] = click
    return samples


def _click_starts(samples: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.abs(samples).reshape(-1, 400).max(axis=1) > 0.4) * 400


@pytest.mark.parametrize(("severity", "lost"), [(0.25, {2, 3}), (0.5, {4, 5}), (1.0, {8}), (3.0, {8})])
def test_missing_clicks_are_missing(severity: float, lost: set[int]) -> None:
    # 8 s cut at a random phase touch 9 cycles, of which this share loses its click
    fault = Fault(FaultKind.MISSING_CLICK, 500.0, 4000.0, 2.0)
    left = _click_starts(add_fault(_clicks(), fault, severity, np.random.default_rng(4)))
    assert 8 - len(left) in lost


def test_late_clicks_come_0_4_cycles_late() -> None:
    fault = Fault(FaultKind.LATE_CLICK, 500.0, 4000.0, 2.0)
    starts = _click_starts(add_fault(_clicks(), fault, 0.5, np.random.default_rng(5)))
    offsets = starts % 8000
    assert set(offsets.tolist()) == {4000, (4000 + 3200) % 8000}
    assert len(starts) == 8


@pytest.mark.parametrize(
    ("low_hz", "high_hz", "severity", "n_samples"),
    [(1000, 900, 0.5, 16_000), (1000, 9000, 0.5, 16_000), (1000, 1200, -0.1, 16_000), (1000, 1200, 0.5, 100)],
)
def test_nonsense_is_refused(low_hz: float, high_hz: float, severity: float, n_samples: int) -> None:
    fault = Fault(FaultKind.LEAK, low_hz, high_hz, 0.0)
    with pytest.raises(ValueError, match=r"out of range|cannot hold"):
        add_fault(_noise(n_samples), fault, severity, np.random.default_rng(0))
