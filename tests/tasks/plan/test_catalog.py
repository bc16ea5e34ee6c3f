"""The catalog: the newest row of every recording, and what its machine as a whole says of it."""

import functools
import zipfile
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pytest
from lakes import small
from recordings import machine, tone, wav, write_zip

from humwatch.storage.lake import Lake
from humwatch.storage.models import Machine
from humwatch.storage.parts import create_part
from humwatch.storage.records import Mark
from humwatch.storage.tables import HEALTH, RECORDINGS, create_table
from humwatch.tasks.ingest.task import ingest_sources
from humwatch.tasks.plan.catalog import (
    by_machine,
    catalog_of,
    current_recordings,
    machine_of,
    silent_machines,
    unfinished_parts,
)
from humwatch.tasks.plan.history import HistoryReader
from humwatch.tasks.plan.maintenance_log import import_labels
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scope import Scope
from humwatch.tasks.plan.tallies import Window
from humwatch.tasks.settings import HealthSettings, SpectrogramSettings
from humwatch.tasks.spectrograms.task import compute_spectrograms

KEY = "logmel-64-1024-512-000000"
START = datetime(2026, 11, 21, tzinfo=UTC)
GOOD = {
    "sample_rate_hz": 16_000,
    "channels": 1,
    "duration_s": 10.0,
    "rms_dbfs": -20.0,
    "peak_dbfs": -6.0,
    "clipped_fraction": 0.0,
    "silent_fraction": 0.0,
    "dc_offset": 0.0,
    "nonfinite_fraction": 0.0,
    "dead_channel": False,
    "resampled": False,
    "n_frames": 313,
    "status": "accepted",
}


@pytest.fixture
def lake(tmp_path):
    return Lake.open(str(tmp_path / "lake"))


def add(lake, rows, facts=None, *, machine_type="fan", batch="all", ingested_at=START, key=KEY):
    """Keep a part with these rows {recording_id: columns}; decoded when there are facts {recording_id: columns}."""
    common = {"machine_type": machine_type, "batch": batch, "machine_id": "id_00", "ingested_at": ingested_at}
    table = [
        {"recording_id": name, "path": name, "content_tag": "A", **common, **columns} for name, columns in rows.items()
    ]
    part = create_part(lake, machine_type, batch, pa.Table.from_pylist(table, schema=RECORDINGS))
    if facts is not None:
        health = [{"recording_id": name, **facts[name]} for name in rows]
        create_table(lake, part.health_path(key), pa.Table.from_pylist(health, schema=HEALTH))
        part.store("spectrograms", key).mark(lake, Mark(part=part.part_id, recordings=0, key=key), [])
    return part


def load(lake, key=KEY, batches=None, **health):
    limits = HealthSettings(**health)
    reader = HistoryReader(lake, key, limits, SpectrogramSettings(), 64, Window(14))
    read = reader.whole if batches is None else functools.partial(reader.of, batches)
    return catalog_of(lake, read(unfinished_parts(lake, key, read(), batches)), batches)


def verdicts(catalog):
    rows = catalog.recordings.set_index("recording_id")
    return {
        name: (status, None if pd.isna(reason) else str(reason))
        for name, status, reason in rows[["status", "reason"]].itertuples()
    }


def test_an_empty_lake_has_an_empty_catalog(lake):
    catalog = load(lake)
    assert catalog.recordings.empty
    assert catalog.accepted.empty
    assert {*RECORDINGS.names, *HEALTH.names, "part_id", "row", "status"} <= set(catalog.recordings.columns)


def test_a_recording_is_pending_until_its_part_is_marked_under_this_key(lake):
    add(lake, {"a": {}}, {"a": GOOD}, batch="1")
    unmarked = add(lake, {"b": {}}, batch="2")
    health = pa.Table.from_pylist([{"recording_id": "b", **GOOD}], schema=HEALTH)
    create_table(lake, unmarked.health_path(KEY), health)
    assert verdicts(load(lake)) == {"a": ("accepted", None), "b": ("pending", None)}
    assert load(lake).accepted["recording_id"].tolist() == ["a"]
    assert verdicts(load(lake, key="logmel-128-2048-512-111111")) == {"a": ("pending", None), "b": ("pending", None)}


def test_reasons_of_the_name_of_decoding_and_of_the_measures(lake):
    broken = {"n_frames": 0, "status": "rejected", "reason": "truncated"}
    add(
        lake,
        {"good": {}, "named": {"reason": "duplicate_name"}, "broken": {}, "silent": {}, "short": {}, "fits": {}},
        {
            "good": GOOD,
            "named": {"n_frames": 0, "status": "accepted"},
            "broken": broken,
            "silent": {**GOOD, "rms_dbfs": -90.0},
            "short": {**GOOD, "n_frames": 63},
            "fits": {**GOOD, "n_frames": 64},
        },
    )
    assert verdicts(load(lake)) == {
        "good": ("accepted", None),
        "named": ("rejected", "duplicate_name"),
        "broken": ("rejected", "truncated"),
        "silent": ("rejected", "silent"),
        "short": ("rejected", "too_short"),
        "fits": ("accepted", None),
    }
    # The verdict is made on reading: other limits need no decoding.
    assert verdicts(load(lake, silent_rms_dbfs=-100.0))["silent"] == ("accepted", None)


def test_what_was_rejected_while_listing_stays_so_before_anything_is_decoded(lake):
    add(lake, {"a": {"reason": "unsafe_path"}, "b": {}})
    assert verdicts(load(lake)) == {"a": ("rejected", "unsafe_path"), "b": ("pending", None)}


def test_a_wrong_length_is_one_among_all_parts_of_the_machine(lake):
    """Each part alone has its own median; what is wrong shows only when all are seen together."""
    short = {**GOOD, "duration_s": 5.0, "n_frames": 157}
    add(lake, {"a": {}}, {"a": short}, batch="1")
    add(lake, {"b": {}, "c": {}, "d": {}}, dict.fromkeys("bcd", GOOD), batch="2")
    add(lake, {"e": {"machine_id": "id_02"}, "f": {"site": "oslo"}}, {"e": short, "f": short}, batch="3")
    assert verdicts(load(lake)) == {
        "a": ("rejected", "wrong_length"),
        **dict.fromkeys("bcdef", ("accepted", None)),
    }
    assert verdicts(load(lake, duration_tolerance=0.6))["a"] == ("accepted", None)
    # A scope is looked at with what all of the machine says.
    assert verdicts(load(lake).restricted_to(Scope(frozenset({"1"})))) == {"a": ("rejected", "wrong_length")}


def test_the_newest_row_of_a_recording_counts_wherever_it_lies(lake):
    old = add(lake, {"a": {"label": "normal"}, "b": {}}, dict.fromkeys("ab", GOOD))
    new = add(
        lake,
        {"a": {"label": "abnormal", "content_tag": "B"}},
        machine_type="pump",
        ingested_at=START + timedelta(seconds=1),
    )
    rows = load(lake).recordings.set_index("recording_id")
    assert rows["part_id"].to_dict() == {"a": new.part_id, "b": old.part_id}
    assert rows["row"].to_dict() == {"a": 0, "b": 1}
    assert rows.loc["a", ["label", "machine_type", "status"]].tolist() == ["abnormal", "pump", "pending"]


def fleet_of_nights(lake):
    """Three nights: a wrong length that only the other nights show, a late arrival, a move to another night, labels."""
    short = {**GOOD, "duration_s": 5.0, "n_frames": 157}
    add(lake, {"a": {}, "b": {}, "c": {}}, dict.fromkeys("abc", GOOD), batch="2026-11-20")
    add(
        lake, {"d": {}, "e": {"site": "oslo"}, "moved": {}}, {"d": short, "e": short, "moved": GOOD}, batch="2026-11-21"
    )
    add(lake, {"f": {}}, batch="2026-11-21", ingested_at=START + timedelta(days=2))
    add(
        lake,
        {"moved": {"content_tag": "B"}},
        {"moved": GOOD},
        batch="2026-11-22",
        ingested_at=START + timedelta(days=3),
    )
    log = "recording_id,label\nb,abnormal\nd,normal\n"
    import_labels(lake, log, "log.csv", current_recordings(lake)[0])


@pytest.mark.parametrize("nights", [{"2026-11-21"}, {"2026-11-20", "2026-11-22"}, {"2026-12-24"}, set()])
def test_some_batches_alone_are_seen_as_among_all_of_them(lake, nights):
    fleet_of_nights(lake)
    everything = load(lake)
    some = load(lake, batches=frozenset(nights))
    # A column of integers without a gap is one, with gaps it is of floats: what matters are the values.
    same = functools.partial(pd.testing.assert_frame_equal, check_dtype=False, check_index_type=False)
    expected = everything.restricted_to(Scope(frozenset(nights))).recordings
    same(some.recordings.reset_index(drop=True), expected.reset_index(drop=True))
    assert some.parts == everything.parts


def test_the_newest_rows_of_chosen_recordings_are_those_among_all(lake):
    fleet_of_nights(lake)
    rows, parts = current_recordings(lake)
    some, known = current_recordings(lake, {"moved", "f", "nobody"})
    assert some["recording_id"].tolist() == ["f", "moved"]
    expected = rows[rows["recording_id"].isin(["f", "moved"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(some, expected)
    assert known == parts


def test_rows_are_in_the_order_of_the_stores_whatever_the_order_of_ingest(lake):
    add(lake, {"z": {}, "y": {}}, batch="2", ingested_at=START + timedelta(days=1))
    add(lake, {"x": {}}, batch="1", ingested_at=START + timedelta(days=2))
    add(lake, {"w": {}}, machine_type="bearing", ingested_at=START + timedelta(days=3))
    rows = load(lake).recordings
    assert rows["recording_id"].tolist() == ["w", "x", "z", "y"]
    assert rows.index.tolist() == [0, 1, 2, 3]
    assert rows["row"].tolist() == [0, 0, 0, 1]


def test_machines_and_conditions_are_groups_of_their_own_in_a_fixed_order(lake):
    names = {
        "a": {"machine_id": "id_02"},
        "b": {"machine_id": "id_00", "condition": "6_dB"},
        "c": {"machine_id": "id_00", "site": "oslo"},
        "d": {"machine_id": "id_00"},
        "e": {"machine_id": "id_02"},
    }
    groups = by_machine(load(lake).recordings)
    assert groups == {}
    add(lake, names)
    groups = by_machine(load(lake).recordings)
    assert {machine: rows["recording_id"].tolist() for machine, rows in groups.items()} == {
        Machine("fan", "id_00"): ["d"],
        Machine("fan", "id_00", condition="6_dB"): ["b"],
        Machine("fan", "id_02"): ["a", "e"],
        Machine("fan", "id_00", site="oslo"): ["c"],
    }
    assert list(groups) == sorted(groups, key=lambda machine: machine.label)


def test_a_machine_is_the_same_whichever_way_its_nulls_are_written():
    for null in (None, float("nan"), pd.NA):
        assert machine_of([null, "fan", "id_00", null]) == Machine("fan", "id_00")
    assert machine_of(["oslo", "fan", "id_00", "6_dB"]) == Machine("fan", "id_00", "oslo", "6_dB")


def test_a_machine_is_silent_when_it_was_heard_before_and_is_not_now(lake):
    machines = {"a": {"machine_id": "id_00"}, "b": {"machine_id": "id_02"}, "c": {"machine_id": "id_04"}}
    add(lake, machines, batch="2026-11-20")
    add(lake, {"d": {"machine_id": "id_00"}, "e": {"machine_id": "id_06"}}, batch="2026-11-21")
    add(lake, {"f": {"machine_id": "id_02"}}, batch="2026-11-22")
    everything = load(lake)

    def silent(*nights, machines=None):
        scope = Scope(frozenset(nights) if nights else None, machines)
        return [machine.machine_id for machine in silent_machines(everything.history, scope)]

    assert silent("2026-11-21") == ["id_02", "id_04"]
    assert silent("2026-11-22") == ["id_00", "id_04", "id_06"]
    assert silent("2026-11-21", "2026-11-22") == ["id_04"]
    assert silent("2026-11-21", machines="fan/id_02") == ["id_02"]
    assert silent("2026-11-20") == silent() == []


def test_a_file_that_changes_there_and_back_and_there_again_is_what_it_is_now(tmp_path):
    """A -> B -> A -> B: each time the lake holds the bytes that are in the archive, and decodes them once."""
    path = tmp_path / "plant.zip"
    members = machine("fan/id_00", 3, 0, duration_s=2.0)
    changing = "fan/id_00/normal/00000001.wav"
    versions = [members[changing], wav(tone(77, duration_s=2.0, frequency_hz=880.0))]
    work = Run(str(tmp_path / "lake"), small())
    seen = []
    for turn in range(5):
        write_zip(path, {**members, changing: versions[turn % 2]}, zipfile.ZIP_STORED)
        assert ingest_sources.fn(work, [str(path)]).new == (3 if turn == 0 else 1)
        assert compute_spectrograms.fn(work).recordings_decoded == (3 if turn == 0 else 1)
        rows = work.catalog().recordings
        assert rows["status"].tolist() == ["accepted"] * 3
        row = rows[rows["member"] == changing].iloc[0]
        seen.append((row["content_tag"], row["part_id"], row["rms_dbfs"]))
        assert ingest_sources.fn(work, [str(path)]).new == 0
    tags, parts, loudness = zip(*seen, strict=True)
    assert tags == (tags[0], tags[1], tags[0], tags[1], tags[0])
    assert tags[0] != tags[1]
    assert len(set(parts)) == 5
    assert loudness == (loudness[0], loudness[1], loudness[0], loudness[1], loudness[0])


def test_no_decoding_is_spent_on_what_is_superseded(tmp_path):
    path = tmp_path / "plant.zip"
    members = machine("fan/id_00", 3, 0, duration_s=2.0)
    work = Run(str(tmp_path / "lake"), small())
    for frequency_hz in (440.0, 880.0):
        members["fan/id_00/normal/00000001.wav"] = wav(tone(7, duration_s=2.0, frequency_hz=frequency_hz))
        write_zip(path, members, zipfile.ZIP_STORED)
        ingest_sources.fn(work, [str(path)])
    # Two parts, four rows, three recordings; the superseded bytes are in no archive any longer.
    assert len(current_recordings(work.lake)[1]) == 2
    assert compute_spectrograms.fn(work).recordings_decoded == 3
    assert work.catalog().recordings["status"].tolist() == ["accepted"] * 3
