"""The search of the default preset hears training normals and nothing else."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from recordings import tone, wav, write_zip

SEARCH = Path(__file__).parents[3] / "benchmarks" / "search.py"


@pytest.fixture(scope="module")
def search():
    spec = importlib.util.spec_from_file_location("search", SEARCH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["search"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def normals(count=12):
    """Training recordings, the last two of the target domain."""
    return {
        f"ToyCar/train/section_00_{'target' if index >= count - 2 else 'source'}_train_normal_{index:04d}_x_1.wav": wav(
            tone(index, duration_s=2.2)
        )
        for index in range(count)
    }


def test_with_the_test_files_removed_it_makes_the_same_choice(search, tmp_path, monkeypatch):
    """The whole archive's test files, and what is abnormal among the training files, cannot even be decoded."""
    tests = {
        f"ToyCar/test/section_00_source_test_{label}_{index:04d}_x_1.wav": b"not read"
        for label in ("normal", "anomaly")
        for index in range(3)
    }
    strange = {"ToyCar/train/section_00_source_train_anomaly_0099_x_1.wav": b"not read"}
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    whole = write_zip(tmp_path / "a" / "dev_ToyCar.zip", {**normals(), **tests, **strange})
    stripped = write_zip(tmp_path / "b" / "dev_ToyCar.zip", normals())
    monkeypatch.setattr(search, "REPRESENTATIONS", (search.LOGMEL,))
    monkeypatch.setattr(search, "FUSIONS", ())
    monkeypatch.setattr(search, "DETECTORS", {"knn 16": search.DETECTORS["knn 16"]})
    criteria = []
    for archive in (whole, stripped):
        (machine,) = search.from_archives([str(archive)])
        assert len(machine.signals) == 12
        assert machine.target.sum() == 2
        criteria.append(dict(search.machine_criteria(machine, "max")))
    assert criteria[0] == criteria[1]


def test_folds_deal_each_domain_evenly(search):
    target = np.arange(60) >= 50
    folds = [search.held_out(target, fold) for fold in range(search.FOLDS)]
    assert np.array_equal(np.sum(folds, axis=0), np.ones(60))
    assert [int((fold & target).sum()) for fold in folds] == [2] * 5


def test_the_first_of_equally_good_settings_is_chosen(search):
    table = pd.DataFrame({"a": [0.5, 0.697, 0.70], "b": [0.5, 0.70, 0.70]}, index=["cheap", "good", "dear"])
    assert search.choose(table) == "good"
