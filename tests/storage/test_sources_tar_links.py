"""Hard links and sparse files in tars: the bytes they stand for, as GNU tar writes them and as `tarfile` does."""

import os
import random
import subprocess
import tarfile

import pytest
from sources_helpers import EXTENSIONS, LIMIT, STREAMED, CountedFileSystem, counted, tar_bytes

from humwatch.storage.reasons import Reason
from humwatch.storage.sources import ReadProblem, list_members, read_members

PACK = {"x.tar": tar_bytes} | {name: STREAMED[name] for name in ("x.tgz", "x.tbz2", "x.txz", "x.tzst")}
RANDOM = random.Random(5)
DATA = {f"day1/{number}.wav": RANDOM.randbytes(900 + number) for number in range(5)} | {"store/ab12": b"object" * 99}
LINKS = {f"day2/{number}.wav": f"day1/{number}.wav" for number in range(4)} | {
    "day2/stored.wav": "store/ab12",
    "day2/again.wav": "./day2/0.wav",
    "day2/" + "long_" * 30 + ".wav": "day1/4.wav",
}
AFTER = {"day3/0.wav": b"what comes after"}
EXPECTED = {
    **{name: data for name, data in DATA.items() if name.endswith(".wav")},
    **{name: DATA[{"./day2/0.wav": "day1/0.wav"}.get(target, target)] for name, target in LINKS.items()},
    **AFTER,
}


def link(name, target, kind=tarfile.LNKTYPE, mtime=1_700_000_000):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mtime = kind, target, mtime
    return info


def with_links(**of_links):
    return {**DATA, **{name: link(name, target, **of_links) for name, target in LINKS.items()}, **AFTER}


def listed(source, limit=LIMIT):
    return list_members(str(source), EXTENSIONS, limit).members


def read(members):
    return {member.member: data for member, data in read_members(members, LIMIT)}


@pytest.fixture(params=PACK)
def archive(request, tmp_path):
    """A path, and what writes files to it."""
    path = tmp_path / request.param
    return path, lambda files: path.write_bytes(PACK[request.param](files))


def test_a_hard_link_has_the_bytes_of_what_it_links_to(archive):
    path, write = archive
    write(with_links())
    members = listed(path)
    assert {member.problem for member in members} == {None}
    assert {member.member: member.size_bytes for member in members} == {
        name: len(data) for name, data in EXPECTED.items()
    }
    assert read(members) == EXPECTED
    assert read(members[::-1]) == EXPECTED


def test_a_hard_link_alone_is_read_as_well(archive):
    path, write = archive
    write(with_links())
    for member in listed(path):
        assert read([member]) == {member.member: EXPECTED[member.member]}


def test_links_of_a_compressed_tar_come_with_one_pass():
    data = STREAMED["x.tgz"](with_links())
    uri = counted("x.tgz", data)
    members = listed(uri)
    CountedFileSystem.requests.clear()
    assert read(members) == EXPECTED
    assert sum(size for _, size in CountedFileSystem.requests) == len(data)


def test_the_tag_of_a_link_follows_the_bytes(archive):
    path, write = archive
    tags = []
    for first in (b"one", b"two"):
        write({"a.wav": first, "b.wav": link("b.wav", "a.wav", mtime=0)})
        tags.append({member.member: member.content_tag for member in listed(path)}["b.wav"])
    assert tags[0] != tags[1]


def test_links_in_an_archive_that_was_written_again(archive):
    path, write = archive
    write(with_links())
    members = listed(path)
    write({"a_new.wav": RANDOM.randbytes(5000), **with_links()})
    got = read(members)
    # In a compressed tar a link is known by where its bytes lie; listing it again mends that.
    moved = {name for name, data in got.items() if isinstance(data, ReadProblem)}
    assert moved <= LINKS.keys()
    assert all(got[name].reason is Reason.SOURCE_GONE for name in moved)
    assert all(data == EXPECTED[name] for name, data in got.items() if name not in moved)
    assert (path.suffix == ".tar") is not bool(moved)
    assert read(member for member in listed(path) if member.member in EXPECTED) == EXPECTED


def test_links_to_what_cannot_be_read(archive):
    path, write = archive
    write(
        {
            "later.wav": link("later.wav", "ok.wav"),
            "ok.wav": b"1",
            "outside.wav": link("outside.wav", "/etc/passwd"),
            "symbolic.wav": link("symbolic.wav", "ok.wav", tarfile.SYMTYPE),
            "of_symbolic.wav": link("of_symbolic.wav", "symbolic.wav"),
            "empty": b"",
            "of_empty.wav": link("of_empty.wav", "empty"),
            "big": bytes(LIMIT + 1),
            "of_big.wav": link("of_big.wav", "big"),
        }
    )
    assert {member.member: member.problem for member in listed(path)} == {
        "later.wav": Reason.UNSAFE_PATH,
        "ok.wav": None,
        "outside.wav": Reason.UNSAFE_PATH,
        "symbolic.wav": Reason.UNSAFE_PATH,
        "of_symbolic.wav": Reason.UNSAFE_PATH,
        "of_empty.wav": Reason.EMPTY_FILE,
        "of_big.wav": Reason.TOO_LARGE,
    }


def sparse_folder(root):
    """Files with holes of several kinds, one linked to, and a whole one between them."""
    (root / "in").mkdir()
    contents = {
        "holes.wav": bytes(100_000) + b"sound" * 1000 + bytes(200_000) + b"end",
        "only_hole.wav": bytes(300_000),
        "long_" * 30 + ".wav": b"begin" + bytes(400_000),
        "many.wav": b"".join(RANDOM.randbytes(4096) + bytes(4096) for _ in range(60)),
        "whole.wav": RANDOM.randbytes(10_000),
    }
    for name, data in contents.items():
        with (root / "in" / name).open("wb") as file:
            for start in range(0, len(data), 4096):
                piece = data[start : start + 4096]
                file.seek(start)
                if piece.strip(b"\0"):
                    file.write(piece)
            file.truncate(len(data))
        os.utime(root / "in" / name, (1_700_000_000, 1_700_000_000))
    (root / "in" / "z_link.wav").hardlink_to(root / "in" / "holes.wav")
    return contents | {"z_link.wav": contents["holes.wav"]}


FORMS = [
    ["--format=gnu"],
    ["--format=posix", "--sparse-version=0.0"],
    ["--format=posix", "--sparse-version=0.1"],
    ["--format=posix", "--sparse-version=1.0"],  # bsdtar's
]


def gnu_tar(root, name, *options):
    """Pack what is in the folder `in`, with the test for holes that does not ask the filesystem."""
    args = ["tar", "--sparse", "--hole-detection=raw", "--sort=name", *options, "-caf", name, "-C", "in", "."]
    subprocess.run(args, cwd=root, check=True)
    return root / name


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz"])
@pytest.mark.parametrize("reproducible", [False, True])
def test_sparse_files(tmp_path, form, name, reproducible):
    contents = sparse_folder(tmp_path)
    path = gnu_tar(tmp_path, name, *form, *(["--mtime=@0"] if reproducible else []))
    members = listed(path)
    assert {member.member: member.problem for member in members} == dict.fromkeys(contents)
    assert {member.compression for member in members} == ({"none", "sparse"} if name == "x.tar" else {"gzip_stream"})
    assert read(members) == contents
    for member in members:
        assert read([member]) == {member.member: contents[member.member]}


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
def test_sparse_files_in_an_archive_that_was_written_again(tmp_path, form):
    contents = sparse_folder(tmp_path)
    members = listed(gnu_tar(tmp_path, "x.tar", *form))
    (tmp_path / "in" / "a_new.wav").write_bytes(RANDOM.randbytes(5000))
    gnu_tar(tmp_path, "x.tar", *form)
    assert read(members) == contents
    path = tmp_path / "x.tar"
    path.write_bytes(path.read_bytes().replace(b"end", b"END"))
    holes = [member for member in members if member.member == "holes.wav"]
    assert read(holes) == {"holes.wav": contents["holes.wav"][:-3] + b"END"}


def test_a_hole_that_is_too_large(tmp_path):
    (tmp_path / "in").mkdir()
    with (tmp_path / "in" / "a.wav").open("wb") as file:
        file.truncate(LIMIT + 1)
    for form in FORMS:
        (member,) = listed(gnu_tar(tmp_path, "x.tar", *form))
        assert member.problem is Reason.TOO_LARGE


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
def test_a_sparse_file_cut_off_since_it_was_listed(tmp_path, form):
    sparse_folder(tmp_path)
    path = gnu_tar(tmp_path, "x.tar", *form)
    (member,) = (member for member in listed(path) if member.member == "many.wav")
    data = path.read_bytes()
    for kept in (member.byte_start, member.byte_start + 100, member.byte_start + 600, member.byte_end - 4096):
        path.write_bytes(data[:kept])
        (problem,) = read([member]).values()
        assert problem.reason in {Reason.CORRUPT, Reason.TRUNCATED}
