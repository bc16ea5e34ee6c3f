"""The search of the default preset hears training normals and nothing else."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from recordings import tone, wav, write_zip

from humwatch.flows.presets import load
from humwatch.tasks.detectors.calibration import make_folds
from humwatch.tasks.detectors.machine_model import fit_machine_model
from humwatch.tasks.settings import FitSettings, SpectrogramSettings

SEARCH = Path(__file__).parents[3] / "benchmarks" / "search.py"


@pytest.fixture(scope="module")
def search():
    spec = importlib.util.spec_from_file_location("search", SEARCH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["search"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def train(domain, label, index):
    name = f"ToyCar/train/section_00_{domain}_train_{label}_{index:04d}_car_A_spd_1V.wav"
    return {name: wav(tone(index, duration_s=2.2))}


def normals():
    """Training recordings, the last three of the target domain."""
    members = {}
    for index in range(15):
        members |= train("target" if index >= 12 else "source", "normal", index)
    return members


def test_with_the_test_files_removed_it_makes_the_same_choice(search, tmp_path, monkeypatch):
    """The whole archive's test files, and what is abnormal among the training files, cannot even be decoded."""
    tests = {
        f"ToyCar/test/section_00_source_test_{label}_{index:04d}_car_A_spd_1V.wav": b"not read"
        for label in ("normal", "anomaly")
        for index in range(3)
    }
    strange = dict.fromkeys(train("source", "anomaly", 99), b"not read")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    whole = write_zip(tmp_path / "a" / "dev_ToyCar.zip", {**normals(), **tests, **strange})
    stripped = write_zip(tmp_path / "b" / "dev_ToyCar.zip", normals())
    monkeypatch.setattr(search, "VIEWS", {"full_scale": search.VIEWS["full_scale"]})  # else the old default is, too
    monkeypatch.setattr(search, "REPRESENTATIONS", (search.LOGMEL,))
    monkeypatch.setattr(search, "FUSIONS", ())
    monkeypatch.setattr(search, "DETECTORS", {"knn 64": search.DETECTORS["knn 64"]})
    criteria = []
    for archive in (whole, stripped):
        (machine,) = search.from_archives([str(archive)])
        assert len(machine.signals) == 15
        assert len(machine.rounds) == 3
        criteria.append(search.machine_criteria(machine))
    assert criteria[0] == criteria[1]
    assert len(criteria[0]) == 1


def test_the_default_preset_is_the_choice_of_the_whole_grid(search):
    criteria = pd.read_csv(SEARCH.with_suffix(".csv"), index_col="setting")["criterion"]
    assert sorted(criteria.index) == sorted(search.order())
    assert criteria.notna().all()
    view, backbone, detector = criteria.idxmax().split(" | ")
    default = load("default")
    assert default.features.backbones == (backbone,)
    assert default.spectrogram == SpectrogramSettings(**search.VIEWS[view])
    assert default.fit == FitSettings(**search.DETECTORS[detector])


def test_every_target_recording_is_held_out_once_and_nothing_tested_is_trained_on(search):
    is_target = np.arange(60) >= 50
    rounds = search.one_target_out(is_target)
    for each in rounds:
        assert sorted([*each.train, *each.source, *each.target]) == list(range(60))
        assert is_target[each.target].all()
        assert not is_target[each.source].any()
    assert [len(each.source) for each in rounds] == [5] * 10
    assert sorted(np.concatenate([each.target for each in rounds])) == list(range(50, 60))


def test_a_criterion_is_the_harmonic_mean_of_both_domains_and_the_partial_area(search):
    rounds = [search.Round(np.array([0]), np.array([1, 2]), np.array([3, 4]))]
    machine = search.Normals("m", [np.zeros(1)] * 5, rounds)
    # source normals below all twins, target normals above all: areas 1 and 0.5 where one of two is above
    scores = np.array([9, 0, 0, 0, 5, 9, 3, 3, 3, 3], dtype=float)
    found = search.criterion(machine, [scores])
    partial = search.pauc(scores[[1, 2, 3, 4]], scores[[6, 7, 8, 9]], 0.1)
    assert found == pytest.approx(3 / (1 / 1.0 + 1 / 0.5 + 1 / partial))


def test_real_machines_count_as_much_as_all_simulated_ones(search):
    table = pd.DataFrame({"ToyCar": [0.8, 0.7], "simulated a": [0.5, 0.6], "simulated b": [0.5, 0.7]}, ["x", "y"])
    assert search.weighed(table).to_dict() == pytest.approx({"x": 0.65, "y": 0.675})
    assert search.weighed(table[["simulated a"]]).to_dict() == {"x": 0.5, "y": 0.6}


@pytest.mark.parametrize("fusion", ["zscore", "rank"])
def test_a_fusion_is_scored_as_a_fitted_machine_scores_it(search, fusion):
    rng = np.random.default_rng(0)
    values = [rng.normal(size=(24, 1, features)).astype(np.float32) for features in (6, 9)]
    normals = search.Normals("m", [np.zeros(1)] * 12, [search.Round(np.arange(9), np.array([9, 10]), np.array([11]))])
    fit = FitSettings(detectors=("knn",), pca_components=4, knn_local=2, fusion=fusion)
    parts = [search.round_scores(normals, each, fit)[0] for each in values]
    folds = make_folds([None] * 9, 5, 0)
    fitted = fit_machine_model("knn", [each[:9] for each in values], fit, 0, folds).model
    np.testing.assert_allclose(search.fuse(parts, fusion), fitted.recording_scores(values), rtol=1e-9)
