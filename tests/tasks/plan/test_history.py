"""A look at some nights: what it says is what all recordings say, and what it reads does not grow with the nights."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pytest

from humwatch.storage.errors import SourceForbidden
from humwatch.storage.lake import Lake
from humwatch.storage.parts import create_part
from humwatch.storage.tables import HEALTH, MACHINE, RECORDINGS, create_table
from humwatch.tasks.plan import part_rows, tallies
from humwatch.tasks.plan.catalog import current_recordings
from humwatch.tasks.plan.history import HistoryReader
from humwatch.tasks.plan.maintenance_log import import_labels
from humwatch.tasks.plan.tallies import Window
from humwatch.tasks.settings import HealthSettings, SpectrogramSettings

KEY = "logmel-64-1024-512-000000"
START = datetime(2026, 1, 1, tzinfo=UTC)
NIGHTS = [f"2026-01-{day:02d}" for day in range(1, 13)]
GOOD = {
    "sample_rate_hz": 16_000, "channels": 1, "channels_heard": 1, "duration_s": 10.0, "rms_dbfs": -20.0,
    "peak_dbfs": -6.0, "clipped_fraction": 0.0, "nonfinite_fraction": 0.0, "dead_channel": False, "n_frames": 313,
    "status": "accepted",
}  # fmt: skip


def reader(lake, window=None):
    return HistoryReader(lake, KEY, HealthSettings(), SpectrogramSettings(), 64, window or Window(3))


@pytest.fixture
def lake(tmp_path):
    return Lake.open(str(tmp_path / "lake"))


def add(lake, batch, rows, facts=None, *, kind="fan", ingested_at=START):
    """Keep a part of rows {recording_id: columns}, decoded where there are facts."""
    night = datetime.fromisoformat(batch).replace(tzinfo=UTC) if batch[0] == "2" else None
    common = {"machine_type": kind, "machine_id": "id_00", "batch": batch, "ingested_at": ingested_at}
    table = [{"recording_id": name, "path": name, "content_tag": "A", "recorded_at": night, **common, **columns}
             for name, columns in rows.items()]  # fmt: skip
    part = create_part(lake, kind, batch, pa.Table.from_pylist(table, schema=RECORDINGS))
    if facts is not None:
        health = [{"recording_id": name, **GOOD, **facts.get(name, {})} for name in rows]
        create_table(lake, part.health_path(KEY), pa.Table.from_pylist(health, schema=HEALTH))
    return part


def of_batch(history, batches):
    rows = history.rows[history.rows["batch"].isin(batches)]
    return rows.sort_values(["part_id", "row"]).reset_index(drop=True)


def kept_nights(history, window):
    """The nights of each machine that a window of so many is made of, its first one and its newest."""
    nights = history.nights.sort_values([*MACHINE, "batch"])
    counted = nights[nights["accepted"] > 0]
    first = counted[counted.groupby(MACHINE, dropna=False).cumcount() < window]
    by_machine = nights.groupby(MACHINE, dropna=False)["batch"]
    return first.reset_index(drop=True), by_machine.min()


def assert_seen_as_among_all(lake, batches, window=3):
    whole, some = reader(lake).whole(), reader(lake, Window(window)).of(frozenset(batches))
    pd.testing.assert_frame_equal(of_batch(some, batches), of_batch(whole, batches), check_dtype=False)
    for mine, theirs in zip(kept_nights(some, window), kept_nights(whole, window), strict=True):
        assert str(mine.to_dict()) == str(theirs.to_dict())
    alike = whole.rows[whole.rows["sound_hash"].isin(of_batch(whole, batches)["sound_hash"].dropna())]
    assert set(alike["recording_id"]) <= set(some.rows["recording_id"])
    assert some.parts == whole.parts


def usual_night(lake, night, machines=5):
    """A night of a fleet: three recordings of each machine."""
    names = {f"{night}-{index}-{take}": {"machine_id": f"id_{index:02d}"}
             for index in range(machines) for take in range(3)}  # fmt: skip
    return add(lake, night, names, {name: {"sound_hash": name} for name in names})


@pytest.fixture
def read(monkeypatch):
    """Paths and bytes of the objects that are read, since `clear` of it, by a process that has read nothing."""
    objects = {}
    real = Lake.read

    def noted(lake, path):
        objects[path] = real(lake, path)
        return objects[path]

    monkeypatch.setattr(Lake, "read", noted)
    return objects


def first_look(lake, night, read):
    """Look at a night as a new process does, and return how many objects and bytes were read."""
    for kept in (tallies._read_carried, part_rows._of_part):
        kept.cache_clear()
    read.clear()
    reader(lake).of(frozenset({night}))
    return len(read), sum(map(len, read.values()))


def test_a_look_reads_no_more_with_four_times_the_nights_behind_it(lake, read):
    nights = [(START + timedelta(days=day)).date().isoformat() for day in range(40)]
    seen = []
    for count, night in enumerate(nights, start=1):
        usual_night(lake, night)
        if count in (10, 40):
            reader(lake).of(frozenset({night}))  # carries the nights on, once
            seen.append(first_look(lake, night, read))
            assert not [path for path in read if path.startswith("recordings") and night not in path]
    (objects, n_bytes), (objects_later, n_bytes_later) = seen
    assert objects_later == objects
    assert n_bytes_later < 1.1 * n_bytes


def test_the_next_night_is_carried_on_and_a_late_part_makes_its_own_night_again(lake, read):
    for night in NIGHTS[:8]:
        usual_night(lake, night)
    reader(lake).of(frozenset({NIGHTS[7]}))
    before = {path: lake.read(path) for path in lake.list("history")}
    usual_night(lake, NIGHTS[8])
    first_look(lake, NIGHTS[8], read)
    assert {path.split("batch=")[1][:10] for path in read if path.startswith("recordings")} == {NIGHTS[8]}
    add(lake, NIGHTS[5], {"late": {}}, {"late": {}})
    first_look(lake, NIGHTS[8], read)
    assert {path.split("batch=")[1][:10] for path in read if path.startswith("recordings")} == {NIGHTS[5], NIGHTS[8]}
    assert_seen_as_among_all(lake, {NIGHTS[5]})
    assert {path: lake.read(path) for path in before} == before  # written once


def test_tables_that_are_deleted_are_made_again_with_the_same_bytes(lake):
    for night in NIGHTS[:5]:
        usual_night(lake, night)
    reader(lake).of(frozenset({NIGHTS[4]}))
    before = {path: lake.read(path) for path in lake.list("history")}
    lake.delete("history")
    tallies._read_carried.cache_clear()
    reader(lake).of(frozenset({NIGHTS[4]}))
    assert {path: lake.read(path) for path in lake.list("history")} == before


def test_a_window_goes_on_when_its_nights_turn_out_to_be_unfit(lake):
    """Three nights at 8 kHz, then a new recorder: once most are at 16 kHz, the window is that of the new nights."""
    for night in NIGHTS[:3]:
        add(lake, night, {night: {}}, {night: {"sample_rate_hz": 8_000}})
    assert reader(lake).of(frozenset()).nights["accepted"].sum() == 3
    for night in NIGHTS[3:10]:
        add(lake, night, {night: {}}, {night: {}})
        assert_seen_as_among_all(lake, {night})
    first = reader(lake).of(frozenset()).nights.sort_values("batch")
    assert first[first["accepted"] > 0]["batch"].tolist()[:3] == NIGHTS[3:6]


def test_a_machine_whose_only_recording_of_a_kept_night_moves_away_has_another_night(lake):
    for night in NIGHTS[:6]:
        add(lake, night, {night: {}}, {night: {}})
    add(lake, NIGHTS[6], {NIGHTS[1]: {"machine_id": "id_02"}}, {NIGHTS[1]: {}}, ingested_at=START + timedelta(1))
    assert_seen_as_among_all(lake, {NIGHTS[6]})
    add(lake, NIGHTS[7], {NIGHTS[0]: {"machine_id": "id_02"}}, {NIGHTS[0]: {}}, ingested_at=START + timedelta(2))
    assert_seen_as_among_all(lake, {NIGHTS[7]})


def test_two_writers_carry_the_same_nights_on_to_the_same_tables(lake):
    for night in NIGHTS[:4]:
        usual_night(lake, night)
    with ThreadPoolExecutor(4) as threads:
        seen = [*threads.map(lambda _: reader(lake).of(frozenset({NIGHTS[3]})), range(4))]
    for one in seen:
        pd.testing.assert_frame_equal(one.rows, seen[0].rows)
        pd.testing.assert_frame_equal(one.nights, seen[0].nights)
    assert len(lake.list("history", ".tallies.parquet")) == 8  # of each night, and of all up to each


def test_a_lake_that_may_only_be_read_is_looked_at_all_the_same(lake, monkeypatch):
    def forbidden(_lake, path, _data):
        raise SourceForbidden(path)

    usual_night(lake, NIGHTS[0])
    monkeypatch.setattr(Lake, "create", forbidden)
    assert len(reader(lake).of(frozenset({NIGHTS[0]})).rows) == 15
    assert not lake.list("history")


def chosen(chance, *values):
    return chance.choice(values)


def arrive(lake, chance, night, known):
    """Let recordings of a night arrive: usual ones, and every kind of other ones now and then."""
    rows, facts = {}, {}
    for number in range(chance.randint(1, 6)):
        name = f"{night}-{number}-{chance.randint(0, 10**9)}"
        if known and chance.random() < 0.1:
            name = chance.choice(known)  # again, with other bytes or elsewhere
        rows[name] = {"machine_id": chosen(chance, "id_00", "id_02"), "site": chosen(chance, None, None, "oslo")}
        rows[name] |= {"content_tag": str(chance.random())}
        rows[name] |= {"label": chosen(chance, None, None, None, "abnormal")}
        if chance.random() < 0.05:
            rows[name]["reason"] = "duplicate_name"
        facts[name] = {
            "duration_s": chosen(chance, 10.0, 10.0, 10.0, 10.5, 5.0), "channels_heard": chosen(chance, 1, 1, 1, 2),
            "sample_rate_hz": chosen(chance, 16_000, 16_000, 8_000), "rms_dbfs": chosen(chance, -20.0, -20.0, -90.0),
            "n_frames": chosen(chance, 313, 313, 50),
            "sound_hash": chosen(chance, None, "stuck", f"{chance.randint(0, 10**9)}"),
        }  # fmt: skip
        known.append(name)
    add(lake, night, rows, facts if chance.random() < 0.8 else None, kind=chosen(chance, "fan", "pump"),
        ingested_at=START + timedelta(seconds=len(known)))  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_nights_are_seen_as_among_all_however_they_arrive(tmp_path, seed):
    """Late parts, moved and superseded recordings, copies, pending parts, lengths and bands that become usual."""
    chance, lake, known = random.Random(seed), Lake.open(str(tmp_path / "lake")), []
    batches = [*NIGHTS, "all"] if seed % 2 else NIGHTS
    for turn in range(14):
        arrive(lake, chance, batches[turn % 12] if turn < 10 else chance.choice(batches), known)
        if turn == 8 and seed % 3 == 0:
            log = f"recording_id,label\n{chance.choice(known)},abnormal\n"
            import_labels(lake, log, "log.csv", current_recordings(lake)[0])
        if turn % 3 == 0 or turn > 9:
            assert_seen_as_among_all(lake, {batches[turn % 12]})
    assert_seen_as_among_all(lake, {"2026-01-03", "2026-01-07"})
    assert_seen_as_among_all(lake, set())
