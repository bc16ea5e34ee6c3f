"""A simulated fleet through its nights: commissioning, scoring, silence, late arrivals, backfill, retraining."""

import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import FAKE, modification_times, run_humwatch, sorted_scores

from tasks.simulation import FleetPlan, simulate

FLEET = (
    *FAKE,
    "--set",
    "fit.commissioning_nights=3",
    "--set",
    "fit.min_training_recordings=8",
    "--set",
    "fit.false_alarm_rate=0.2",
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fleet") / "nights"
    plan = FleetPlan(
        machines=4, nights=5, snr_db=6.0, seed=1, first_night=date(2026, 1, 1), types=("fan", "pump"),
        duration_s=3.0, fault_fraction=0.0, dropout_rate=0.0, broken_rate=0.0,
    )  # fmt: skip
    simulate(plan, folder, workers=1)
    return folder


@pytest.fixture(scope="module")
def filled(sources, tmp_path_factory):
    """Five nights, backfilled oldest first; the second pump was not heard on the last one."""
    folder = tmp_path_factory.mktemp("heard") / "nights"
    shutil.copytree(sources, folder)
    (folder / "2026-01-05" / "pump.zip").unlink()
    lake = tmp_path_factory.mktemp("lake")
    ran = run_humwatch("backfill", folder, "--lake", lake, "--from", "2026-01-01", "--to", "2026-01-05", *FLEET)
    assert ran.status == 0, ran.stderr
    return lake, folder, ran


@pytest.fixture
def lake(filled, tmp_path):
    return Path(shutil.copytree(filled[0], tmp_path / "lake"))


def test_each_night_is_decoded_and_scored_once(filled):
    summary = filled[2].summary
    nights = pd.DataFrame(summary["nights"]).set_index("night")
    assert list(nights.index) == [f"2026-01-0{day}" for day in range(1, 6)]
    assert nights["recordings_decoded"].tolist() == [16, 16, 16, 16, 8]
    # No machine has a model before the third night; then its whole commissioning window is over.
    assert nights["models_fitted"].tolist() == [0, 0, 4, 0, 0]
    assert nights["recordings_scored"].tolist() == [0, 0, 16, 16, 8]


def test_repeating_a_backfill_recomputes_and_doubles_nothing(filled):
    lake, folder, _ = filled
    before, scores = modification_times(lake), sorted_scores(lake)
    ran = run_humwatch("backfill", folder, "--lake", lake, "--from", "2026-01-03", "--to", "2026-01-05", *FLEET)
    assert ran.status == 0, ran.stderr
    work = ("recordings_decoded", "windows_embedded", "models_fitted", "recordings_scored")
    assert [ran.summary[name] for name in work] == [0, 0, 0, 0]
    assert sorted_scores(lake) == scores
    derived = {path: time for path, time in before.items() if not path.startswith("reports/latest")}
    assert derived.items() <= modification_times(lake).items()


def test_a_machine_that_sent_nothing_is_silent_and_not_forgotten(lake, filled):
    ran = run_humwatch("nightly", "--lake", lake, "--date", "2026-01-05", *FLEET)
    assert ran.status == 0, ran.stderr
    assert ran.summary["silent"] == ["pump id_00", "pump id_01"]
    page = Path(ran.summary["report"]).read_text()
    assert "silent: it sent nothing" in page
    assert set(ran.table("scores")["machine_type"]) == {"fan"}


def test_late_arrivals_are_found_and_scored_by_the_standing_models(lake, filled, sources):
    ran = run_humwatch("nightly", sources, "--lake", lake, *FLEET)
    assert ran.status == 0, ran.stderr
    assert ran.summary["recordings_decoded"] >= 8
    assert ran.summary["models_fitted"] == 0
    assert ran.summary["night"] == "2026-01-05"
    assert "silent" not in ran.summary


def test_a_dry_run_says_what_there_is_and_does_nothing(lake):
    before = modification_times(lake)
    ran = run_humwatch("backfill", "--lake", lake, "--from", "2026-01-04", "--to", "2026-01-06", "--dry-run", *FLEET)
    assert ran.status == 0, ran.stderr
    assert ran.summary["nights"] == [
        {"night": "2026-01-04", "recordings": 16, "pending": 0},
        {"night": "2026-01-05", "recordings": 8, "pending": 0},
        {"night": "2026-01-06", "recordings": 0, "pending": 0},
    ]
    assert modification_times(lake) == before


def test_the_passport_says_that_normality_was_assumed(filled):
    import json

    passports = [json.loads(path.read_text()) for path in filled[0].glob("models/**/passport.json")]
    assert len(passports) == 4
    assert {passport["training"] for passport in passports} == {"assumed_normal"}
    assert all(len(passport["training_recordings"]) == 12 for passport in passports)


def test_retraining_passes_the_gate_and_can_be_rolled_back(lake):
    gate = ("--set", "retrain.gate_nights=1", "--set", "retrain.min_gate_recordings=4")
    ran = run_humwatch("retrain", "--lake", lake, "--machines", "fan/*", *FLEET, *gate)
    assert ran.status == 0, ran.stderr
    decided = pd.DataFrame(ran.summary["retrained"]).set_index("machine")
    assert list(decided.index) == ["fan id_00", "fan id_01"]
    assert (decided["recordings"] == 4).all()
    accepted = decided.index[decided["accepted"]]
    for machine, row in decided.iterrows():
        pointer = next(lake.glob(f"models/*/{machine.replace(' ', '/')}/current.json")).read_text()
        assert (row["version"] in pointer) == row["accepted"]
    back = run_humwatch("rollback", "--lake", lake, "--machines", "fan/*", *FLEET)
    assert back.status == 0, back.stderr
    assert back.summary.get("rolled_back", []) == list(accepted)


def test_retraining_with_too_few_recordings_keeps_the_old_model_and_says_why(lake):
    before = {path: path.read_text() for path in lake.glob("models/**/current.json")}
    ran = run_humwatch("retrain", "--lake", lake, *FLEET, "--set", "retrain.gate_nights=1")
    assert ran.status == 0, ran.stderr
    assert not any(outcome["accepted"] for outcome in ran.summary["retrained"])
    assert {path: path.read_text() for path in lake.glob("models/**/current.json")} == before
    night = run_humwatch("nightly", "--lake", lake, "--date", "2026-01-04", *FLEET)
    assert "a new model was refused on" in Path(night.summary["report"]).read_text()


def test_p_values_of_later_nights_are_spread_over_the_unit_interval(filled):
    scores = pd.concat(pd.read_parquet(path) for path in filled[0].glob("scores/**/*.parquet"))
    later = scores[scores["batch"] >= "2026-01-04"]
    assert later["p_value"].between(0, 1, inclusive="right").all()
    assert np.unique(later["p_value"]).size > 3
