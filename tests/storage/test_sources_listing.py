"""What is in an archive or folder, without unpacking it: good ones, and every bad input an operator may hand in."""

import gzip
import io
import os
import pickle
import random
import stat
import tarfile
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest
from sources_helpers import (
    EXTENSIONS,
    LIMIT,
    STREAMED,
    ZIPS,
    CountedFileSystem,
    counted,
    patch_central,
    tar_bytes,
    zip_bytes,
)

from humwatch.storage.errors import (
    PackageMissing,
    SourceEmpty,
    SourceForbidden,
    SourceNotFound,
    SourceUnreadable,
    StorageUnavailable,
)
from humwatch.storage.lake import Lake
from humwatch.storage.reasons import Reason
from humwatch.storage.sources import decompression, list_members, read_members, source_state

FILES = {"fan/id_00/0.wav": b"RIFF0", "fan/id_00/1.flac": b"fLaC11", "fan/id_02/0.WAV": b"RIFF222"}
OTHERS = {
    "readme.txt": b"x",
    "fan/.hidden.wav": b"x",
    ".cache/0.wav": b"x",
    "__MACOSX/fan/._0.wav": b"x",
    "fan/nested.zip": b"x",
    "wav": b"x",
}


def listed(source, limit=LIMIT):
    return list_members(str(source), EXTENSIONS, limit)


def written(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def problems(source, limit=LIMIT):
    return {member.member: member.problem for member in listed(source, limit).members}


ARCHIVES = {
    "x.zip": zip_bytes(FILES | OTHERS),
    "deflated.ZIP": zip_bytes(FILES | OTHERS, zipfile.ZIP_DEFLATED),
    "x.tar": tar_bytes(FILES | OTHERS),
    **{f"{method}.zip": pack(FILES | OTHERS) for method, pack in ZIPS.items()},
    **{name: pack(FILES | OTHERS) for name, pack in STREAMED.items()},
}


def lake_at(tmp_path):
    return Lake.open(str(tmp_path / "lake"))


UNREAD = {
    "readme.txt": b"x",
    "fan/notes.TXT": b"x",
    "fan/0.mp3": b"x",
    "fan/more.zip": b"x",
    "fan/more.tar.lz": b"x",
    "v1.2/README": b"x",
    "fan/.hidden.mp3": b"x",
    "__MACOSX/fan/._0.mp3": b"x",
    "fan/manifest.csv": b"path\n",
}
UNREAD_COUNTS = {".txt": 2, ".mp3": 1, ".zip": 1, ".tar.lz": 1, "": 1}


@pytest.mark.parametrize("name", ["x.tar.zst", "deflate64.zip", "zstd.zip"])
def test_an_archive_that_takes_an_extra_which_is_not_installed(tmp_path, monkeypatch, name):
    file = written(tmp_path / name, ARCHIVES[name])
    members = listed(file).members
    monkeypatch.setattr(decompression, "zstd", None)
    monkeypatch.setattr(decompression, "inflate64", None)
    for attempt in (lambda: listed(file), lambda: list(read_members(members, LIMIT))):
        with pytest.raises(PackageMissing, match=rf"{name}.*humwatch\[archives\]"):
            attempt()
    written(tmp_path / "good.zip", ARCHIVES["x.zip"])
    listing = listed(tmp_path)
    assert len(listing.members) == len(FILES)
    assert [type(error) for error in listing.errors] == [PackageMissing]


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tgz"])
def test_files_in_an_archive_that_are_not_read_are_counted(tmp_path, name):
    pack = {"x.zip": zip_bytes, "x.tar": tar_bytes, "x.tgz": lambda files: tar_bytes(files, "w:gz")}[name]
    file = written(tmp_path / name, pack(FILES | UNREAD))
    lake = lake_at(tmp_path)
    looked, kept = (list_members(str(file), EXTENSIONS, LIMIT, index=lake).ignored for _ in range(2))
    assert looked == kept == UNREAD_COUNTS
    assert next(iter(looked)) == ".txt"


def test_files_in_a_folder_that_are_not_read_are_counted(tmp_path):
    for name, data in (FILES | UNREAD).items():
        written(tmp_path / "site" / name, data)
    written(tmp_path / "site" / "fan" / "more.zip", zip_bytes(FILES | UNREAD))
    written(tmp_path / "site" / "more.zip.manifest.csv", b"path\n")
    written(tmp_path / "site" / "old.7z", b"x")
    counts = {suffix: 2 * count for suffix, count in UNREAD_COUNTS.items()}
    assert listed(tmp_path / "site").ignored == counts | {".zip": 1, ".7z": 1}
    assert listed(tmp_path / "site" / "v1.2" / ".." / "fan" / "id_00").ignored == {}


def test_a_source_without_recordings_says_what_it_holds(tmp_path):
    for name in [*(f"{number}.mp3" for number in range(12)), "a.txt", "b.txt", "c.TXT", "README", "v1.2"]:
        written(tmp_path / "data" / name, b"x")
    with pytest.raises(SourceEmpty, match=r"\.wav, \.flac\), but 12 \.mp3, 3 \.txt, 1 without a suffix, 1 \.2$"):
        listed(tmp_path / "data")
    written(tmp_path / "x.zip", zip_bytes({f"a.{kind}": b"x" for kind in "pqrstuvw"}))
    with pytest.raises(SourceEmpty, match=r"but 1 \.p, 1 \.q, 1 \.r, 1 \.s, 1 \.t, 3 others$"):
        listed(tmp_path / "x.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceEmpty, match="nothing at all"):
        listed(tmp_path / "empty")


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive(tmp_path, name):
    file = written(tmp_path / "in here" / name, ARCHIVES[name])
    listing = listed(file)
    assert [member.member for member in listing.members] == sorted(FILES)
    assert [member.path for member in listing.members] == [f"{name}/{member}" for member in sorted(FILES)]
    assert {member.source_uri for member in listing.members} == {f"file://{file}"}
    assert [member.size_bytes for member in listing.members] == [len(FILES[member]) for member in sorted(FILES)]
    assert {member.problem for member in listing.members} == {None}
    assert listing.manifests == ()
    assert listing.errors == ()


def test_a_folder_with_archives_in_it(tmp_path):
    for name, data in (FILES | OTHERS).items():
        written(tmp_path / "site" / name, data)
    written(tmp_path / "site" / "fan" / "nested.zip", zip_bytes({"a/b.wav": b"1"}))
    written(tmp_path / "site" / "more.tgz", tar_bytes({"./a/b.wav": b"1"}, "w:gz"))
    paths = {member.path: (member.source_uri, member.member) for member in listed(tmp_path / "site").members}
    uri = f"file://{tmp_path}/site"
    assert paths == {f"site/{name}": (f"{uri}/{name}", "") for name in FILES} | {
        "site/fan/nested.zip/a/b.wav": (f"{uri}/fan/nested.zip", "a/b.wav"),
        "site/more.tgz/a/b.wav": (f"{uri}/more.tgz", "a/b.wav"),
    }


def test_one_recording(tmp_path):
    (member,) = listed(written(tmp_path / "a b.wav", b"12345")).members
    assert (member.path, member.member, member.size_bytes) == ("a b.wav", "", 5)
    assert (member.byte_start, member.byte_end, member.crc32) == (None, None, None)


def test_paths_are_the_same_wherever_a_source_lies(tmp_path, monkeypatch):
    written(tmp_path / "data" / "x.zip", ARCHIVES["x.zip"])
    monkeypatch.chdir(tmp_path)
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bucket/data/x.zip", ARCHIVES["x.zip"])
    places = [tmp_path / "data" / "x.zip", "data/x.zip", "./data/x.zip", "memory://bucket/data/x.zip"]
    listings = [[(member.path, member.content_tag) for member in listed(place).members] for place in places]
    assert listings == [listings[0]] * len(places)
    folders = [f"file://{tmp_path}/data", "data/", "memory://bucket/data"]
    assert {member.path for place in folders for member in listed(place).members} == {
        f"data/x.zip/{name}" for name in FILES
    }


def test_sorted_by_source_and_member(tmp_path):
    names = [f"{number}.wav" for number in range(30)]
    random.Random(1).shuffle(names)
    written(tmp_path / "b.zip", zip_bytes(dict.fromkeys(names, b"1")))
    written(tmp_path / "a.tar", tar_bytes(dict.fromkeys(names, b"1")))
    keys = [(member.source_uri, member.member) for member in listed(tmp_path).members]
    assert len(keys) == 60
    assert keys == sorted(keys)


def test_zip_reads_only_the_tail():
    uri = counted("big.zip", zip_bytes({f"{number}.wav": os.urandom(40_000) for number in range(100)}))
    assert len(listed(uri).members) == 100
    assert sum(size for _, size in CountedFileSystem.requests) < 150_000
    assert len(CountedFileSystem.requests) <= 6


def test_tar_reads_only_headers():
    uri = counted("big.tar", tar_bytes({f"{number}.wav": os.urandom(400_000) for number in range(10)}))
    assert len(listed(uri).members) == 10
    assert sum(size for _, size in CountedFileSystem.requests) < 1_000_000


@pytest.mark.parametrize("name", ["x.tgz", "x.tbz2", "x.txz", "x.tzst"])
def test_a_compressed_tar_is_listed_in_one_pass(name):
    files = {f"{number}.{kind}": os.urandom(100_000) for number in range(10) for kind in ("wav", "txt")}
    data = STREAMED[name](files | {"manifest.csv": b"path\n", "z.wav": b"last"})
    uri = counted(name, data)
    assert len(listed(uri).members) == 11
    assert sum(size for _, size in CountedFileSystem.requests) == len(data)


def test_the_tag_follows_the_bytes(tmp_path):
    def tag(name, data):
        (member,) = listed(written(tmp_path / name, data)).members
        return member.content_tag

    assert tag("x.zip", zip_bytes({"a.wav": b"123"})) == tag(
        "x.zip", zip_bytes({"a.wav": b"123"}, zipfile.ZIP_DEFLATED)
    )
    assert tag("x.zip", zip_bytes({"a.wav": b"123"})) != tag("x.zip", zip_bytes({"a.wav": b"124"}))
    # the time in a compressed tar says nothing: its bytes are read anyhow
    same = {tag("x.tgz", tar_bytes({"a.wav": b"123"}, "w:gz", mtime)) for mtime in (1, 2)}
    assert len(same) == 1
    assert tag("x.tgz", tar_bytes({"a.wav": b"124"}, "w:gz")) not in same
    assert tag("x.tar", tar_bytes({"a.wav": b"123"}, mtime=1)) != tag("x.tar", tar_bytes({"a.wav": b"124"}, mtime=2))
    first = tag("a.wav", b"123")
    os.utime(tmp_path / "a.wav", (1, 1))
    (member,) = listed(tmp_path / "a.wav").members
    assert member.content_tag != first


def test_source_state_follows_the_source(tmp_path):
    file = written(tmp_path / "data" / "x.zip", ARCHIVES["x.zip"])
    before = source_state(str(file)), source_state(str(tmp_path))
    assert before == (source_state(f"file://{file}"), source_state(f"{tmp_path}/"))
    written(file, ARCHIVES["deflated.ZIP"])
    assert source_state(str(file)) != before[0]
    assert source_state(str(tmp_path)) != before[1]
    with pytest.raises(SourceNotFound):
        source_state(str(tmp_path / "nothing.zip"))


# --- recordings that are listed and will not be read


UNSAFE = ["../a.wav", "x/../../a.wav", "/etc/a.wav", "C:/a.wav", "..\\a.wav", "\\\\host\\a.wav", "c:a.wav"]


@pytest.mark.parametrize("name", UNSAFE)
@pytest.mark.parametrize("kind", ["x.zip", "x.tar", "x.tar.gz"])
def test_names_that_leave_the_archive(tmp_path, name, kind):
    files = {"ok.wav": b"1", name: b"2"}
    data = zip_bytes(files) if kind == "x.zip" else tar_bytes(files, "w:gz" if kind.endswith("gz") else "w")
    found = problems(written(tmp_path / kind, data))
    assert sorted(found.values(), key=str) == [None, Reason.UNSAFE_PATH]
    assert found["ok.wav"] is None


@pytest.mark.parametrize(
    ("name", "path"),
    [("a..b/c..wav", "a..b/c..wav"), ("./a.wav", "a.wav"), ("x\\y.wav", "x/y.wav"), ("ab:c.wav", "ab:c.wav")],
)
def test_names_that_only_look_like_it(tmp_path, name, path):
    (member,) = listed(written(tmp_path / "x.zip", zip_bytes({name: b"1"}))).members
    assert (member.path, member.problem) == (f"x.zip/{path}", None)


def test_links_and_devices(tmp_path):
    infos = {}
    for name, kind in [("s.wav", tarfile.SYMTYPE), ("h.wav", tarfile.LNKTYPE), ("d.wav", tarfile.CHRTYPE)]:
        infos[name] = tarfile.TarInfo(name)
        infos[name].type, infos[name].linkname = kind, "/etc/passwd"
    files = {"ok.wav": b"1"} | infos
    expected = {"ok.wav": None} | dict.fromkeys(infos, Reason.UNSAFE_PATH)
    assert problems(written(tmp_path / "x.tar", tar_bytes(files))) == expected
    assert problems(written(tmp_path / "x.tgz", tar_bytes(files, "w:gz"))) == expected
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("s.wav")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    assert problems(written(tmp_path / "x.zip", buffer.getvalue())) == {"s.wav": Reason.UNSAFE_PATH}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ["x.zip", "x.tar", "x.tgz"])
def test_two_of_one_name(tmp_path, kind):
    pairs = [("b.wav", b"0"), ("a.wav", b"first"), ("a.wav", b"again"), ("./a.wav", b"third!")]
    data = zip_bytes(pairs) if kind == "x.zip" else tar_bytes(pairs, "w:gz" if kind == "x.tgz" else "w")
    members = listed(written(tmp_path / kind, data)).members
    assert [(member.path, member.size_bytes, member.problem) for member in members] == [
        (f"{kind}/a.wav", 5, None),
        (f"{kind}/a.wav#2", 5, Reason.DUPLICATE_NAME),
        (f"{kind}/a.wav#3", 6, Reason.DUPLICATE_NAME),
        (f"{kind}/b.wav", 1, None),
    ]


@pytest.mark.parametrize("flags", [0x1, 0x41, 0x2000])
def test_encrypted(tmp_path, flags):
    data = patch_central(zip_bytes({"a.wav": b"1", "b.wav": b"2"}), flags=flags)
    assert problems(written(tmp_path / "x.zip", data)) == {"a.wav": Reason.ENCRYPTED, "b.wav": None}


@pytest.mark.parametrize("method", [1, 6, 20, 95, 98])  # shrunk, imploded, an older zstd's, xz, PPMd
def test_other_compressions(tmp_path, method):
    data = patch_central(zip_bytes({"a.wav": b"1", "b.wav": b"2"}), method=method)
    assert problems(written(tmp_path / "x.zip", data)) == {"a.wav": Reason.UNSUPPORTED_COMPRESSION, "b.wav": None}


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tgz", "folder"])
def test_too_large_and_empty(tmp_path, name):
    files = {"big.wav": bytes(1001), "fits.wav": bytes(1000), "none.wav": b""}
    if name == "x.zip":
        written(tmp_path / name, zip_bytes(files, zipfile.ZIP_DEFLATED))
    elif name == "folder":
        for file, data in files.items():
            written(tmp_path / name / file, data)
    else:
        written(tmp_path / name, tar_bytes(files, "w:gz" if name == "x.tgz" else "w"))
    found = {member.path.rpartition("/")[2]: member.problem for member in listed(tmp_path / name, 1000).members}
    assert found == {"big.wav": Reason.TOO_LARGE, "fits.wav": None, "none.wav": Reason.EMPTY_FILE}


def test_a_directory_that_points_behind_the_archive(tmp_path):
    data = patch_central(zip_bytes({"a.wav": b"1"}), offset=1 << 20)
    assert problems(written(tmp_path / "x.zip", data)) == {"a.wav": Reason.CORRUPT}


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_names_that_are_no_text(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / os.fsdecode(b"a\xff.wav")).write_bytes(b"1")
    (member,) = listed(tmp_path / "data").members
    assert member.problem is Reason.UNSAFE_PATH
    member.path.encode()
    member.source_uri.encode()
    (packed,) = listed(written(tmp_path / "x.tar", tar_bytes({os.fsdecode(b"a\xff.wav"): b"1"}))).members
    packed.member.encode()


def test_symbolic_links_in_a_folder(tmp_path):
    target = written(tmp_path / "elsewhere" / "a.wav", b"12345")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link.wav").symlink_to(target)
    (tmp_path / "data" / "broken.wav").symlink_to(tmp_path / "nothing")
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data")
    found = {member.path: (member.size_bytes, member.problem) for member in listed(tmp_path / "data").members}
    assert found == {"data/link.wav": (5, None), "data/broken.wav": (0, Reason.EMPTY_FILE)}


# --- sources that cannot be listed


BROKEN = {
    "no_bytes.zip": b"",
    "text.zip": b"this is no archive, whatever its name says" * 10,
    "cut.zip": ARCHIVES["x.zip"][:-30],
    "half.zip": ARCHIVES["x.zip"][: len(ARCHIVES["x.zip"]) // 2],
    "bad_directory.zip": patch_central(ARCHIVES["x.zip"]).replace(b"PK\1\2", b"PK\1\3", 1),
    "split.zip": patch_central(ARCHIVES["x.zip"], disk=3),
    "no_bytes.tar": b"",
    "text.tar": b"this is no archive, whatever its name says" * 100,
    "cut_in_data.tar": tar_bytes({"a.wav": bytes(5000)})[:2000],
    "cut_at_a_member.tar": tar_bytes({"a.wav": b"1", "b.wav": b"2"})[:1024],
    "cut_in_a_header.tar": tar_bytes({"a.wav": b"1", "b.wav": b"2"})[:1300],
    "bad_header.tar": tar_bytes({"a.wav": b"1", "b.wav": b"2"}).replace(b"b.wav", b"c.wav"),
    "zipped.tar": ARCHIVES["x.zip"],
    "text.tgz": b"this is no archive",
    "no_bytes.tgz": b"",
    "cut.tgz": ARCHIVES["x.tgz"][:-12],
    "half.tgz": ARCHIVES["x.tgz"][: len(ARCHIVES["x.tgz"]) // 2],
    **{f"half_{name}": data[: len(data) // 2] for name, data in ARCHIVES.items() if name in STREAMED},
    **{f"cut_{name}": data[:-3] for name, data in ARCHIVES.items() if name in STREAMED},
    **{f"text_{name}": b"this is no archive" for name in STREAMED},
    **{f"spoilt_{name}": data[:-60] + bytes(20) + data[-40:] for name, data in ARCHIVES.items() if name in STREAMED},
    "bad_sum.tgz": ARCHIVES["x.tgz"][:-8] + bytes(4) + ARCHIVES["x.tgz"][-4:],
    "cut_inside.tgz": gzip.compress(tar_bytes(FILES)[:1024]),
    "notes.txt": b"hello",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_source(tmp_path, name):
    file = written(tmp_path / name, BROKEN[name])
    with pytest.raises(SourceUnreadable, match=name) as caught:
        listed(file)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.zip", zip_bytes({})),
        ("x.zip", zip_bytes({"a.txt": b"1", "fan/": b""})),
        ("x.tar", tar_bytes({})),
        ("x.tgz", tar_bytes(OTHERS, "w:gz")),
    ],
)
def test_no_recordings(tmp_path, name, data):
    file = written(tmp_path / name, data)
    with pytest.raises(SourceEmpty, match=name):
        listed(file)


def test_an_empty_folder(tmp_path):
    with pytest.raises(SourceEmpty):
        listed(tmp_path)


@pytest.mark.parametrize("name", ["x.zip", "folder", "a.wav", "x.tar.gz"])
def test_nothing_there(tmp_path, name):
    with pytest.raises(SourceNotFound, match=name):
        listed(tmp_path / name)
    with pytest.raises(SourceNotFound):
        listed(f"memory://nowhere/{name}")


@contextmanager
def unprivileged():
    """Permissions do not bind root, so be somebody else for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_no_permission():
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        file = written(root / "shut" / "a.wav", b"1")
        shut_file = written(root / "open" / "x.zip", ARCHIVES["x.zip"])
        root.chmod(0o755)
        file.parent.chmod(0)
        shut_file.chmod(0)
        with unprivileged():
            for source in (root, file, file.parent, shut_file):
                with pytest.raises(SourceForbidden, match="shut" if source == file else root.name):
                    listed(source)
        file.parent.chmod(0o700)


def test_one_bad_archive_of_a_folder_is_named_and_the_others_are_listed(tmp_path):
    written(tmp_path / "bad.zip", BROKEN["half.zip"])
    written(tmp_path / "good.zip", ARCHIVES["x.zip"])
    listing = listed(tmp_path)
    assert len(listing.members) == len(FILES)
    (error,) = listing.errors
    assert isinstance(error, SourceUnreadable)
    assert "bad.zip" in str(error)


def test_a_folder_of_bad_archives_only(tmp_path):
    written(tmp_path / "bad.zip", BROKEN["half.zip"])
    with pytest.raises(SourceUnreadable, match=r"bad\.zip"):
        listed(tmp_path)


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tgz"])
def test_a_store_that_stops_answering_is_worth_a_retry(name):
    """`zipfile` calls any failed read "not a zip file"."""
    big = {f"{number}.wav": os.urandom(100_000) for number in range(100)}
    data = zip_bytes(big) if name == "x.zip" else tar_bytes(big, "w:gz" if name == "x.tgz" else "w")
    uri = counted(name, data)
    CountedFileSystem.failing.append(ConnectionResetError("reset by peer"))
    with pytest.raises(StorageUnavailable, match=name):
        listed(uri)


# --- manifests


def test_manifests_inside(tmp_path):
    files = {"a.wav": b"1", "manifest.csv": b"\xef\xbb\xbfpath\na.wav\n", "fan/manifest.csv": b"path,site\n"}
    archives = {"x.tar": tar_bytes(files), **{name: pack(files) for name, pack in STREAMED.items()}}
    archives |= {f"{method}.zip": pack(files) for method, pack in ZIPS.items()}
    for name, data in archives.items():
        manifests = listed(written(tmp_path / name, data)).manifests
        assert [(manifest.prefix, manifest.text) for manifest in manifests] == [
            (f"{name}/fan/", "path,site\n"),
            (f"{name}/", "path\na.wav\n"),
        ]


def test_manifests_beside(tmp_path):
    written(tmp_path / "in" / "x.zip", zip_bytes({"a.wav": b"1"}))
    written(tmp_path / "in" / "x.zip.manifest.csv", b"path\na.wav\n")
    written(tmp_path / "in" / "y.zip.manifest.csv", b"path\nelse.wav\n")
    written(tmp_path / "in" / "manifest.csv", b"path\nx.zip/a.wav\n")
    assert [manifest.prefix for manifest in listed(tmp_path / "in" / "x.zip").manifests] == ["", "x.zip/"]
    folder = listed(tmp_path / "in").manifests
    assert [manifest.prefix for manifest in folder] == ["in/", "in/x.zip/", "in/y.zip/"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_manifests_in_any_case_and_as_excel_encodes_them(tmp_path, encoding):
    text = "path\nMüller.wav\n"
    data = zip_bytes({"Manifest.CSV": text.encode(encoding), "a.wav": b"1"})
    written(tmp_path / "in" / "X.ZIP", data)
    written(tmp_path / "in" / "X.ZIP.Manifest.csv", text.encode(encoding))
    written(tmp_path / "in" / "x.zip.manifest.csv", b"path\nof another archive\n")
    written(tmp_path / "in" / "MANIFEST.csv", text.encode(encoding))
    beside = listed(tmp_path / "in" / "X.ZIP").manifests
    assert sorted((manifest.prefix, manifest.text) for manifest in beside) == [
        ("", text),
        ("X.ZIP/", text),
        ("X.ZIP/", text),
    ]
    folder = listed(tmp_path / "in").manifests
    assert sorted(manifest.prefix for manifest in folder) == ["in/", "in/X.ZIP/", "in/X.ZIP/", "in/x.zip/"]


@pytest.mark.parametrize(
    "data",
    [
        zip_bytes({"manifest.csv": b"\xff", "a.wav": b"1"}),
        zip_bytes({"manifest.csv": b"path\nab.wav\n", "a.wav": b"1"}).replace(b"path", b"part"),
        patch_central(zip_bytes({"manifest.csv": b"path\n", "a.wav": b"1"}), flags=1),
        tar_bytes({"manifest.csv": b"\xff", "a.wav": b"1"}),
    ],
)
def test_a_manifest_that_cannot_be_read_is_not_ignored(tmp_path, data):
    file = written(tmp_path / ("x.zip" if data[:2] == b"PK" else "x.tar"), data)
    with pytest.raises(SourceUnreadable, match=r"manifest\.csv"):
        listed(file)


def test_a_bucket_that_forbids_what_is_not_there():
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/plant/in/x.zip", ARCHIVES["x.zip"])
    memory.pipe_file("/plant/in/night/a.wav", b"1")
    listing = listed("bucket://plant/in/x.zip")
    assert ([member.member for member in listing.members], listing.manifests) == (sorted(FILES), ())
    memory.pipe_file("/plant/in/manifest.csv", b"path\n")
    assert [manifest.prefix for manifest in listed("bucket://plant/in/x.zip").manifests] == [""]
    folder = listed("bucket://plant/in")
    assert [member.path for member in folder.members] == [
        "in/night/a.wav",
        *(f"in/x.zip/{name}" for name in sorted(FILES)),
    ]
    assert [manifest.prefix for manifest in folder.manifests] == ["in/"]
