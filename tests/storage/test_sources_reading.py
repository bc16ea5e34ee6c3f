"""The bytes of members: right ones, in few requests, and a reason for every one that cannot be read."""

import io
import random
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from dataclasses import replace

import fsspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sources_helpers import (
    EXTENSIONS,
    LIMIT,
    STREAMED,
    ZIPS,
    CountedFileSystem,
    counted,
    lzma_without_end_mark,
    patch_central,
    tar_bytes,
    zip_by,
    zip_bytes,
)

from humwatch.storage.errors import StorageUnavailable
from humwatch.storage.reasons import Reason
from humwatch.storage.sources import ReadProblem, list_members, read_members
from humwatch.storage.sources.reading import MAX_READ_BYTES

RANDOM = random.Random(7)
FILES = {f"fan/id_{number % 3:02d}/{number:02d}.wav": RANDOM.randbytes(3000) + bytes(900) for number in range(20)}


def listed(source, limit=LIMIT):
    return list_members(str(source), EXTENSIONS, limit).members


def contents(members, limit=LIMIT):
    return [(member.member or member.path, data) for member, data in read_members(members, limit)]


def read(path, data, limit=LIMIT):
    path.write_bytes(data)
    return dict(contents(listed(path, limit), limit))


class Unseekable(io.RawIOBase):
    """What makes `zipfile` write sizes behind the data: a stream."""

    def __init__(self):
        self.data = bytearray()

    def writable(self):
        return True

    def write(self, data):
        self.data += bytes(data)
        return len(data)


def streamed_zip(files, method=zipfile.ZIP_DEFLATED):
    stream = Unseekable()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return bytes(stream.data)


def with_local_extra(archive):
    """Put an extra field of its own length into the (only) local header, as many packers do."""
    name_bytes, extra_bytes = struct.unpack_from("<2H", archive, 26)
    assert extra_bytes == 0
    extra = struct.pack("<2H", 0x5455, 9) + bytes(9)
    head = archive[:28] + struct.pack("<H", len(extra)) + archive[30 : 30 + name_bytes] + extra
    body = bytearray(archive[30 + name_bytes :])
    end = body.rindex(b"PK\5\6")
    struct.pack_into("<I", body, end + 16, struct.unpack_from("<I", body, end + 16)[0] + len(extra))
    return head + bytes(body)


ARCHIVES = {
    "stored.zip": zip_bytes(FILES),
    "deflated.zip": zip_bytes(FILES, zipfile.ZIP_DEFLATED),
    "zip64.zip": zip_bytes(FILES, zipfile.ZIP_DEFLATED, zip64=True),
    "streamed.zip": streamed_zip(FILES),
    "streamed_stored.zip": streamed_zip(FILES, zipfile.ZIP_STORED),
    "prefixed.zip": b"#!/bin/sh\nexit\n" + zip_bytes(FILES),
    "ustar.tar": tar_bytes(FILES),
    **{f"{method}.zip": pack(FILES) for method, pack in ZIPS.items()},
    **{name: pack(FILES) for name, pack in STREAMED.items()},
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_every_kind_of_archive(tmp_path, name):
    assert read(tmp_path / name, ARCHIVES[name]) == FILES


def test_lzma_without_an_end_mark(tmp_path):
    files = {"a.wav": b"sound " * 1000, "b.wav": RANDOM.randbytes(900) + bytes(9000)}
    good = zip_by(files, 14, lzma_without_end_mark)
    assert read(tmp_path / "x.zip", good) == files
    assert reasons(read(tmp_path / "x.zip", patch_central(good, size=5999)))["a.wav"] is Reason.CORRUPT
    assert reasons(read(tmp_path / "x.zip", patch_central(good, size=6001)))["a.wav"] is not None


def test_a_folder(tmp_path):
    for name, data in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    expected = {f"{tmp_path.name}/{name}": data for name, data in FILES.items()}
    assert dict(contents(listed(tmp_path))) == expected


def test_local_header_longer_than_the_central_one(tmp_path):
    data = with_local_extra(zip_bytes({"a.wav": b"hello"}))
    assert zipfile.ZipFile(io.BytesIO(data)).read("a.wav") == b"hello"
    assert read(tmp_path / "x.zip", data) == {"a.wav": b"hello"}


def test_names_in_many_scripts_and_long_ones(tmp_path):
    files = {"Lüfter/换气扇/ポンプ 1.wav": b"1", "é" * 120 + ".wav": b"22", "a" * 180 + "/" + "b" * 90 + ".wav": b"333"}
    assert read(tmp_path / "x.zip", zip_bytes(files)) == files
    assert read(tmp_path / "x.tar", tar_bytes(files)) == files
    assert read(tmp_path / "x.tgz", tar_bytes(files, "w:gz")) == files


@pytest.mark.parametrize("name", ["deflated.zip", "ustar.tar", "x.tar.gz"])
def test_in_the_order_asked(tmp_path, name):
    (tmp_path / name).write_bytes(ARCHIVES[name])
    members = list(listed(tmp_path / name))
    random.Random(3).shuffle(members)
    some = members[:7]
    assert contents(some) == [(member.member, FILES[member.member]) for member in some]


def test_members_of_several_sources(tmp_path):
    for name in ("deflated.zip", "ustar.tar", "x.tar.gz"):
        (tmp_path / name).write_bytes(ARCHIVES[name])
    (tmp_path / "plain.wav").write_bytes(b"12345")
    members = list(listed(tmp_path))
    assert len(members) == 3 * len(FILES) + 1
    random.Random(3).shuffle(members)
    for member, data in read_members(members, LIMIT):
        assert data == FILES.get(member.member, b"12345")


names = st.text(st.characters(codec="utf-8", exclude_characters="/\\\0:.#"), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.dictionaries(names, st.binary(min_size=1, max_size=3000), min_size=1, max_size=8),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]),
    streamed=st.booleans(),
    comment=st.binary(max_size=30),
    order=st.randoms(use_true_random=False),
)
def test_same_as_zipfile(tmp_path, files, method, streamed, comment, order):
    files = {f"{name}.wav": data for name, data in files.items()}
    data = streamed_zip(files, method) if streamed else zip_bytes(files, method)
    data = data[:-2] + struct.pack("<H", len(comment)) + comment
    (tmp_path / "x.zip").write_bytes(data)
    members = list(listed(tmp_path / "x.zip"))
    order.shuffle(members)
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert dict(contents(members)) == {name: archive.read(name) for name in archive.namelist()}


# --- few requests, few bytes


def fetched(members):
    CountedFileSystem.requests.clear()
    assert all(isinstance(data, bytes) for _, data in read_members(members, LIMIT))
    return len(CountedFileSystem.requests), sum(size for _, size in CountedFileSystem.requests)


@pytest.mark.parametrize("name", ["big.zip", "big.tar"])
def test_neighbours_come_in_one_request(name):
    files = {f"{number:03d}.wav": RANDOM.randbytes(20_000) for number in range(300)}
    uri = counted(name, zip_bytes(files) if name == "big.zip" else tar_bytes(files))
    block = listed(uri)[100:164]
    requests, size = fetched(block)
    assert requests == 1
    assert size <= 1.1 * 64 * 20_000


def test_members_far_apart_come_alone():
    files = {f"{number:03d}.wav": RANDOM.randbytes(20_000) for number in range(300)}
    uri = counted("big.zip", zip_bytes(files))
    requests, size = fetched(listed(uri)[::10])
    assert requests == 30
    assert size <= 1.1 * 30 * 20_000


def test_a_small_gap_is_read_over():
    files = {f"{number:03d}.wav": RANDOM.randbytes(20_000) for number in range(300)}
    uri = counted("big.zip", zip_bytes(files))
    members = listed(uri)
    requests, size = fetched(members[:50] + members[51:100])
    assert requests == 1
    assert size <= 1.1 * 99 * 20_000


def test_one_request_has_a_limit():
    block = MAX_READ_BYTES // 4 + 1
    files = {f"{number}.wav": RANDOM.randbytes(block) for number in range(5)}
    uri = counted("big.zip", zip_bytes(files))
    members = list_members(uri, EXTENSIONS, 1 << 30).members
    CountedFileSystem.requests.clear()
    assert sum(len(data) for _, data in read_members(members, 1 << 30)) == 5 * block
    assert len(CountedFileSystem.requests) == 2
    assert max(size for _, size in CountedFileSystem.requests) <= MAX_READ_BYTES


def test_a_compressed_tar_is_streamed_once_and_no_further_than_needed():
    files = {f"{number:03d}.wav": RANDOM.randbytes(200_000) for number in range(100)}
    data = tar_bytes(files, "w:gz")
    uri = counted("big.tar.gz", data)
    members = listed(uri)
    _, size = fetched(members[::-1])
    assert size <= len(data) + 1000
    _, size = fetched(members[:3])
    assert size < len(data) / 2


def test_what_was_listed_as_bad_is_not_fetched():
    uri = counted("x.zip", zip_bytes({"a.wav": b"", "../b.wav": b"2"}))
    members = listed(uri)
    CountedFileSystem.requests.clear()
    assert [data.reason for _, data in read_members(members, LIMIT)] == [Reason.UNSAFE_PATH, Reason.EMPTY_FILE]
    assert CountedFileSystem.requests == []


# --- bad members: a reason each, and the others go on


def reasons(found):
    return {name: data.reason if isinstance(data, ReadProblem) else None for name, data in found.items()}


@pytest.mark.parametrize("method", ZIPS)
def test_bad_checksum(tmp_path, method):
    data = patch_central(ZIPS[method]({"a.wav": b"first" * 9, "b.wav": b"second"}), crc=1)
    assert reasons(read(tmp_path / "x.zip", data)) == {"a.wav": Reason.CORRUPT, "b.wav": None}


def test_flipped_bytes(tmp_path):
    good = zip_bytes({"a.wav": RANDOM.randbytes(250).hex().encode(), "b.wav": b"2"}, zipfile.ZIP_DEFLATED)
    for start, flipped in [(35, b"\xff"), (100, bytes(20))]:  # no such block type; other data of the right form
        data = good[:start] + flipped + good[start + len(flipped) :]
        assert reasons(read(tmp_path / "x.zip", data)) == {"a.wav": Reason.CORRUPT, "b.wav": None}
    (tmp_path / "x.tgz").write_bytes(tar_bytes({"a.wav": b"1" * 600, "b.wav": b"2"}, "w:gz"))
    first, second = listed(tmp_path / "x.tgz")
    assert reasons(dict(contents([replace(first, crc32=1), second]))) == {"a.wav": Reason.CORRUPT, "b.wav": None}


def test_no_member_where_the_directory_says(tmp_path):
    data = patch_central(zip_bytes({"a.wav": b"first", "b.wav": b"2"}), offset=3)
    assert reasons(read(tmp_path / "x.zip", data)) == {"a.wav": Reason.CORRUPT, "b.wav": None}


PACKED = sorted(ZIPS.keys() - {"stored"})


@pytest.mark.parametrize("method", PACKED)
def test_a_bomb_that_says_so(tmp_path, method):
    data = ZIPS[method]({"a.wav": bytes(50 << 20), "b.wav": b"2"})
    assert reasons(read(tmp_path / "x.zip", data)) == {"a.wav": Reason.TOO_LARGE, "b.wav": None}


@pytest.mark.parametrize("name", ["x.tgz", "x.tbz2", "x.txz", "x.tzst"])
def test_a_bomb_in_a_compressed_tar(tmp_path, name):
    tar = STREAMED[name]({"a.wav": bytes(5 << 20), "b.wav": b"2"})
    assert reasons(read(tmp_path / name, tar)) == {"a.wav": Reason.TOO_LARGE, "b.wav": None}


@pytest.mark.parametrize("method", PACKED)
@pytest.mark.parametrize("size", [1, 44, LIMIT])
def test_a_bomb_whose_header_lies(tmp_path, method, size):
    data = patch_central(ZIPS[method]({"a.wav": bytes(50 << 20), "b.wav": b"2"}), size=size)
    # LZMA is told where to stop, so that it can read data without an end mark
    reason = Reason.CORRUPT if method == "lzma" else Reason.TOO_LARGE
    assert reasons(read(tmp_path / "x.zip", data)) == {"a.wav": reason, "b.wav": None}


@pytest.mark.parametrize("method", PACKED)
def test_a_bomb_is_not_kept_in_memory(tmp_path, method):
    data = patch_central(ZIPS[method]({"a.wav": bytes(50 << 20)}), size=44)
    (tmp_path / "x.zip").write_bytes(data)
    members = listed(tmp_path / "x.zip", 40 << 20)
    tracemalloc.start()
    assert reasons(dict(contents(members, 40 << 20)))["a.wav"] is not None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 << 20  # of which a dictionary of LZMA has 8 MiB


@pytest.mark.parametrize("method", PACKED)
@pytest.mark.parametrize("spoilt", [0, 3, 50, 300])
def test_packed_bytes_that_were_spoilt(tmp_path, method, spoilt):
    good = ZIPS[method]({"a.wav": RANDOM.randbytes(1000), "b.wav": b"2"})
    at = 30 + len("a.wav") + spoilt
    data = good[:at] + bytes(byte ^ 0x55 for byte in good[at : at + 30]) + good[at + 30 :]
    found = reasons(read(tmp_path / "x.zip", data))
    assert found["a.wav"] in {Reason.CORRUPT, Reason.TRUNCATED}
    assert found["b.wav"] is None


@pytest.mark.parametrize("method", PACKED)
@pytest.mark.parametrize(
    ("size", "reason"), [(99, Reason.CORRUPT), (100, None), (101, Reason.CORRUPT), (5000, Reason.CORRUPT)]
)
def test_a_wrong_size(tmp_path, method, size, reason):
    data = patch_central(ZIPS[method]({"a.wav": b"x" * 100, "b.wav": b"2"}), size=size)
    assert reasons(read(tmp_path / "x.zip", data)) == {"a.wav": reason, "b.wav": None}


@pytest.mark.parametrize(("size", "reason"), [(5000, Reason.TRUNCATED), (10, Reason.CORRUPT)])
def test_deflate_data_that_stop_early(tmp_path, size, reason):
    packed = zlib.compress(RANDOM.randbytes(5000))[2:2000]
    archive = patch_central(zip_bytes({"a.wav": packed}), method=zipfile.ZIP_DEFLATED, size=size)
    assert reasons(read(tmp_path / "x.zip", archive)) == {"a.wav": reason}


@pytest.mark.parametrize("name", ["stored.zip", "ustar.tar"])
def test_an_archive_cut_off_since_it_was_listed(tmp_path, name):
    (tmp_path / name).write_bytes(ARCHIVES[name])
    members = sorted(listed(tmp_path / name), key=lambda member: member.byte_start)
    (tmp_path / name).write_bytes(ARCHIVES[name][: members[10].byte_start + 40])
    found = [data.reason if isinstance(data, ReadProblem) else None for _, data in read_members(members, LIMIT)]
    assert found == [None] * 10 + [Reason.TRUNCATED] * 10


def test_a_compressed_tar_changed_since_it_was_listed(tmp_path):
    (tmp_path / "x.tgz").write_bytes(tar_bytes({"a.wav": b"1", "b.wav": b"2", "c.wav": b"3"}, "w:gz"))
    members = listed(tmp_path / "x.tgz")
    (tmp_path / "x.tgz").write_bytes(tar_bytes({"a.wav": b"1", "b.wav": b"other"}, "w:gz"))
    expected = {"a.wav": None, "b.wav": Reason.CORRUPT, "c.wav": Reason.TRUNCATED}
    assert reasons(dict(contents(members))) == expected
    (tmp_path / "x.tgz").write_bytes(b"gone")
    assert set(reasons(dict(contents(members))).values()) == {Reason.CORRUPT}


def test_a_plain_file_changed_since_it_was_listed(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"12345")
    members = listed(tmp_path / "a.wav")
    (tmp_path / "a.wav").write_bytes(b"123")
    assert [data.reason for _, data in read_members(members, LIMIT)] == [Reason.TRUNCATED]
    (tmp_path / "a.wav").write_bytes(bytes(LIMIT + 1))
    assert [data.reason for _, data in read_members(members, LIMIT)] == [Reason.TOO_LARGE]


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tgz", "x.wav"])
def test_a_source_that_vanished(tmp_path, name):
    data = {".zip": zip_bytes, ".tar": tar_bytes}.get(name[1:], lambda files: tar_bytes(files, "w:gz"))({"a.wav": b"1"})
    (tmp_path / name).write_bytes(data)
    members = listed(tmp_path / name)
    (tmp_path / name).unlink()
    ((member, problem),) = read_members(members, LIMIT)
    assert (member, problem.reason) == (members[0], Reason.SOURCE_GONE)
    assert name in problem.detail


@pytest.mark.parametrize("name", ["stored.zip", "ustar.tar", "x.tar.gz"])
def test_a_store_that_stops_answering_is_worth_a_retry(name):
    uri = counted(name, ARCHIVES[name])
    members = listed(uri)
    CountedFileSystem.failing.append(TimeoutError())
    with pytest.raises(StorageUnavailable, match=name):
        list(read_members(members, LIMIT))


def test_no_members():
    assert list(read_members([], LIMIT)) == []


def test_tar_headers_and_padding_of_all_sizes(tmp_path):
    buffer = io.BytesIO()
    files = {f"{'x' * 120}/{size}.wav": RANDOM.randbytes(size) for size in (1, 511, 512, 513, 1024, 10_239)}
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1.5
            archive.addfile(info, io.BytesIO(data))
    assert read(tmp_path / "x.tar", buffer.getvalue()) == files


def test_memory_filesystem(tmp_path):
    fsspec.filesystem("memory").pipe_file("/here/x.zip", ARCHIVES["deflated.zip"])
    assert dict(contents(listed("memory://here/x.zip"))) == FILES
