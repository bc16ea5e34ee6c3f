"""`humwatch prune`: what is superseded goes, whatever a run, a report or a model needs stays."""

import json
import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from operator_lake import FLAGS, Counts, contents, humwatch, plant, publish_scores, run_stages, work_on
from passports import gate
from recordings import machine, write_zip

from humwatch.storage.lake import Lake
from humwatch.storage.models import Machine, put_gate, set_current
from humwatch.storage.parts import list_parts
from humwatch.tasks.detectors.task import fit_models
from humwatch.tasks.features.task import compute_features
from humwatch.tasks.ingest.task import ingest_sources
from humwatch.tasks.plan.catalog import current_recordings
from humwatch.tasks.plan.maintenance_log import import_labels
from humwatch.tasks.scoring.task import score_recordings
from humwatch.tasks.spectrograms.task import compute_spectrograms

NO_WORK = Counts(new=0, decoded=0, embedded=0, fitted=0, scored=0)
FAN = Machine("fan", "id_00")
COARSE = "spectrogram.n_mels=32"
OTHERS = (COARSE, 'fit.detectors=["knn"]')


def days_ago(days: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


def age(folder: Path, days: float) -> None:
    """Let everything below a folder have been written some days ago."""
    then = time.time() - days * 86_400
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


def prune(lake, *arguments, status=0):
    answer = humwatch("prune", "--lake", lake, *FLAGS, "--json", *arguments)
    assert answer.status == status, answer.stderr
    return answer.json


def keys(lake: Path) -> dict[str, set[str]]:
    kinds = ("spectrograms", "health", "features", "models", "scores")
    return {
        kind: {path.name for path in (lake / kind).iterdir()} if (lake / kind).exists() else set() for kind in kinds
    }


def only(values):
    (value,) = values
    return value


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return plant(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def chain(source, tmp_path_factory):
    lake = tmp_path_factory.mktemp("chain")
    run_stages(work_on(lake), source)
    publish_scores(work_on(lake), "evaluation-new", days_ago(0))
    return lake


@pytest.fixture
def lake(chain, tmp_path):
    """A lake of one chain with its report, as a test may change it."""
    return Path(shutil.copytree(chain, tmp_path / "lake"))


def test_where_nothing_is_superseded_nothing_goes(lake, source):
    before = contents(lake)
    assert prune(lake, "--older-than", 0)["groups"] == []
    assert contents(lake) == before
    assert run_stages(work_on(lake), source) == NO_WORK


def test_of_two_spectrogram_keys_only_the_unused_goes(lake, source):
    (used,) = keys(lake)["spectrograms"]
    compute_spectrograms.fn(work_on(lake, COARSE))
    unused = only(keys(lake)["spectrograms"] - {used})
    for key in (used, unused):  # as nights leave it
        Lake(str(lake)).write(f"history/{key}-0a1b2c/carried/2026-01-01-3d.tallies.parquet", b"")
    report = contents(lake / "reports")
    groups = {group["path"] for group in prune(lake)["groups"]}
    assert groups == {f"spectrograms/{unused}", f"health/{unused}", f"history/{unused}-0a1b2c"}
    assert {path.name for path in (lake / "history").iterdir()} >= {f"{used}-0a1b2c"}
    assert keys(lake)["spectrograms"] == keys(lake)["health"] == {used}
    assert run_stages(work_on(lake), source) == NO_WORK
    assert contents(lake / "reports") == report
    latest = json.loads((lake / "reports/latest.json").read_text())
    assert (lake / latest["index"]).read_bytes() == b"<p>report</p>"


def test_a_dry_run_deletes_nothing_and_tells_exactly_what_would_go(lake):
    compute_spectrograms.fn(work_on(lake, COARSE))
    compute_features.fn(work_on(lake, COARSE))
    before = contents(lake)
    told = prune(lake, "--dry-run")
    assert contents(lake) == before
    assert prune(lake) == {**told, "dry_run": False}
    gone = before.keys() - contents(lake).keys()
    assert {"/".join(path.split("/")[:2]) for path in gone} == {group["path"] for group in told["groups"]}
    assert told["objects"] == len(gone) == sum(group["objects"] for group in told["groups"])
    assert told["bytes"] == sum(len(before[path]) for path in gone) == sum(group["bytes"] for group in told["groups"])
    assert contents(lake) == {path: data for path, data in before.items() if path not in gone}


def test_the_table_says_what_goes_and_why(lake):
    compute_spectrograms.fn(work_on(lake, COARSE))
    answer = humwatch("prune", "--lake", lake, *FLAGS, "--dry-run")
    lines = [line for line in answer.stdout.splitlines() if "/logmel-32-" in line]
    assert len(lines) == 2
    assert all("key of no settings" in line for line in lines)
    assert "would be deleted" in answer.stdout


@pytest.fixture(scope="module")
def second_chain(chain, source, tmp_path_factory):
    """The first chain, then one with other settings and a report 40 days old; the newest report is the first's."""
    lake = Path(shutil.copytree(chain, tmp_path_factory.mktemp("second") / "lake"))
    run_stages(work_on(lake, *OTHERS), source)
    publish_scores(work_on(lake, *OTHERS), "evaluation-old", days_ago(40))
    name_newest(lake, "evaluation-new")
    return lake


@pytest.fixture
def two_chains(chain, second_chain, tmp_path):
    lake = Path(shutil.copytree(second_chain, tmp_path / "lake"))
    age(lake, 40)
    first = {kind: only(found) for kind, found in keys(chain).items()}
    return lake, first, {kind: only(found - {first[kind]}) for kind, found in keys(lake).items()}


def name_newest(lake: Path, report_id: str) -> None:
    latest = {"report_id": report_id, "index": f"reports/{report_id}/index.html"}
    (lake / "reports/latest.json").write_text(json.dumps(latest))


def test_settings_that_nothing_has_used_for_long_lose_all_their_keys(two_chains, source):
    lake, first, second = two_chains
    groups = {group["path"] for group in prune(lake)["groups"]}
    # Of the evaluations the newest report's stays, the other one's goes.
    evaluation = only(path for path in groups if path.startswith("evaluations/"))
    assert groups == {*(f"{kind}/{key}" for kind, key in second.items()), evaluation}
    assert keys(lake) == {kind: {key} for kind, key in first.items()}
    assert len(list((lake / "evaluations").iterdir())) == 1
    assert (lake / "reports/evaluation-old/index.html").exists()
    before = contents(lake)
    assert run_stages(work_on(lake), source) == NO_WORK
    publish_scores(work_on(lake), "evaluation-again", days_ago(0))
    assert contents(lake / "evaluations").items() <= {path[12:]: data for path, data in before.items()}.items()


def test_a_report_that_stands_keeps_all_that_its_models_need(two_chains):
    lake, first, second = two_chains
    prune(lake, "--older-than", 50)
    assert keys(lake) == {kind: {first[kind], second[kind]} for kind in first}
    assert len(list((lake / "evaluations").iterdir())) == 2


def test_the_newest_report_keeps_all_that_its_models_need_whatever_its_age(two_chains):
    lake, first, second = two_chains
    name_newest(lake, "evaluation-old")
    prune(lake, "--older-than", 0)
    assert keys(lake) == {kind: {first[kind], second[kind]} for kind in first}


@pytest.mark.parametrize("kind", ["scores", "models"])
def test_models_that_were_fitted_or_have_scored_lately_keep_all_that_they_need(two_chains, kind):
    lake, first, second = two_chains
    os.utime(next(path for path in (lake / kind / second[kind]).rglob("*") if path.is_file()))
    prune(lake)
    assert keys(lake) == {name: {first[name], second[name]} for name in first}
    assert run_stages(work_on(lake, *OTHERS)) == NO_WORK


def test_a_passport_that_cannot_be_read_keeps_everything_it_might_need(two_chains):
    lake, first, second = two_chains
    compute_spectrograms.fn(work_on(lake, "spectrogram.n_mels=16"))
    for path in (lake / "models" / second["models"]).rglob("passport.json"):
        passport = json.loads(path.read_text())
        passport["settings"]["images"]["of_another_version"] = 1
        path.write_text(json.dumps(passport))
    prune(lake)
    assert len(keys(lake)["spectrograms"]) == 3
    assert keys(lake)["models"] == {first["models"], second["models"]}


def test_models_of_nights_are_kept_without_saying_so(lake):
    nights = work_on(
        lake, 'fit.training="assumed_normal"', "fit.commissioning_nights=1", "fit.min_training_recordings=1"
    )
    fit_models.fn(nights)
    score_recordings.fn(nights)
    age(lake, 400)
    kept = keys(lake)
    assert len(kept["models"]) == 2
    shutil.rmtree(lake / "reports")
    prune(lake, "--set", "fit.commissioning_nights=1", "--set", "fit.min_training_recordings=1", "--older-than", 0)
    assert len(keys(lake)["models"]) == len(keys(lake)["scores"]) == 1, "the labelled ones are of other settings"
    assert run_stages(nights) == NO_WORK


@pytest.mark.parametrize("assignment", [COARSE, 'features.backbones=["logmel"]', "fit.gmm_components=3"])
def test_settings_of_no_run_are_refused_and_nothing_goes(lake, assignment):
    before = contents(lake)
    answer = prune(lake, "--set", assignment, "--older-than", 0, status=2)
    assert [error["code"] for error in answer["errors"]] == ["bad_configuration"]
    assert "nothing was deleted" in answer["errors"][0]["message"]
    assert contents(lake) == before


def test_a_lake_that_is_not_there_is_an_error(tmp_path):
    assert prune(tmp_path / "gone", status=1)["errors"][0]["code"] == "source_not_found"
    assert not (tmp_path / "gone").exists()


def more_normals(folder: Path, count: int) -> Path:
    """Further takes of the fan in an archive of their own: another training set."""
    members = machine("fan/id_00", 20, 0, duration_s=2.2)
    return write_zip(folder / f"more{count}.zip", dict(list(members.items())[10 : 10 + count]))


@pytest.fixture(scope="module")
def third_version(chain, tmp_path_factory):
    """The first chain after two more ingests, each of which made another model of the fan; and the versions in turn."""
    folder = tmp_path_factory.mktemp("third")
    lake = Path(shutil.copytree(chain, folder / "lake"))
    versions = [versions_of(lake)]
    for count in (2, 4):
        run_stages(work_on(lake), more_normals(folder, count))
        versions.append(versions_of(lake) - set().union(*versions))
    publish_scores(work_on(lake), "evaluation-newer", days_ago(0))
    return lake, [only(found) for found in versions]


@pytest.fixture
def three_versions(third_version, tmp_path):
    lake, versions = third_version
    return Path(shutil.copytree(lake, tmp_path / "lake")), versions


def versions_of(lake: Path) -> set[str]:
    return {path.parent.name for path in lake.glob("models/*/fan/id_00/*/passport.json")}


def test_of_a_models_versions_the_current_and_the_previous_stay(three_versions):
    lake, (oldest, previous, current) = three_versions
    prune(lake, "--older-than", 0)
    assert versions_of(lake) == {previous, current}
    assert not list(lake.glob(f"models/*/fan/id_00/{oldest}"))
    assert run_stages(work_on(lake)) == NO_WORK


def test_a_version_that_a_standing_report_names_stays(three_versions):
    lake, versions = three_versions
    assert {group["why"] for group in prune(lake)["groups"]} == {"scores superseded by those of newer models or labels"}
    assert versions_of(lake) == set(versions)
    assert prune(lake)["groups"] == []


def test_a_version_that_the_gate_or_kept_scores_name_stays(three_versions):
    lake, versions = three_versions
    key = only(keys(lake)["models"])
    put_gate(Lake(str(lake)), key, FAN, gate(accepted=False, version=versions[0]))
    prune(lake, "--older-than", 0)
    assert versions_of(lake) == set(versions)


def test_a_version_without_a_pointer_stays(three_versions):
    lake, versions = three_versions
    only(lake.glob("models/*/fan/id_00/current.json")).unlink()
    prune(lake, "--older-than", 0)
    assert versions_of(lake) == set(versions)


def test_scores_go_when_their_successors_are_there_and_not_before(lake):
    there = Lake(str(lake))
    recordings, _ = current_recordings(there)
    import_labels(there, "file,label\nfan/id_00/normal/00000000.wav,abnormal\n", "log.csv", recordings)
    old = set(lake.glob("scores/*/machine_type=fan/**/*.parquet"))
    assert prune(lake)["objects"] == 0
    run_stages(work_on(lake))
    assert prune(lake)["objects"] == len(old) == 1
    new = set(lake.glob("scores/*/machine_type=fan/**/*.parquet"))
    assert len(new) == 1
    assert not old & new
    assert len(there.list("labels")) == 1
    assert run_stages(work_on(lake)) == NO_WORK


def test_after_a_rollback_both_versions_stay(three_versions):
    lake, (_, previous, current) = three_versions
    key = only(keys(lake)["models"])
    set_current(Lake(str(lake)), key, FAN, previous)
    score_recordings.fn(work_on(lake))
    prune(lake, "--older-than", 0)
    assert versions_of(lake) == {previous, current}


def test_a_part_goes_when_the_newer_rows_of_all_its_recordings_are_decoded(lake, tmp_path):
    there, run = Lake(str(lake)), work_on(lake)
    fan, pump = list_parts(there)
    changed = machine("fan/id_00", 6, 3, duration_s=2.4)
    ingest_sources.fn(run, [str(write_zip(tmp_path / "plant.zip", changed))])
    assert len(list_parts(there)) == 3
    assert prune(lake)["objects"] == 0, "the newer rows are not decoded"
    run_stages(run)
    before = contents(lake)
    assert prune(lake)["objects"] > 0
    assert fan not in list_parts(there)
    assert pump in list_parts(there)
    gone = before.keys() - contents(lake).keys()
    assert not [path for path in contents(lake) if fan.part_id in path]
    assert {path.split("/")[0] for path in gone if fan.part_id in path} == {
        "recordings", "health", "spectrograms", "features", "scores",
    }  # fmt: skip
    assert run_stages(run, tmp_path / "plant.zip") == NO_WORK


def test_a_part_with_one_current_recording_stays(lake, tmp_path):
    changed = machine("fan/id_00", 6, 3, duration_s=2.4)
    changed.pop("fan/id_00/abnormal/00000002.wav")
    run_stages(work_on(lake), write_zip(tmp_path / "plant.zip", changed))
    prune(lake)
    assert len(list_parts(Lake(str(lake)))) == 3


def test_leftovers_of_killed_writers_go_in_time(lake):
    store = next(lake.glob("spectrograms/*/fan/all/*.zarr"))
    marked, unmarked = store.with_suffix(".blocks"), store.with_name("ffffffffffffffff.blocks")
    old, fresh = lake / "reports/.tmp-old", lake / ".tmp-fresh"
    for path in (marked / "000000.parquet", unmarked / "000000.parquet", old, fresh):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"left")
    then = time.time() - 2 * 86_400
    os.utime(old, (then, then))
    told = prune(lake)
    assert (told["objects"], told["bytes"]) == (2, 8)
    assert not marked.exists()
    assert not old.exists()
    assert unmarked.exists()
    assert fresh.exists()


def test_what_lies_in_a_folder_that_goes_is_counted_once(lake):
    compute_spectrograms.fn(work_on(lake, COARSE))
    folder = next(lake.glob("spectrograms/logmel-32-*"))
    (folder / ".tmp-old").write_bytes(b"left")
    age(folder, 2)
    before = sum(path.is_file() for path in folder.rglob("*"))
    groups = {group["path"]: group["objects"] for group in prune(lake)["groups"]}
    assert groups[f"spectrograms/{folder.name}"] == before
