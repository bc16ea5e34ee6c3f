"""A simulated fleet through its nights: commissioning, scoring, silence, late arrivals, backfill, retraining."""

import shutil
from datetime import date

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
    derived = {path: time for path, time in before.items() if not path.startswith(("reports/latest", "reports/index"))}
    assert derived.items() <= modification_times(lake).items()
