"""Places hold for one version of an archive: one that was written again is read where things lie now, or not at all."""

import io
import tarfile
import zipfile

import pytest
from sources_helpers import EXTENSIONS, LIMIT, tar_bytes, zip_bytes

from humwatch.storage.lake import Lake
from humwatch.storage.reasons import Reason
from humwatch.storage.sources import ReadProblem, list_members, listing, read_members

TAR_LONG = "fan/" + "long_" * 40 + "name/00.wav"
FILES = {
    **{f"fan/id_00/normal/{number:02d}.wav": bytes([number]) * (700 + number) for number in range(20)},
    "лопасть/id_00/00.wav": b"not ASCII" * 90,
    TAR_LONG: b"long" * 100,
}
FIRST = {f"a_new/{number}.wav": b"new" * 400 for number in range(10)}


def deflated(files):
    return zip_bytes(files, zipfile.ZIP_DEFLATED)


def pax(files):
    """As Python and bsdtar write long names; `tar_bytes` writes GNU's."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1_700_000_000
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


KINDS = {"stored.zip": zip_bytes, "deflated.zip": deflated, "gnu.tar": tar_bytes, "pax.tar": pax}


@pytest.fixture(params=KINDS)
def archive(request, tmp_path):
    """A path, and what writes files to it."""
    path = tmp_path / request.param
    return path, lambda files: path.write_bytes(KINDS[request.param](files))


def listed(path):
    return list_members(str(path), EXTENSIONS, LIMIT).members


def read(members):
    return {member.member: data for member, data in read_members(members, LIMIT)}


def test_an_archive_that_is_as_it_was_is_read_without_a_second_look(archive, monkeypatch):
    path, write = archive
    write({name: data for name, data in FILES.items() if name.isascii() and len(name) < 100})
    members = listed(path)
    monkeypatch.setattr(listing, "_listed", lambda *_: pytest.fail("listed again"))
    assert read(members) == {member.member: FILES[member.member] for member in members}


def test_members_that_lie_elsewhere_are_read_where_they_lie_now(archive):
    path, write = archive
    write(FILES)
    members = listed(path)
    write({**FIRST, **dict(reversed(FILES.items()))})
    assert read(members) == FILES


def test_a_member_that_is_gone_or_has_other_bytes_is_none_of_what_lies_in_its_place(archive):
    path, write = archive
    write(FILES)
    members = listed(path)
    names = list(FILES)
    changed = {**FILES, names[3]: b"other bytes, of another length"}
    del changed[names[5]]
    write({**FIRST, **changed})
    got = read(members)
    for name in (names[3], names[5]):
        assert isinstance(got[name], ReadProblem)
        assert got[name].reason is Reason.SOURCE_GONE
    assert {name: data for name, data in got.items() if name not in (names[3], names[5])} == {
        name: data for name, data in FILES.items() if name not in (names[3], names[5])
    }


def test_bytes_that_are_damaged_where_they_were_listed_are_still_that(archive):
    path, write = archive
    write(FILES)
    members = listed(path)
    path.write_bytes(path.read_bytes()[: members[4].byte_end - 100])
    got = read(members)
    cut = got[members[4].member]
    assert isinstance(cut, ReadProblem)
    assert cut.reason in {Reason.TRUNCATED, Reason.CORRUPT}


def test_a_tar_whose_times_say_nothing_is_known_by_its_contents(tmp_path):
    path = tmp_path / "reproducible.tar"
    path.write_bytes(tar_bytes(FILES, mtime=0))
    before = {member.member: member.content_tag for member in listed(path)}
    name = "fan/id_00/normal/07.wav"
    corrected = {**FILES, name: bytes(len(FILES[name]))}
    path.write_bytes(tar_bytes(corrected, mtime=0))
    after = {member.member: member.content_tag for member in listed(path)}
    assert {each for each in FILES if before[each] != after[each]} == {name}
    assert read(listed(path)) == corrected


def tags(path, lake):
    return {member.member: member.content_tag for member in list_members(str(path), EXTENSIONS, LIMIT, lake).members}


def test_a_plain_tar_written_again_tells_which_members_are_others_although_size_and_time_are_not(tmp_path):
    """Kept in a lake as it was before; members that begin and end as they did keep their tags: nothing is new."""
    path, lake = tmp_path / "week.tar", Lake.open(str(tmp_path / "lake"))
    path.write_bytes(tar_bytes(FILES))
    first = tags(path, lake)
    corrected = {**FILES, "fan/id_00/normal/03.wav": b"\xff" * len(FILES["fan/id_00/normal/03.wav"])}
    path.write_bytes(tar_bytes({**FIRST, **corrected}))
    second = tags(path, lake)
    assert {name for name in first if first[name] != second[name]} == {"fan/id_00/normal/03.wav"}
    path.write_bytes(tar_bytes({**FIRST, **corrected, "fan/more.wav": b"more"}))
    assert {name: tag for name, tag in tags(path, lake).items() if name in second} == second
    path.write_bytes(tar_bytes({**FIRST, **FILES, "fan/yet_more.wav": b"more"}))
    again = tags(path, lake)
    assert again["fan/id_00/normal/03.wav"] not in (first["fan/id_00/normal/03.wav"], second["fan/id_00/normal/03.wav"])


def test_of_a_plain_tar_written_again_a_member_that_only_ends_otherwise_is_another(tmp_path):
    """A correction behind a silent beginning, say."""
    path, lake = tmp_path / "week.tar", Lake.open(str(tmp_path / "lake"))
    names = ("a.wav", "b.wav", "c.wav")
    path.write_bytes(tar_bytes(dict.fromkeys(names, bytes(20_000))))
    first = tags(path, lake)
    path.write_bytes(tar_bytes({**dict.fromkeys(names, bytes(20_000)), "b.wav": bytes(19_000) + b"\xff" * 1000}))
    second = tags(path, lake)
    assert {name for name in names if first[name] != second[name]} == {"b.wav"}


def test_what_was_taken_in_with_a_tag_of_its_ends_is_found_where_it_lies_now(tmp_path):
    path, lake = tmp_path / "week.tar", Lake.open(str(tmp_path / "lake"))
    path.write_bytes(tar_bytes(FILES))
    tags(path, lake)
    name = "fan/id_00/normal/03.wav"
    corrected = {**FILES, name: b"\xff" * len(FILES[name])}
    path.write_bytes(tar_bytes(corrected))
    members = list_members(str(path), EXTENSIONS, LIMIT, lake).members
    path.write_bytes(tar_bytes({**FIRST, **corrected}))  # moved, but the same
    assert read(members)[name] == corrected[name]
    path.write_bytes(tar_bytes({**FIRST, "b/another.wav": b"x" * 999, **FILES}))  # moved, and as it was at first
    assert read(members)[name].reason is Reason.SOURCE_GONE
