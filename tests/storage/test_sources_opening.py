"""Members as seekable files: the same bytes as read whole, from any container, and as few of them as asked for."""

import io
import tarfile
import zipfile

import numpy as np
import pytest
from sources_helpers import EXTENSIONS

from humwatch.storage.reasons import Reason
from humwatch.storage.sources import ReadProblem, list_members, open_members, opening
from humwatch.storage.sources.decompression import Damaged

LIMIT = 1 << 30
FILES = {
    f"fan/{index}.wav": np.random.default_rng(index).integers(0, 64, 700_000).astype("u1").tobytes() for index in (0, 1)
}


def as_tar(path, mode):
    with tarfile.open(path, mode) as archive:
        for name, data in FILES.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1
            archive.addfile(info, io.BytesIO(data))


def as_zip(path, compression):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in FILES.items():
            archive.writestr(name, data)


CONTAINERS = {
    "x.zip": lambda path: as_zip(path, zipfile.ZIP_STORED),
    "deflated.zip": lambda path: as_zip(path, zipfile.ZIP_DEFLATED),
    "x.tar": lambda path: as_tar(path, "w"),
    "x.tar.gz": lambda path: as_tar(path, "w:gz"),
}


@pytest.fixture(params=[*CONTAINERS, "folder"])
def source(request, tmp_path):
    if request.param == "folder":
        for name, data in FILES.items():
            (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "folder" / name).write_bytes(data)
    else:
        CONTAINERS[request.param](tmp_path / request.param)
    return tmp_path / request.param


def test_the_bytes_are_those_of_the_member_wherever_one_goes(source):
    members = list_members(str(source), EXTENSIONS, LIMIT).members
    seen = {}
    for member, file in open_members(members, read_ahead_bytes=1 << 16):
        data = FILES[member.path[member.path.index("fan/") :]]
        for start, size in ((0, 10), (600_000, 200_000), (5, 300_000), (0, 100), (699_999, 5), (700_000, 1)):
            assert file.seek(start) == start
            assert file.read(size) == data[start : start + size]
        assert file.seek(-3, io.SEEK_END) == len(data) - 3
        seen[member.path] = file.read()
    assert sorted(seen) == sorted(member.path for member in members)


def test_of_a_stored_member_only_what_is_asked_for_is_fetched(tmp_path, monkeypatch):
    as_zip(tmp_path / "x.zip", zipfile.ZIP_STORED)
    members = list_members(str(tmp_path / "x.zip"), EXTENSIONS, LIMIT).members
    fetched = []
    fetching = opening._fetching

    def counting(fs, path, uri):
        fetch = fetching(fs, path, uri)
        return lambda start, end: fetched.append(end - start) or fetch(start, end)

    monkeypatch.setattr(opening, "_fetching", counting)
    for _, file in open_members(members[:1], read_ahead_bytes=1000):
        file.seek(300_000)
        file.read(20_000)
    assert sum(fetched) < 20_000 + 10_000


def test_a_member_that_was_replaced_or_cut_says_so(source):
    members = list_members(str(source), EXTENSIONS, LIMIT).members
    if source.is_dir():
        for path in source.rglob("*.wav"):
            path.write_bytes(b"short")
        expected = {Reason.TRUNCATED}
    else:
        shorter = dict.fromkeys(FILES, b"other bytes")
        before = dict(FILES)
        FILES.update(shorter)
        try:
            CONTAINERS[source.name](source)
        finally:
            FILES.update(before)
        expected = {Reason.SOURCE_GONE, Reason.CORRUPT}
    problems = [file for _, file in open_members(members, read_ahead_bytes=1 << 16)]
    assert all(isinstance(problem, ReadProblem) for problem in problems)
    assert {problem.reason for problem in problems} <= expected


def test_a_source_that_is_gone_is_a_problem_of_its_members(source):
    members = list_members(str(source), EXTENSIONS, LIMIT).members
    for path in [source, *source.rglob("*.wav")] if source.is_dir() else [source]:
        if path.is_file():
            path.unlink()
    assert [problem.reason for _, problem in open_members(members, read_ahead_bytes=10)] == [Reason.SOURCE_GONE] * 2


def test_what_was_refused_while_listing_stays_so(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"")
    ((_, problem),) = open_members(list_members(str(tmp_path), EXTENSIONS, LIMIT).members, read_ahead_bytes=10)
    assert problem.reason is Reason.EMPTY_FILE


def test_a_damaged_deflated_member_raises_no_wrong_bytes(tmp_path):
    as_zip(tmp_path / "x.zip", zipfile.ZIP_DEFLATED)
    members = list_members(str(tmp_path / "x.zip"), EXTENSIONS, LIMIT).members
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[200_000:200_100] = bytes(100)
    (tmp_path / "x.zip").write_bytes(data)
    (_, file), *_ = open_members(members[:1], read_ahead_bytes=1 << 16)
    with pytest.raises(Damaged):
        file.read()
