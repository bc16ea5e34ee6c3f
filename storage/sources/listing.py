"""Listing a source: an archive, a folder of recordings and archives, or one recording."""

from __future__ import annotations

import functools
import hashlib
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.http import HTTPFileSystem

from humwatch.storage.errors import SourceEmpty, SourceForbidden, SourceNotFound, SourceUnreadable, TerminalError
from humwatch.storage.filesystem import open_fs, source_errors
from humwatch.storage.lake import Lake, map_concurrently
from humwatch.storage.reasons import Reason
from humwatch.storage.sources.index import indexed
from humwatch.storage.sources.member import (
    ARCHIVE_SUFFIXES,
    MANIFEST_NAME,
    STREAMS,
    Contents,
    Listing,
    ManifestFile,
    Member,
    archive_suffix,
    clean_name,
    is_by_product,
    is_manifest,
    is_recording,
    manifest_file,
    number_repeats,
    printable,
    suffix_of,
)
from humwatch.storage.sources.tar_archive import list_tar
from humwatch.storage.sources.zip_archive import list_zip

# Read ahead on a remote store: a zip's directory in one or two requests, little where a tar's listing hops from header
# to header, much where a stream is read.
_READ_AHEAD_BYTES = {".zip": 64 << 10, ".tar": 4 << 10}
_STREAM_READ_AHEAD_BYTES = 8 << 20

_SUFFIXES_TOLD = 5

# What fsspec's filesystems call that which changes with a file.
_ETAGS = ("ETag", "etag")
_TIMES = ("mtime", "Last-Modified", "LastModified", "created")


@dataclass(frozen=True)
class _File:
    """A file of a source: where it is, and its path from SOURCE's base name on."""

    fs: AbstractFileSystem
    fs_path: str
    path: str
    info: Mapping[str, Any]

    @property
    def uri(self) -> str:
        return str(self.fs.unstrip_protocol(self.fs_path))


def list_members(source: str, extensions: Collection[str], max_member_bytes: int, index: Lake | None = None) -> Listing:
    """Return every recording of a source: an archive (`ARCHIVE_SUFFIXES`), a folder of both, or one recording.

    Recordings are files with one of `extensions` (lower case); hidden files and macOS by-products are none. One that
    cannot or must not be read is listed with a `problem`; other files are counted in `ignored`. `manifest.csv`, in any
    case, is taken from any folder of an archive or folder, and from beside an archive, where `<archive>.manifest.csv`
    counts too (in a bucket in lower case; not over http, which has no folders). An archive of a folder that cannot be
    listed is in `errors` and the others go on. With a lake as `index`, archives that have not changed since they were
    listed last are not opened.

    Raises:
        SourceNotFound, SourceForbidden, StorageUnavailable, ProtocolUnsupported: the source cannot be accessed.
        SourceUnreadable: it is neither an archive, a recording nor a folder, or the archive is broken.
        PackageMissing: the archive is packed in a way that takes an extra.
        SourceEmpty: it holds no recordings.
    """
    root = _root(source)
    errors: list[TerminalError] = []
    if root.info["type"] == "directory":
        found, errors = _list_folder(root, extensions, max_member_bytes, index)
    elif archive_suffix(root.path):
        found = _list_archive(root, extensions, max_member_bytes, index)
    elif is_recording(root.path, extensions):
        found = Contents([_plain(root, max_member_bytes)], [], Counter())
    else:
        raise SourceUnreadable(f"{source}: neither an archive ({' '.join(ARCHIVE_SUFFIXES)}), a folder nor a recording")
    if errors and not found.members:
        raise errors[0]
    ignored = dict(sorted(found.ignored.items(), key=lambda item: (-item[1], item[0])))
    if not found.members:
        known = ", ".join(f".{extension}" for extension in extensions)
        raise SourceEmpty(f"{source}: holds no recordings ({known}), but {_told(ignored) or 'nothing at all'}")
    beside = [] if root.info["type"] == "directory" else _manifests_beside(root)
    members = sorted(found.members, key=lambda member: (member.source_uri, member.member))
    manifests = sorted([*found.manifests, *beside], key=lambda manifest: manifest.uri)
    return Listing(tuple(number_repeats(members)), tuple(manifests), tuple(errors), ignored)


def source_state(source: str) -> str:
    """Return a short text that changes when the source does, without opening it: ETag, or size and modification time.

    Raises:
        SourceNotFound, SourceForbidden, StorageUnavailable, ProtocolUnsupported: the source cannot be accessed.
    """
    root = _root(source)
    if root.info["type"] != "directory":
        return _state(root.info)
    lines = sorted(f"{file.path}\0{_state(file.info)}\n" for file in _files_below(root))
    return f"files-{hashlib.sha256(''.join(lines).encode('utf-8', 'backslashreplace')).hexdigest()[:32]}"


def _told(ignored: Mapping[str, int]) -> str:
    """Return the most frequent suffixes as `12 .mp3, 3 .txt`."""
    most = list(ignored.items())[:_SUFFIXES_TOLD]
    told = [f"{count} {suffix or 'without a suffix'}" for suffix, count in most]
    others = sum(ignored.values()) - sum(count for _, count in most)
    return ", ".join([*told, f"{others} others"] if others else told)


def _root(source: str) -> _File:
    fs, fs_path = open_fs(source)
    with source_errors(source):
        info = fs.info(fs_path)
    name = unquote(urlsplit(fs_path).path) if isinstance(fs, HTTPFileSystem) else fs_path
    return _File(fs, fs_path, name.rstrip("/").rpartition("/")[2], info)


def _files_below(root: _File) -> Iterator[_File]:
    with source_errors(root.uri):
        if isinstance(root.fs, AsyncFileSystem):
            # An object store: one flat listing for all folders; it raises what goes wrong.
            infos = list(root.fs.find(root.fs_path, detail=True).values())
        else:
            walk = root.fs.walk(root.fs_path, detail=True, on_error="raise")
            infos = [info for _, _, files in walk for info in files.values()]
    for info in infos:
        fs_path = info["name"]
        below = fs_path.removeprefix(root.fs_path).lstrip("/")
        if not below or any(part.startswith(".") for part in below.split("/")):
            continue
        if info.get("islink"):
            with suppress(FileNotFoundError), source_errors(root.uri):
                info = root.fs.info(fs_path)  # noqa: PLW2901 - the link's own size and time say nothing
        if info["type"] == "file" or info.get("islink"):
            yield _File(root.fs, fs_path, f"{root.path}/{below}", info)


def _list_folder(
    root: _File, extensions: Collection[str], max_member_bytes: int, index: Lake | None
) -> tuple[Contents, list[TerminalError]]:
    found = Contents([], [], Counter())
    errors: list[TerminalError] = []
    for file in _files_below(root):
        if archive_suffix(file.path):
            try:
                inside = _list_archive(file, extensions, max_member_bytes, index)
            except TerminalError as error:
                errors.append(error)
                continue
            found.members.extend(inside.members)
            found.manifests.extend(inside.manifests)
            found.ignored.update(inside.ignored)
        elif is_recording(file.path.partition("/")[2], extensions):
            found.members.append(_plain(file, max_member_bytes))
        elif is_manifest(file.path) or _described_archive(file.path):
            found.manifests.append(_beside(file))
        elif not is_by_product(file.path.partition("/")[2]):
            found.ignored[suffix_of(printable(file.path))] += 1
    return found, errors


def _list_archive(file: _File, extensions: Collection[str], max_member_bytes: int, index: Lake | None) -> Contents:
    def look() -> Contents:
        return _look_into(file, extensions, max_member_bytes)

    if index is None or not _tells_change(file.info):
        return look()
    return indexed(index, file.uri, file.path, _state(file.info), extensions, max_member_bytes, look)


def list_again(uri: str, extensions: Collection[str], max_member_bytes: int) -> dict[str, Member]:
    """Return by name where the recordings of an archive lie now, each name's first.

    Raises:
        SourceNotFound, SourceForbidden, StorageUnavailable: the archive cannot be accessed.
        SourceUnreadable: it is broken.
    """
    info = _root(uri).info
    version = _state(info) if _tells_change(info) else uuid.uuid4().hex
    return _listed(uri, version, frozenset(extensions), max_member_bytes)


@functools.lru_cache(maxsize=2)  # batch after batch of one archive asks
def _listed(uri: str, version: str, extensions: frozenset[str], max_member_bytes: int) -> dict[str, Member]:  # noqa: ARG001 - of the archive
    places: dict[str, Member] = {}
    for member in _look_into(_root(uri), extensions, max_member_bytes).members:
        places.setdefault(member.member, member)
    return places


def _look_into(file: _File, extensions: Collection[str], max_member_bytes: int) -> Contents:
    suffix = archive_suffix(file.path).lower()
    block_bytes = _READ_AHEAD_BYTES.get(suffix, _STREAM_READ_AHEAD_BYTES)
    with source_errors(file.uri), file.fs.open(file.fs_path, "rb", block_size=block_bytes) as stream:
        if suffix == ".zip":
            return list_zip(stream, file.uri, file.path, extensions, max_member_bytes)
        return list_tar(stream, file.uri, file.path, extensions, max_member_bytes, STREAMS.get(suffix, "none"))


def _plain(file: _File, max_member_bytes: int) -> Member:
    size_bytes = file.info.get("size")
    if size_bytes is None:
        raise SourceUnreadable(f"{file.uri}: the server does not tell its size")
    uri = printable(file.uri)
    problem = None
    if uri != file.uri:
        problem = Reason.UNSAFE_PATH  # bytes that are no text: no table could hold the way back to the file
    elif size_bytes > max_member_bytes:
        problem = Reason.TOO_LARGE
    elif size_bytes == 0:
        problem = Reason.EMPTY_FILE
    return Member(
        source_uri=uri,
        member="",
        path=clean_name(file.path),
        size_bytes=size_bytes,
        byte_start=None,
        byte_end=None,
        compression="none",
        crc32=None,
        content_tag=_state(file.info),
        problem=problem,
    )


def _beside(file: _File) -> ManifestFile:
    """Return a manifest that lies in a folder; `fan.zip.manifest.csv` speaks of what is in `fan.zip`."""
    with source_errors(file.uri):
        data = file.fs.cat_file(file.fs_path)
    archive = _described_archive(file.path)
    return manifest_file(data, file.uri, f"{archive}/{MANIFEST_NAME}" if archive else file.path)


def _described_archive(path: str) -> str:
    """Return the path of the archive that a file named like `fan.zip.manifest.csv` describes; else ""."""
    ending = f".{MANIFEST_NAME}"
    archive = path[: -len(ending)] if path.lower().endswith(ending) else ""
    return archive if archive_suffix(archive) else ""


def _manifests_beside(root: _File) -> list[ManifestFile]:
    if isinstance(root.fs, HTTPFileSystem):
        return []
    folder = root.fs_path.rpartition("/")[0]

    def read(name: str) -> ManifestFile | None:
        try:
            return _beside(_File(root.fs, f"{folder}/{name}", name, {}))
        except SourceNotFound:
            return None
        except SourceForbidden:
            # S3 answers 403 for an object that is not there to those who may not list the bucket.
            if not isinstance(root.fs, AsyncFileSystem):
                raise
            return None

    found = map_concurrently(read, _manifest_names(root, folder))
    return [manifest for manifest in found if manifest is not None]


def _manifest_names(root: _File, folder: str) -> Iterable[str]:
    """Return what manifests beside an archive are called: in any case where folders are cheap to list."""
    names = (f"{root.path}.{MANIFEST_NAME}", MANIFEST_NAME)
    if isinstance(root.fs, AsyncFileSystem):
        return names  # an object store's folder may hold millions, or may not be listed
    try:
        there = [str(path).rpartition("/")[2] for path in root.fs.ls(folder, detail=False)]
    except OSError:
        return names
    return [name for name in there if name.lower() == MANIFEST_NAME or _described_archive(name) == root.path]


def _tells_change(info: Mapping[str, Any]) -> bool:
    return any(info.get(key) for key in (*_ETAGS, *_TIMES))


def _state(info: Mapping[str, Any]) -> str:
    etag = next((info[key] for key in _ETAGS if info.get(key)), None)
    if etag:
        return f"etag-{str(etag).strip(chr(34))}"
    modified = next((info[key] for key in _TIMES if info.get(key)), "")
    return f"mtime-{modified}-{info.get('size') or 0:x}"
