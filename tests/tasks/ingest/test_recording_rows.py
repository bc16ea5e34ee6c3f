"""From members to rows: what a recording is called, what is new of it, and where names may lead."""

import shutil
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from recordings import machine, tone, wav, write_zip

from humwatch.storage.errors import BadConfiguration
from humwatch.storage.lake import Lake
from humwatch.storage.parts import create_part, list_parts, read_part
from humwatch.storage.sources import list_members, read_members
from humwatch.storage.tables import RECORDINGS
from humwatch.tasks.ingest.name_rules import NameRules
from humwatch.tasks.ingest.recording_rows import add_listed, as_parts, member_of, new_rows, recording_id, rows_of
from humwatch.tasks.plan.catalog import current_recordings
from humwatch.tasks.settings import IngestSettings

NOW = datetime(2026, 11, 21, tzinfo=UTC)
FAN = machine("fan/id_00", 2, 1, duration_s=0.1)


@pytest.fixture
def lake(tmp_path):
    return Lake.open(str(tmp_path / "lake"))


def listed(source, pattern=None, at=NOW):
    rules = NameRules.of(IngestSettings(name_pattern=pattern))
    return rows_of(list_members(str(source), ("wav", "flac"), 1 << 20), rules, at)[0]


def together(*sources):
    rows = {}
    for source in sources:
        add_listed(rows, listed(source))
    return list(rows.values())


def take_in(lake, *sources, at=NOW):
    """What the ingest stage does with sources: keep what is new; return how much that was."""
    known, _ = current_recordings(lake)
    rows = {}
    for source in sources:
        add_listed(rows, listed(source, at=at))
    new = new_rows(list(rows.values()), known)
    for (machine_type, batch), table in as_parts(new).items():
        create_part(lake, machine_type, batch, table)
    return len(new)


def minute(number):
    return NOW.replace(minute=number)


def test_every_member_is_a_row_that_says_what_its_name_says(tmp_path):
    rows = listed(write_zip(tmp_path / "plant-6_dB.zip", {**FAN, "readme.txt": b"no sound"}))
    assert {tuple(row) for row in rows} == {tuple(rows[0])}
    assert set(rows[0]) == {*RECORDINGS.names, "facts", "machine_of_file", "id_channel"}
    facts = ("member", "machine_type", "machine_id", "condition", "batch", "label", "reason", "replaces", "ingested_at")
    assert [[row[name] for name in facts] for row in rows] == [
        ["fan/id_00/abnormal/00000000.wav", "fan", "id_00", "-6_dB", "-6_dB", "abnormal", None, None, NOW],
        ["fan/id_00/normal/00000000.wav", "fan", "id_00", "-6_dB", "-6_dB", "normal", None, None, NOW],
        ["fan/id_00/normal/00000001.wav", "fan", "id_00", "-6_dB", "-6_dB", "normal", None, None, NOW],
    ]
    assert all(row["recording_id"] == recording_id(f"plant-6_dB.zip/{row['member']}") for row in rows)


def test_a_recording_is_called_the_same_wherever_its_source_lies(tmp_path):
    archive = write_zip(tmp_path / "plant.zip", FAN)
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.copy(archive, tmp_path / "elsewhere")
    assert [row["recording_id"] for row in listed(archive)] == [row["recording_id"] for row in listed(moved)]
    # printf '%s' '"plant.zip/fan/id_00/normal/00000000.wav"' | sha256sum
    assert recording_id("plant.zip/fan/id_00/normal/00000000.wav") == "921b32c5d4fda485"


def test_the_same_source_twice_adds_nothing(tmp_path):
    archive = write_zip(tmp_path / "plant.zip", FAN)
    assert together(archive, archive) == together(archive) == listed(archive)


def test_the_same_name_in_two_sources_is_believed_once_and_counted_twice(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    first = write_zip(tmp_path / "a" / "plant.zip", FAN)
    second = write_zip(tmp_path / "b" / "plant.zip", {**FAN, "fan/id_00/normal/00000009.wav": wav(tone(9))})
    rows = together(first, second)
    assert len(rows) == 7
    assert len({row["recording_id"] for row in rows}) == 7
    assert [(row["source_uri"], row["member"][-12:]) for row in rows if row["reason"] is None] == [
        *((first.as_uri(), name) for name in ("00000000.wav", "00000000.wav", "00000001.wav")),
        (second.as_uri(), "00000009.wav"),
    ]
    rejected = [row for row in rows if row["reason"] is not None]
    assert {(row["source_uri"], row["reason"]) for row in rejected} == {(second.as_uri(), "duplicate_name")}
    # Again together: nothing new, in whatever order the first of them was found to be right.
    assert together(first, second, first, second) == rows


def test_what_is_known_is_not_new(lake, tmp_path):
    archive = write_zip(tmp_path / "plant.zip", FAN)
    assert take_in(lake, archive) == 3
    assert take_in(lake, archive, at=minute(1)) == 0
    assert take_in(lake, archive, archive, at=minute(2)) == 0
    further = write_zip(tmp_path / "further.zip", machine("fan/id_02", 1, 0, duration_s=0.1))
    assert take_in(lake, archive, further, at=minute(3)) == 1
    assert len(list_parts(lake)) == 2


def test_a_source_that_moves_about_is_where_it_is_now(lake, tmp_path):
    """There, elsewhere, somewhere else, and back: each move is a part of its own, and the newest counts."""
    folders = [tmp_path / name for name in ("one", "two", "three")]
    here = write_zip(tmp_path / "plant.zip", FAN)
    for turn, folder in enumerate([*folders, folders[0], folders[1]]):
        folder.mkdir(exist_ok=True)
        here = shutil.move(here, folder / "plant.zip")
        assert take_in(lake, here, at=minute(turn)) == 3
        rows, parts = current_recordings(lake)
        assert len(parts) == turn + 1
        assert set(rows["source_uri"]) == {Path(here).as_uri()}
        assert len(rows) == 3
        assert take_in(lake, here, at=minute(turn)) == 0


def test_a_changed_recording_is_a_part_of_its_own_and_says_what_it_replaces(lake, tmp_path):
    archive = write_zip(tmp_path / "plant.zip", FAN)
    take_in(lake, archive)
    write_zip(archive, {**FAN, "fan/id_00/normal/00000001.wav": wav(tone(5, duration_s=0.1))})
    assert take_in(lake, archive, at=minute(1)) == 1
    tables = sorted((read_part(lake, part) for part in list_parts(lake)), key=len)
    assert [table.num_rows for table in tables] == [1, 3]
    assert tables[0]["member"].to_pylist() == ["fan/id_00/normal/00000001.wav"]
    assert tables[0]["replaces"].null_count == 0
    assert tables[1]["replaces"].null_count == 3


def test_new_facts_about_the_same_bytes_are_news(lake, tmp_path):
    folder = tmp_path / "plant"
    folder.mkdir()
    (folder / "a.wav").write_bytes(wav(tone(1, duration_s=0.1)))
    for turn, label in enumerate(["normal", "abnormal", "normal", "abnormal"]):
        manifest = f"path,machine_type,machine_id,label\na.wav,fan,id_00,{label}\n"
        (folder / "manifest.csv").write_text(manifest)
        assert take_in(lake, folder, at=minute(turn)) == 1
        rows, _ = current_recordings(lake)
        assert rows["label"].tolist() == [label]


def test_parts_are_sorted_by_machine_then_source_then_member(tmp_path):
    sources = [
        write_zip(tmp_path / f"{name}.zip", {f"{member}.wav": b"RIFF" for member in members})
        for name, members in {
            "b": ("fan/id_02/normal/1", "fan/id_00/normal/2", "pump/id_00/normal/1"),
            "a": ("fan/id_02/normal/9", "fan/id_00/normal/10"),
        }.items()
    ]
    parts = as_parts(together(*sources))
    assert list(parts) == [("fan", "all"), ("pump", "all")]
    assert parts["fan", "all"].schema.equals(RECORDINGS)
    assert parts["fan", "all"]["path"].to_pylist() == [
        "a.zip/fan/id_00/normal/10.wav",
        "b.zip/fan/id_00/normal/2.wav",
        "a.zip/fan/id_02/normal/9.wav",
        "b.zip/fan/id_02/normal/1.wav",
    ]


@pytest.mark.parametrize(
    "name",
    ["../../fan/id_00/normal/1.wav", "/etc/id_00/normal/1.wav", "fan/../../../id_00/1.wav", "C:\\fan\\id_00\\1.wav"],
)
def test_a_name_that_leaves_its_archive_is_rejected_and_names_no_place_in_the_lake(lake, tmp_path, name):
    archive = write_zip(tmp_path / "evil.zip", {name: wav(tone(1, duration_s=0.1)), **FAN})
    assert take_in(lake, archive) == 4
    rows, _ = current_recordings(lake)
    (unsafe,) = rows[rows["reason"].notna()].to_dict("records")
    assert (unsafe["reason"], unsafe["machine_type"], unsafe["machine_id"]) == ("unsafe_path", "unknown", "unknown")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.zip", "lake"]


@pytest.mark.parametrize("kind", ["..", ".", "...", "a\\b", "machine_type=x", "%2e%2e"])
def test_whatever_a_manifest_calls_a_machine_stays_in_the_lake(lake, tmp_path, kind):
    folder = tmp_path / "plant"
    folder.mkdir()
    (folder / "a.wav").write_bytes(wav(tone(1, duration_s=0.1)))
    (folder / "manifest.csv").write_text(f"path,machine_type,machine_id,batch\na.wav,{kind},{kind},{kind}\n")
    assert take_in(lake, folder) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake", "plant"]
    (part,) = list_parts(lake)
    rows, _ = current_recordings(lake)
    assert [rows[name].item() for name in ("machine_type", "machine_id", "batch")] == [kind] * 3
    assert (part.machine_type, part.batch) == (kind, kind)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_row_that_went_through_the_lake_still_finds_its_bytes(lake, tmp_path, compression):
    take_in(lake, write_zip(tmp_path / "plant.zip", FAN, compression))
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "fan_id_02.wav").write_bytes(FAN["fan/id_00/normal/00000000.wav"])
    take_in(lake, tmp_path / "more", at=minute(1))
    rows, _ = current_recordings(lake)
    assert len(rows) == 4
    members = {member_of(row): row for row in rows.to_dict("records")}
    expected = {**FAN, "": FAN["fan/id_00/normal/00000000.wav"]}
    read = {members[member]["member"]: data for member, data in read_members(list(members), 1 << 20)}
    assert read == expected


def test_numbers_that_pandas_made_floats_are_integers_again(tmp_path):
    (row,) = listed(write_zip(tmp_path / "plant.zip", {"fan/id_00/normal/1.wav": b"RIFF"}))
    through_pandas = pd.DataFrame([row, {**row, "crc32": None, "byte_start": None, "byte_end": None}]).to_dict(
        "records"
    )
    whole, without = map(member_of, through_pandas)
    assert isinstance(through_pandas[0]["crc32"], float)
    assert (whole.crc32, whole.byte_start, whole.byte_end) == (row["crc32"], row["byte_start"], row["byte_end"])
    assert isinstance(whole.crc32, int)
    assert (without.crc32, without.byte_start, without.byte_end) == (None, None, None)


def test_a_wrong_pattern_is_bad_configuration(tmp_path):
    with pytest.raises(BadConfiguration, match="name_pattern"):
        listed(write_zip(tmp_path / "plant.zip", FAN), pattern="(")
