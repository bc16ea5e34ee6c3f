"""The nights of a run without a date: what is new, what was left undone, and nothing that is done with."""

import pytest
from lakes import build, small
from recordings import machine, write_zip

from humwatch.storage.parts import list_parts
from humwatch.tasks.features.task import compute_features
from humwatch.tasks.ingest.task import ingest_sources
from humwatch.tasks.plan.open_nights import newest_night, open_nights
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scope import Scope
from humwatch.tasks.scoring.task import score_recordings
from humwatch.tasks.spectrograms.task import compute_spectrograms

NIGHTS = [f"2026-11-{day}" for day in (20, 21, 22, 23)]
FIT = {"training": "assumed_normal", "commissioning_nights": 2, "min_training_recordings": 4}


def arrive(folder, night, name="fan"):
    (folder / night).mkdir(parents=True, exist_ok=True)
    members = machine(f"{name}/id_00", 3, 0, duration_s=2.0, night=NIGHTS.index(night))
    write_zip(folder / night / f"{name}.zip", {path.replace("normal/", ""): data for path, data in members.items()})


@pytest.fixture
def plant(tmp_path):
    return tmp_path / "nights"


@pytest.fixture
def work(tmp_path):
    return Run(str(tmp_path / "lake"), small(fit=FIT))


def opened(work):
    return sorted(open_nights(work))


def test_an_empty_lake_has_no_nights(work):
    assert opened(work) == []
    assert newest_night(work) is None


def test_a_night_is_open_until_it_is_scored_and_again_when_something_arrives_late(work, plant):
    for night in NIGHTS[:2]:
        arrive(plant, night)
        ingest_sources.fn(work, [str(plant)])
    assert opened(work) == NIGHTS[:2]
    compute_spectrograms.fn(work)
    compute_features.fn(work)
    # Embedded, and no machine has a model: nothing is left to do but to report the newest night.
    assert opened(work) == [NIGHTS[1]]
    assert build(work) == (0, 0, 1, 6)
    assert opened(work) == [NIGHTS[1]]
    arrive(plant, NIGHTS[2])
    arrive(plant, NIGHTS[0], "pump")
    ingest_sources.fn(work, [str(plant)])
    assert opened(work) == [NIGHTS[0], NIGHTS[2]]
    assert newest_night(work) == NIGHTS[2]


def test_a_night_whose_machines_got_a_model_is_open_until_it_has_scores(work, plant):
    for night in NIGHTS[:3]:
        arrive(plant, night)
    assert build(work, plant)[2:] == (1, 9)
    lake = work.lake
    for path in lake.list("scores", ".parquet"):
        if NIGHTS[0] in path or NIGHTS[1] in path:
            lake.delete(path)
    assert opened(work) == NIGHTS[:3]
    score_recordings.fn(work)
    assert opened(work) == [NIGHTS[2]]


def test_a_killed_run_leaves_its_night_open(work, plant):
    for night in NIGHTS[:3]:
        arrive(plant, night)
    build(work, plant)
    lake = work.lake
    part = list_parts(lake)[0]
    lake.delete(lake.list("scores", ".parquet")[0])
    for path in lake.list("features", f"{part.part_id}.json"):
        lake.delete(path)
    assert opened(work) == [NIGHTS[0], NIGHTS[2]]


def test_only_the_machines_in_scope_keep_nights_open(work, plant):
    arrive(plant, NIGHTS[0], "pump")
    arrive(plant, NIGHTS[1])
    ingest_sources.fn(work, [str(plant)])
    fans = Run(work.lake_uri, work.settings, Scope(machines="fan/*"))
    assert opened(fans) == [NIGHTS[1]]
    pumps = Run(work.lake_uri, work.settings, Scope(machines="pump/*"))
    assert opened(pumps) == [NIGHTS[0]] == [newest_night(pumps)]
