"""Real recordings: the bundled ones with real weights, and the larger archives where a developer has them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import FAKE, run_humwatch

from humwatch.flows.presets import load
from humwatch.tasks.detectors.calibration import make_folds, p_values
from humwatch.tasks.detectors.machine_model import fit_machine_model
from humwatch.tasks.features.gather import gather
from humwatch.tasks.plan.run import Run

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
ARCHIVES = ("dcase2023_ToyCar.zip", "mimii_fan.zip", "dcase2020_samples.zip", "bldc_motor.zip")


def test_the_demo_prints_its_table_and_the_path_of_a_report(tmp_path):
    ran = run_humwatch("demo", "--lake", tmp_path, as_json=False)
    assert ran.status == 0, ran.stderr
    assert "features: " in ran.stderr, "no progress"
    assert "AUC by machine" in ran.stdout
    rows = [line for line in ran.stdout.splitlines() if "logmel" in line]
    assert sum("bldc" in row for row in rows) == 2
    assert sum("ToyCar" in row for row in rows) == 3
    report = Path(ran.stdout.strip().splitlines()[-1].removeprefix("report: "))
    assert report.is_file()
    auc = pd.read_csv(report.parent / "auc.csv").set_index(["machine_type", "machine_id", "domain"])
    assert auc.loc[("ToyCar", "section_00", "all"), ["n_train", "n_normal", "n_abnormal"]].tolist() == [12, 4, 4]
    assert auc.loc[("bldc", "M1", "all"), ["n_train", "n_normal", "n_abnormal"]].tolist() == [3, 3, 3]
    # A loud fault that any working chain finds, whatever the backbone.
    assert auc.loc[("bldc", "M1", "all"), "auc"] > 0.9
    # Few recordings, and each machine says so, but for the one with 8 to compare.
    few = auc["reason"].notna()
    assert auc["reason"][few].str.startswith("too few to say").all()
    assert not few.loc[("ToyCar", "section_00", "all")]


@pytest.mark.skipif(not all((SHARED / name).exists() for name in ARCHIVES), reason="the shared archives are not here")
def test_four_archives_in_one_lake_have_the_counts_of_their_publications(tmp_path):
    ran = run_humwatch("run", *(SHARED / name for name in ARCHIVES), "--lake", tmp_path, *FAKE)
    assert ran.status == 0, ran.stderr
    summary = ran.summary
    assert (summary["listed"], summary["accepted"], summary["rejected"]) == (507, 507, 0)
    auc = ran.table("auc").set_index(["machine_type", "machine_id", "domain"])
    counts = {
        key: tuple(row)
        for key, row in zip(auc.index, auc[["n_train", "n_normal", "n_abnormal"]].to_numpy(), strict=True)
    }
    assert counts[("ToyCar", "section_00", "all")] == (310, 50, 50)
    assert counts[("ToyCar", "section_00", "source")] == (300, 25, 50)
    assert counts[("ToyCar", "section_00", "target")] == (10, 25, 50)
    assert counts[("fan", "id_00", "all")] == (5, 5, 8)
    for machine in (
        ("fan", "id_06"),
        ("pump", "id_04"),
        ("slider", "id_00"),
        ("valve", "id_02"),
        ("ToyCar", "id_04"),
        ("ToyConveyor", "id_01"),
    ):
        assert counts[(*machine, "all")] == (2, 1, 3)
    assert counts[("bldc", "M1", "all")] == (4, 4, 6)
    assert counts[("bldc", "M2", "all")] == (4, 4, 8)
    assert counts[("bldc", "M3", "all")] == (6, 0, 0)
    assert counts[("bldc", "M4", "all")] == (0, 0, 7)
    assert len(counts) == 14
    undefined = auc[auc["auc"].isna()]
    assert sorted(undefined.index.get_level_values("machine_id")) == ["M3", "M4"]
    assert undefined["reason"].notna().all()
    health = pd.concat(pd.read_parquet(path) for path in tmp_path.glob("health/*/machine_type=bldc/**/*.parquet"))
    assert health["resampled"].sum() == 1
    assert set(health.loc[health["resampled"], "sample_rate_hz"]) == {44_100}


@pytest.mark.skipif(not (SHARED / ARCHIVES[0]).exists(), reason="the shared archives are not here")
def test_new_normal_recordings_of_few_have_p_values_that_are_uniform_or_larger(tmp_path):
    """Subsets of ToyCar's 360 normal recordings train, 100 others are new: 10 draws of each size."""
    ran = run_humwatch("run", SHARED / ARCHIVES[0], "--lake", tmp_path, "--preset", "fast")
    assert ran.status == 0, ran.stderr
    run = Run(str(tmp_path), load("fast"))
    accepted = run.catalog().accepted
    normal, (representation,) = accepted[accepted["label"] == "normal"], run.representations
    features = gather(run.lake, run.catalog().parts, normal, representation, run.embedding)
    for count in (20, 40, 66):
        p = []
        for seed in range(10):
            order = np.random.default_rng((seed, count)).permutation(len(features))
            training, new = features[order[:count]], features[order[count : count + 100]]
            folds = make_folds([None] * count, 5, seed)
            fitted = fit_machine_model("knn", [training], run.settings.fit, 0, folds)
            p.append(p_values(fitted.model.recording_scores([new]), fitted.calibration_scores))
        assert np.mean(p) > 0.45
        assert np.mean(np.array(p) <= 0.05) < 0.075
        assert np.mean(np.array(p) <= 0.2) < 0.25
