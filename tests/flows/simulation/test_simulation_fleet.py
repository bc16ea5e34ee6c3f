from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from humwatch.flows.simulation import FleetPlan, render_components, render_recording
from humwatch.flows.simulation.fleet_plan import Status, planned_faults, severity, statuses
from humwatch.storage.errors import BadConfiguration

PLAN = FleetPlan(machines=20, nights=8, snr_db=6, seed=1, duration_s=1.0)


def _rms_db(samples: np.ndarray) -> float:
    return 10 * np.log10(np.mean(samples.astype(np.float64) ** 2))


def test_the_fraction_of_machines_with_faults_is_exact_and_spread_over_the_types() -> None:
    assert Counter(PLAN.machine_type(index) for index in planned_faults(PLAN)) == dict.fromkeys(PLAN.types, 1)
    assert len(planned_faults(replace(PLAN, fault_fraction=0.5))) == 10
    assert len(planned_faults(replace(PLAN, fault_fraction=1.0))) == 20
    assert not planned_faults(replace(PLAN, fault_fraction=0.0))


def test_other_seeds_choose_other_machines() -> None:
    assert len({tuple(planned_faults(replace(PLAN, seed=seed))) for seed in range(8)}) > 4


@pytest.mark.parametrize(("commissioning", "first"), [(None, 4), (0, 0), (6, 6)])
def test_faults_begin_after_commissioning_and_grow_in_equal_steps(commissioning: int | None, first: int) -> None:
    plan = replace(PLAN, commissioning_nights=commissioning, fault_fraction=1.0, fault_size=0.3)
    for index, planned in planned_faults(plan).items():
        sizes = np.array([severity(plan, index, night) for night in range(plan.nights)])
        assert first <= planned.onset_night < plan.nights
        assert not sizes[: planned.onset_night].any()
        assert sizes[-1] == pytest.approx(0.3)
        steps = np.diff(sizes[planned.onset_night :], prepend=0)
        np.testing.assert_allclose(steps, 0.3 / (plan.nights - planned.onset_night))


def test_no_fault_without_a_night_for_it() -> None:
    assert not planned_faults(replace(PLAN, nights=1))
    assert not planned_faults(replace(PLAN, commissioning_nights=8))


@pytest.mark.parametrize("snr_db", [-6.0, 0.0, 7.5])
def test_snr_is_as_asked_with_and_without_a_fault(snr_db: float) -> None:
    plan = replace(PLAN, snr_db=snr_db)
    for machine in (*range(4), *planned_faults(plan)):
        parts = render_components(plan, machine, 7, 0)
        assert _rms_db(parts.machine) - _rms_db(parts.background) == pytest.approx(snr_db, abs=0.2)
        mixed = np.clip(parts.machine + parts.fault + parts.background, -1, 1)
        np.testing.assert_array_equal(render_recording(plan, machine, 7, 0), mixed)


def test_the_snr_changes_the_noise_and_nothing_else() -> None:
    quiet, loud = (render_components(replace(PLAN, snr_db=snr_db), 2, 3, 1) for snr_db in (20, -20))
    assert np.corrcoef(quiet.machine, loud.machine)[0, 1] == pytest.approx(1, abs=1e-6)
    assert np.corrcoef(quiet.background, loud.background)[0, 1] == pytest.approx(1, abs=1e-6)
    assert _rms_db(quiet.mix()) == pytest.approx(_rms_db(loud.mix()), abs=0.5)


def test_recordings_share_neither_machine_sound_nor_background() -> None:
    first, second = render_components(PLAN, 0, 0, 0), render_components(PLAN, 0, 0, 1)
    for one, other in ((first.background, second.background), (first.machine, second.machine)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.5
        assert not np.array_equal(one, other)


def test_fault_energy_grows_with_the_nights() -> None:
    plan = replace(PLAN, nights=12, fault_fraction=1.0, machines=4, types=("fan",))
    for index, planned in planned_faults(plan).items():
        ratios = []
        for night in range(12):
            parts = render_components(plan, index, night, 0)
            ratios.append(np.sqrt(np.mean(parts.fault**2) / np.mean(parts.machine**2)))
        assert not any(ratios[: planned.onset_night])
        grown = ratios[planned.onset_night :]
        assert (np.diff(grown) > 0).all()
        assert grown[-1] == pytest.approx(plan.fault_size, rel=1e-3)


def test_a_fault_leaves_the_sound_under_it_as_it_is() -> None:
    healthy = replace(PLAN, fault_fraction=0.0)
    for index in planned_faults(PLAN):
        with_fault, without = render_components(PLAN, index, 7, 0), render_components(healthy, index, 7, 0)
        np.testing.assert_array_equal(with_fault.machine, without.machine)
        np.testing.assert_array_equal(with_fault.background, without.background)
        assert with_fault.fault.any()
        assert not without.fault.any()


def test_nothing_clips_at_defaults() -> None:
    plan = replace(PLAN, snr_db=12, duration_s=2.0)
    assert max(np.abs(render_recording(plan, machine, 7, 0)).max() for machine in range(20)) < 1


def test_losses_come_at_their_rates() -> None:
    plan = FleetPlan(machines=60, nights=25, snr_db=0, seed=3, dropout_rate=0.1, broken_rate=0.2)
    nights = [statuses(plan, machine, night) for machine in range(60) for night in range(25)]
    missing = [night for night in nights if Status.MISSING in night]
    assert all(set(night) == {Status.MISSING} for night in missing)
    assert len(missing) / len(nights) == pytest.approx(0.1, abs=0.03)
    counts = Counter(status for night in nights for status in night if status is not Status.MISSING)
    total = counts.total()
    assert counts[Status.TRUNCATED] / total == pytest.approx(0.1, abs=0.02)
    assert counts[Status.SILENT] / total == pytest.approx(0.1, abs=0.02)


def test_names_and_times() -> None:
    assert [PLAN.machine_id(index) for index in (0, 3, 4, 19)] == ["id_00", "id_00", "id_01", "id_04"]
    assert replace(PLAN, machines=404).machine_id(403) == "id_100"
    assert replace(PLAN, machines=400).machine_id(0) == "id_00"
    assert PLAN.recorded_at(0, 0) == datetime(2026, 1, 1, tzinfo=UTC)
    assert PLAN.recorded_at(31, 3) == datetime(2026, 2, 1, 4, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "wrong",
    [
        {"machines": 0},
        {"nights": 0},
        {"seed": -1},
        {"snr_db": float("nan")},
        {"duration_s": 0.0},
        {"sample_rate_hz": 8000},
        {"types": ("fan", "fan")},
        {"types": ("toaster",)},
        {"types": ()},
        {"fault_fraction": 1.5},
        {"dropout_rate": -0.1},
        {"fault_size": 0.0},
        {"commissioning_nights": -1},
        {"recordings_per_night": 3601},
    ],
)
def test_nonsense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BadConfiguration, match=next(iter(wrong))):
        replace(PLAN, **wrong)


def test_a_plan_pickles() -> None:
    assert pickle.loads(pickle.dumps(PLAN)) == PLAN
