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


def train(domain, label, index, car):
    name = f"ToyCar/train/section_00_{domain}_train_{label}_{index:04d}_car_{car}_spd_{index % 3}V.wav"
    return {name: wav(tone(index, duration_s=2.2))}


def normals():
    """Training recordings of two cars, and two of the target domain."""
    members = {}
    for index in range(24):
        members |= train("source", "normal", index, "AB"[index % 2])
    return members | train("target", "normal", 30, "C") | train("target", "normal", 31, "C")


def test_with_the_test_files_removed_it_makes_the_same_choice(search, tmp_path, monkeypatch):
    """The whole archive's test files, and what is abnormal among the training files, cannot even be decoded."""
    tests = {
        f"ToyCar/test/section_00_source_test_{label}_{index:04d}_car_A_spd_1V.wav": b"not read"
        for label in ("normal", "anomaly")
        for index in range(3)
    }
    strange = dict.fromkeys(train("source", "anomaly", 99, "A"), b"not read")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    whole = write_zip(tmp_path / "a" / "dev_ToyCar.zip", {**normals(), **tests, **strange})
    stripped = write_zip(tmp_path / "b" / "dev_ToyCar.zip", normals())
    monkeypatch.setattr(search, "REFERENCES", ("full_scale",))  # else the default preset is fitted too
    monkeypatch.setattr(search, "REPRESENTATIONS", (search.LOGMEL,))
    monkeypatch.setattr(search, "FUSIONS", ())
    monkeypatch.setattr(search, "DETECTORS", {"knn 16": search.DETECTORS["knn 16"]})
    criteria = []
    for archive in (whole, stripped):
        (machine,) = search.from_archives([str(archive)])
        assert len(machine.signals) == 2 * 24
        criteria.append(search.machine_criteria(machine))
    assert criteria[0] == criteria[1]
    assert len(criteria[0]) == 1


def test_each_condition_is_once_the_target_and_nothing_tested_is_trained_on(search):
    signals = [np.float32(index + 1) * np.ones(8000, np.float32) for index in range(30)]
    conditions = np.array(["A", "B"] * 15)
    machine = search.shifted("m", signals, conditions, 16_000)
    assert len(machine.signals) == 60
    for each, target in zip(machine.rounds, ("A", "B"), strict=True):
        assert not set(each.train) & {*each.source, *each.target}
        assert set(conditions[each.source]) == {"AB".replace(target, "")}
        assert set(conditions[each.target - 30]) == {target}
        assert sum(each.train >= 30) == search.FEW
        assert len(each.train) + len(each.source) + len(each.target) == 30
    assert not any(np.array_equal(*pair) for pair in zip(machine.signals[:30], machine.signals[30:], strict=True))


def test_an_equaliser_changes_the_octave_it_names(search):
    gains_db = np.zeros(9)
    gains_db[-2] = 6.0  # 4 kHz
    for frequency_hz, gain in ((4000, 2.0), (500, 1.0)):
        signal = np.sin(2 * np.pi * frequency_hz * np.arange(16_000) / 16_000).astype(np.float32)
        heard = search.equalised(signal, gains_db, 16_000)[4000:12_000]
        assert heard.std() / signal.std() == pytest.approx(gain, rel=0.01)


def test_a_criterion_is_the_harmonic_mean_of_both_domains_and_the_partial_area(search):
    rounds = [search.Round(np.array([0]), np.array([1, 2]), np.array([3, 4]))]
    machine = search.Normals("m", [np.zeros(1)] * 5, rounds)
    # source normals below all twins, target normals above all: areas 1 and 0.5 where one of two is above
    scores = np.array([9, 0, 0, 0, 5, 9, 3, 3, 3, 3], dtype=float)
    found = search.criterion(machine, [scores])
    partial = search.pauc(scores[[1, 2, 3, 4]], scores[[6, 7, 8, 9]], 0.1)
    assert found == pytest.approx(3 / (1 / 1.0 + 1 / 0.5 + 1 / partial))


def test_the_first_of_equally_good_settings_is_chosen(search):
    table = pd.DataFrame({"a": [0.5, 0.697, 0.70], "b": [0.5, 0.70, 0.70]}, index=["cheap", "good", "dear"])
    assert search.choose(table) == "good"
