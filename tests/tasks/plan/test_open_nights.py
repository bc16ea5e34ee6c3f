"""The nights of a run without a date: what is new, what was left undone, and nothing that is done with."""

from datetime import UTC, datetime, timedelta

import pytest
from lakes import build, small
from recordings import machine, tone, wav, write_zip

from humwatch.storage.parts import list_parts
from humwatch.tasks.features.task import compute_features
from humwatch.tasks.ingest.task import ingest_sources
from humwatch.tasks.plan.open_nights import newest_night, open_nights, set_apart
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scope import Scope
from humwatch.tasks.scoring.task import score_recordings
from humwatch.tasks.spectrograms.task import compute_spectrograms

NIGHTS = [f"2026-11-{day}" for day in (20, 21, 22, 23)]
FIT = {"training": "assumed_normal", "commissioning_nights": 2, "min_training_recordings": 4}


MANIFEST = b"path,machine_type,machine_id,batch\na.wav,fan,id_00,2026-02-30\n"


def _seed(night):
    return NIGHTS.index(night) if night in NIGHTS else 50 + len(night)


def arrive(folder, night, name="fan"):
    (folder / night).mkdir(parents=True, exist_ok=True)
    members = machine(f"{name}/id_00", 3, 0, duration_s=2.0, night=_seed(night))
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


def test_what_is_no_night_or_one_to_come_is_neither_the_newest_nor_open(tmp_path, plant):
    """An archive without a date, a date that there is not, a recorder whose clock is in another century."""
    work = Run(str(tmp_path / "lake"), small(fit=FIT), now=datetime(2026, 11, 21, 9, 59, tzinfo=UTC))
    for night in NIGHTS:
        arrive(plant, night)
    arrive(plant, "")
    arrive(plant, "2026-02-30", "pump")
    arrive(plant, "2099-01-01")
    write_zip(plant / "by_hand.zip", {"a.wav": wav(tone(9)), "manifest.csv": MANIFEST})
    ingest_sources.fn(work, [str(plant)])
    assert newest_night(work) == NIGHTS[1]
    assert opened(work) == NIGHTS[:2]
    assert set_apart(work) == {
        "2026-02-30": 1, NIGHTS[2]: 3, NIGHTS[3]: 3, "2099-01-01": 3, "all": 6,
    }  # fmt: skip
    # A minute later the day of the next night has begun where days begin first, and this may be a plant there.
    later = Run(work.lake_uri, work.settings, now=work.now + timedelta(minutes=1))
    assert newest_night(later) == NIGHTS[2]
    assert opened(later) == NIGHTS[:3]


def test_a_lake_without_nights_has_no_newest(work, plant):
    arrive(plant, "")
    ingest_sources.fn(work, [str(plant)])
    assert newest_night(work) is None
    assert opened(work) == []
    assert set_apart(work) == {"all": 3}
