"""The lake's promises, the same on a local disk, in memory and on S3."""

import json
import pickle
import threading
import uuid

import pytest
from s3_server import s3_environment, s3_server

from humwatch.storage.errors import LakeTooNew, SourceNotFound
from humwatch.storage.lake import FORMAT_VERSION, Lake
from humwatch.storage.looked_at import LakeLookedAt, SomethingToDo


@pytest.fixture(scope="module")
def s3():
    with s3_server() as server, s3_environment(server.env):
        yield server


@pytest.fixture(params=["file", "memory", "s3"])
def lake(request, tmp_path):
    if request.param == "s3":
        return Lake.open(request.getfixturevalue("s3").new_uri())
    return Lake.open(str(tmp_path / "lake") if request.param == "file" else f"memory://{uuid.uuid4().hex}")


def test_reads_what_was_written_and_replaces_it(lake):
    lake.write("a/b.txt", b"one")
    lake.write("a/b.txt", b"two")
    assert lake.read("a/b.txt") == b"two"


def test_a_missing_object_is_an_error_that_names_it(lake):
    with pytest.raises(SourceNotFound, match="nothing/here"):
        lake.read("nothing/here")


def test_create_keeps_the_first_bytes(lake):
    assert lake.create("mark", b"first")
    assert not lake.create("mark", b"second")
    assert lake.read("mark") == b"first"


@pytest.mark.parametrize("lake", ["file", "s3"], indirect=True)
def test_exactly_one_of_many_creators_wins(lake):
    start = threading.Barrier(16)
    won = []

    def create(index):
        start.wait(30)
        if lake.create("mark", str(index).encode()):
            won.append(index)

    threads = [threading.Thread(target=create, args=(index,)) for index in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert lake.read("mark") == str(won[0]).encode()


def test_lists_objects_below_a_prefix_in_order(lake):
    for name in ("x/2.json", "x/1.json", "x/y/3.json", "x/4.txt", "z.json"):
        lake.write(name, b"")
    assert lake.list("x", ".json") == ["x/1.json", "x/2.json", "x/y/3.json"]
    assert lake.list("absent") == []


def test_names_the_folders_directly_below_a_prefix(lake):
    for name in ("x/b/2.json", "x/b/y/3.json", "x/a/1.json", "x/4.txt", "z/5.json"):
        lake.write(name, b"")
    assert lake.folders("x") == ["a", "b"]
    assert lake.folders("absent") == []


def test_deletes_an_object_or_a_prefix_and_does_not_mind_its_absence(lake):
    lake.write("x/1", b"")
    lake.write("x/2", b"")
    lake.delete("x")
    lake.delete("x")
    assert lake.list("x") == []


def test_a_failed_write_leaves_neither_half_an_object_nor_a_temporary_one(tmp_path, monkeypatch):
    lake = Lake.open(str(tmp_path))
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        lake.write("a", b"data")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake.json"]


def test_exists_speaks_of_objects_and_not_of_prefixes(lake):
    lake.write("x/y", b"")
    assert [lake.exists(path) for path in ("x/y", "x", "x/y/z", "absent")] == [True, False, False, False]


def test_refuses_a_lake_of_a_newer_format(lake):
    lake.write("lake.json", json.dumps({"format_version": FORMAT_VERSION + 1}).encode())
    with pytest.raises(LakeTooNew, match="upgrade"):
        Lake.open(lake.uri)


def test_survives_pickling(lake):
    lake.write("a", b"1")
    assert pickle.loads(pickle.dumps(lake)).read("a") == b"1"


@pytest.mark.parametrize(
    "change",
    [
        lambda lake: lake.write("lake.json", b"{}"),
        lambda lake: lake.create("a.txt", b"new"),
        lambda lake: lake.delete("lake.json"),
        lambda lake: lake.delete_folder("reports", ["reports/index.html"]),
        lambda lake: lake.about_to_write(),
    ],
)
def test_a_lake_that_is_looked_at_is_read_and_not_changed(lake, change):
    before = {path: lake.read(path) for path in lake.list("")}
    looked_at = LakeLookedAt.open(lake.uri)
    assert looked_at.read("lake.json") == before["lake.json"]
    with pytest.raises(SomethingToDo):
        change(looked_at)
    assert {path: lake.read(path) for path in lake.list("")} == before


def test_a_look_begins_no_lake(tmp_path):
    with pytest.raises(SomethingToDo):
        LakeLookedAt.open(str(tmp_path / "lake"))
    assert not (tmp_path / "lake").exists()
