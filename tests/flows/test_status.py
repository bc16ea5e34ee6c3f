"""`humwatch status` says what the lake holds, whatever stage it is at."""

import json

import pandas as pd
import pyarrow as pa
import pytest
from operator_lake import FLAGS, contents, humwatch, plant, run_stages, work_on

from humwatch.flows.simulation import FleetPlan, simulate
from humwatch.storage.lake import Lake
from humwatch.storage.models import Machine, current_version, set_current
from humwatch.storage.tables import SCORES, create_table
from humwatch.tasks.detectors.task import fit_models
from humwatch.tasks.features.task import compute_features
from humwatch.tasks.ingest.task import ingest_sources
from humwatch.tasks.spectrograms.task import compute_spectrograms

FAN = Machine("fan", "id_00")


def status_of(lake, *arguments):
    answer = humwatch("status", "--lake", lake, *FLAGS, "--json", *arguments)
    assert answer.status == 0, answer.stderr
    assert answer.json["command"] == "status"
    assert answer.json["errors"] == []
    return {(row["machine_type"], row["machine_id"]): row for row in answer.json["machines"]}


@pytest.fixture(scope="module")
def plant_lake(tmp_path_factory):
    """A fan with 6 normals, 3 abnormals and 1 that is no sound; a pump with 4 normals; all scored."""
    lake = tmp_path_factory.mktemp("lake")
    archive = plant(tmp_path_factory.mktemp("source"), **{"fan/id_00/normal/99999999.wav": b"no sound"})
    run_stages(work_on(lake), archive)
    return lake


def test_counts_models_and_scores_are_those_of_the_lake(plant_lake):
    rows = status_of(plant_lake)
    assert list(rows) == [("fan", "id_00"), ("pump", "id_01")]
    fan, pump = rows.values()
    assert (fan["site"], fan["condition"]) == (None, None)
    assert (fan["recordings"], fan["rejected"], fan["pending"]) == (10, 1, {"spectrograms": 0, "features": 0})
    assert (pump["recordings"], pump["rejected"], pump["pending"]) == (4, 0, {"spectrograms": 0, "features": 0})
    passports = {
        path.parts[-3]: (path.parent.name, json.loads(path.read_text()))
        for path in plant_lake.glob("models/**/passport.json")
    }
    scores = pd.concat(map(pd.read_parquet, plant_lake.glob("scores/*/*/*/*.parquet"))).set_index("recording_id")
    for row in (fan, pump):
        version, passport = passports[row["machine_id"]]
        assert row["models"] == [
            {"backbone": "fake", "detector": "gmm", "seed": 0, "training": "labelled", "version": version}
        ]
        assert passport["machine"].endswith(row["machine_id"])
        last = row["last_score"]
        expected = scores[scores["machine_id"] == row["machine_id"]].reset_index()
        expected = expected.sort_values(["file", "recording_id"]).iloc[-1]
        assert (last["score"], last["file"], last["batch"]) == (expected["score"], expected["file"], "all")
        assert (last["model_version"], last["threshold"], last["recorded_at"]) == (version, None, None)


def test_nothing_is_written(plant_lake):
    before = contents(plant_lake)
    status_of(plant_lake)
    assert contents(plant_lake) == before


def test_only_the_machines_asked_for(plant_lake):
    assert list(status_of(plant_lake, "--machines", "pump/*")) == [("pump", "id_01")]
    assert status_of(plant_lake, "--machines", "nothing/*") == {}


def test_a_detector_without_a_model_shows_none_and_two_show_both(plant_lake):
    (fan, _) = status_of(plant_lake, "--set", 'fit.detectors=["knn"]').values()
    assert (fan["models"], fan["last_score"]) == ([], None)
    (fan, _) = status_of(plant_lake, "--set", 'fit.detectors=["knn", "gmm"]').values()
    assert [model["detector"] for model in fan["models"]] == ["gmm"]
    assert fan["last_score"] is not None


def test_the_table_has_a_line_for_each_machine(plant_lake):
    answer = humwatch("status", "--lake", plant_lake, *FLAGS)
    assert answer.status == 0
    version = status_of(plant_lake)["fan", "id_00"]["models"][0]["version"]
    (line,) = [line for line in answer.stdout.splitlines() if "fan id_00" in line]
    assert version in line
    assert [int(cell) for cell in line.split() if cell.isdigit()][:4] == [10, 1, 0, 0]


def test_what_is_missing_shrinks_stage_by_stage(tmp_path):
    run = work_on(tmp_path / "lake")
    ingest_sources.fn(run, [str(plant(tmp_path))])
    assert status_of(tmp_path / "lake")["fan", "id_00"]["pending"] == {"spectrograms": 9, "features": 9}
    compute_spectrograms.fn(run)
    assert status_of(tmp_path / "lake")["fan", "id_00"]["pending"] == {"spectrograms": 0, "features": 9}
    compute_features.fn(run)
    (fan, pump) = status_of(tmp_path / "lake").values()
    assert fan["pending"] == pump["pending"] == {"spectrograms": 0, "features": 0}
    assert (fan["models"], fan["last_score"]) == ([], None)
    fit_models.fn(run)
    (fan, _) = status_of(tmp_path / "lake").values()
    assert (len(fan["models"]), fan["last_score"]) == (1, None)


def test_the_last_score_is_of_the_last_night_and_by_the_current_model(tmp_path):
    plan = FleetPlan(
        1, 3, 0.0, 1, recordings_per_night=2, duration_s=2.2, types=("fan",), dropout_rate=0, broken_rate=0
    )
    simulate(plan, tmp_path / "fleet", workers=1)
    fit = ("fit.commissioning_nights=2", "fit.min_training_recordings=2", "fit.false_alarm_rate=0.2")
    run = work_on(tmp_path / "lake", 'fit.training="assumed_normal"', *fit)
    run_stages(run, tmp_path / "fleet")
    flags = [part for assignment in fit for part in ("--set", assignment)]
    # Without --set fit.training the models of the nights are found, too.
    (fan,) = status_of(tmp_path / "lake", *flags).values()
    assert fan["recordings"] == 6
    (model,) = fan["models"]
    assert model["training"] == "assumed_normal"
    last = fan["last_score"]
    assert (last["batch"], last["recorded_at"]) == ("2026-01-03", "2026-01-03T03:00:00+00:00")
    assert last["decision"] == ("abnormal" if last["score"] > last["threshold"] else "normal")
    # A newer model that has scored nothing yet: the score shown is the older one's, by name.
    lake = Lake(str(tmp_path / "lake"))
    (key,) = [path.name for path in (tmp_path / "lake/models").iterdir()]
    set_current(lake, key, FAN, "ffffffffffff")
    (fan,) = status_of(tmp_path / "lake", *flags).values()
    assert fan["models"][0]["version"] == "ffffffffffff" == current_version(lake, key, FAN)
    assert fan["last_score"] == last
    # When it has, it is the one that speaks.
    table = max((tmp_path / "lake/scores").rglob("*.parquet"))
    newer = pd.read_parquet(table, partitioning=None).assign(model_version="ffffffffffff", score=7.0)
    create_table(
        lake, str(table.relative_to(tmp_path / "lake"))[:-20] + "x.parquet", pa.Table.from_pandas(newer, SCORES)
    )
    (fan,) = status_of(tmp_path / "lake", *flags).values()
    assert fan["last_score"] == {**last, "model_version": "ffffffffffff", "score": 7.0}


def test_a_lake_that_is_not_there_is_an_error_and_is_not_begun(tmp_path):
    answer = humwatch("status", "--lake", tmp_path / "gone", "--json")
    assert answer.status == 1
    assert [error["code"] for error in answer.json["errors"]] == ["source_not_found"]
    assert not (tmp_path / "gone").exists()
    assert str(tmp_path / "gone") in humwatch("status", "--lake", tmp_path / "gone").stderr.replace("\n", "")


def test_a_lake_of_a_newer_format_is_refused(tmp_path):
    (tmp_path / "lake.json").write_text('{"format_version": 99}')
    answer = humwatch("status", "--lake", tmp_path, "--json")
    assert (answer.status, answer.json["errors"][0]["code"]) == (1, "lake_too_new")


def test_bad_settings_are_bad_usage(tmp_path):
    answer = humwatch("status", "--lake", tmp_path, "--set", "fit.nothing=1", "--json")
    assert (answer.status, answer.json["errors"][0]["code"]) == (2, "bad_configuration")
