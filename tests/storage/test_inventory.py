"""The inventory has every object with its size and age, on a local disk and in memory."""

import os
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from humwatch.storage.inventory import StoredObject, below, take_inventory
from humwatch.storage.lake import Lake


@pytest.fixture(params=["file", "memory"])
def lake(request, tmp_path):
    return Lake.open(str(tmp_path / "lake") if request.param == "file" else f"memory://{uuid.uuid4().hex}")


def test_every_object_is_there_once_with_its_size_and_the_time_it_was_written(lake):
    before = datetime.now(UTC) - timedelta(seconds=2)
    lake.write("a/b/c.txt", b"123")
    lake.write("a/.tmp-0", b"")
    found = take_inventory(lake)
    assert [(item.path, item.size_bytes) for item in found if item.path != "lake.json"] == [
        ("a/.tmp-0", 0),
        ("a/b/c.txt", 3),
    ]
    after = datetime.now(UTC) + timedelta(seconds=2)
    assert all(before < item.written_at < after for item in found)


def test_the_time_is_that_of_the_last_write(tmp_path):
    lake = Lake.open(str(tmp_path))
    os.utime(tmp_path / "lake.json", (0, 86_400))
    (item,) = take_inventory(lake)
    assert item.written_at == datetime(1970, 1, 2, tzinfo=UTC)


def test_age_is_only_believed_when_it_is_known():
    day = datetime(2026, 1, 1, tzinfo=UTC)
    assert StoredObject("a", 1, day).is_older_than(day + timedelta(1))
    assert not StoredObject("a", 1, day).is_older_than(day)
    assert not StoredObject("a", 1, None).is_older_than(day)


def test_below_is_an_object_or_a_folder_and_nothing_that_only_begins_like_it():
    paths = ["a", "a-b/c", "a.txt", "a/b", "a/b/c", "a0", "ab/c", "b"]
    objects = [StoredObject(path, 0, None) for path in sorted(paths)]
    for folder in ("a", "a/b", "ab", "b", "zz"):
        expected = [path for path in sorted(paths) if path == folder or path.startswith(f"{folder}/")]
        assert [item.path for item in below(objects, folder)] == expected
