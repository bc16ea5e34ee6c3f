"""Tar archives, plain (read by ranges) and compressed (streamed from the start).

A listing walks the headers once. `tarfile` takes a damaged or missing header for the end of the archive; here an
archive that does not end in the zero block POSIX asks for is refused, so that half a night is never taken for all.
A hard link is a header without data, which names a file that comes before it: it has that file's bytes.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO, Any, cast

from humwatch.storage.errors import SourceUnreadable
from humwatch.storage.reasons import Reason
from humwatch.storage.sources.decompression import Damaged, open_stream, unpacking
from humwatch.storage.sources.member import (
    MAX_MANIFEST_BYTES,
    Compression,
    Contents,
    ManifestFile,
    Member,
    ReadProblem,
    clean_name,
    is_by_product,
    is_manifest,
    is_recording,
    is_unsafe,
    manifest_file,
    suffix_of,
)
from humwatch.storage.sources.zip_archive import checked

_DAMAGE = (tarfile.TarError, Damaged, IndexError)  # IndexError: of a sparse file's header that is cut off
_HELD_BYTES = 64 << 20
_END_BYTES = 2 << 10
_NO_HEADER = (*_DAMAGE, ValueError)  # ValueError: of numbers that are none


@dataclass(frozen=True)
class _Stored:
    """A file's bytes in the archive: their header, where they end, and their checksum where they were read."""

    info: tarfile.TarInfo
    end: int
    crc32: int | None


class _LastRead:
    """A file that remembers its last read: when `tarfile` stops, that is what it took for the end.

    Raises `Damaged` where compressed bytes cannot be unpacked.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.last = b""

    def read(self, size: int = -1) -> bytes:
        with unpacking():
            self.last = self._file.read(size)
        return self.last

    def seek(self, offset: int) -> int:
        with unpacking():
            return self._file.seek(offset)

    def tell(self) -> int:
        return self._file.tell()


def list_tar(
    file: IO[bytes], uri: str, path: str, extensions: Collection[str], max_member_bytes: int, compression: Compression
) -> Contents:
    """Return the contents of a tar archive opened for reading; `path` begins their paths.

    Args:
        file: the archive.
        uri: its address.
        path: what the paths of its members begin with.
        extensions: of recordings, in lower case.
        max_member_bytes: recordings with more are too large.
        compression: of the archive as a whole: "none", or one of a stream.

    Raises:
        SourceUnreadable: it is no such archive, damaged or cut off, or holds a manifest that cannot be read.
        PackageMissing: its compression takes an extra that is not installed.
        OSError: the file cannot be read.
    """
    members: list[Member] = []
    manifests: list[ManifestFile] = []
    ignored: Counter[str] = Counter()
    files: dict[str, _Stored] = {}
    compressed = compression != "none"
    with _readable(uri), _opened(file, compression, uri) as (archive, reader):
        for info in archive:
            name = _name(info)
            if info.isdir():
                continue
            stored = None
            if info.isreg():
                # The bytes of a compressed archive are unpacked anyhow, and a link may come that needs the checksum.
                is_read = compressed and info.size <= max_member_bytes and not is_manifest(name)
                stored = _Stored(info, archive.offset, _crc32(archive, info) if is_read else None)
            elif info.islnk():
                stored = files.get(clean_name(info.linkname))
            if is_recording(name, extensions):
                if stored and not info.mtime and stored.crc32 is None and stored.info.size <= max_member_bytes:
                    # A time that says nothing (tars made reproducibly have 0) leaves the contents to tell of a change.
                    stored = replace(stored, crc32=_crc32(archive, stored.info))
                member = _member(info, stored, f"{path}/{name}", uri, max_member_bytes, compression)
                if stored and stored.crc32 is None:
                    member = replace(member, ends_crc32=_ends_crc32(reader, stored))
                members.append(member)
            elif is_manifest(name) and stored:
                data = cast(IO[bytes], archive.extractfile(stored.info)).read(MAX_MANIFEST_BYTES + 1)
                manifests.append(manifest_file(data, f"{uri}/{name}", f"{path}/{name}"))
            elif not is_by_product(name):
                ignored[suffix_of(name)] += 1
            if stored:
                files[name] = stored
        if reader.last != bytes(tarfile.BLOCKSIZE):
            raise SourceUnreadable(f"{uri}: damaged or cut off at byte {archive.offset}: no end-of-archive mark there")
        while compressed and reader.read(1 << 20):
            pass  # on to the end of the stream, which holds its checksum
    return Contents(members, manifests, ignored)


def stream_tar(file: IO[bytes], members: Sequence[Member]) -> Iterator[tuple[Member, bytes | ReadProblem]]:
    """Yield the bytes of members of a compressed tar in the order asked, reading the stream once.

    Bytes that come before their turn wait in memory. Reading stops behind the last member asked for.

    Raises:
        PackageMissing: its compression takes an extra that is not installed.
        OSError: the file cannot be read.
    """
    awaited: dict[str | int, list[Member]] = {}
    for member in members:
        awaited.setdefault(_mark(member), []).append(member)
    extracted: dict[str, bytes | ReadProblem] = {}
    queue = iter(members)
    turn = next(queue, None)
    damage = ""
    try:
        with _opened(file, members[0].compression, members[0].source_uri) as (archive, _):
            for info in archive:
                marks = (_name(info), info.offset_data) if info.isreg() else ()
                found = [member for mark in marks for member in awaited.pop(mark, [])]
                if found:
                    data = cast(IO[bytes], archive.extractfile(info)).read(max(one.size_bytes for one in found) + 1)
                    extracted |= {member.member: _judged(data, info, member) for member in found}
                while turn is not None and turn.member in extracted:
                    yield turn, extracted.pop(turn.member)
                    turn = next(queue, None)
                if turn is None:
                    return
    except _DAMAGE as error:
        damage = str(error)
    while turn is not None:
        yield turn, extracted.get(turn.member, _never_came(turn, damage))
        turn = next(queue, None)


def open_each(file: IO[bytes], members: Sequence[Member]) -> Iterator[tuple[Member, IO[bytes] | ReadProblem]]:
    """Yield members of a compressed tar as seekable files, in the order of the archive, reading the stream once.

    Going back within a member costs another pass over the archive up to it, unless the member is small.

    Raises:
        PackageMissing: its compression takes an extra that is not installed.
        OSError: the file cannot be read.
        Damaged: from reading a member, the archive is damaged there.
    """
    awaited: dict[str | int, list[Member]] = {}
    for member in members:
        awaited.setdefault(_mark(member), []).append(member)
    damage = ""
    try:
        with _opened(file, members[0].compression, members[0].source_uri) as (archive, _):
            for info in archive:
                marks = (_name(info), info.offset_data) if info.isreg() else ()
                for member in [member for mark in marks for member in awaited.pop(mark, [])]:
                    content = cast(IO[bytes], archive.extractfile(info))
                    if info.size != member.size_bytes:
                        yield member, _other_size(info, member)
                    else:
                        yield member, io.BytesIO(content.read()) if info.size <= _HELD_BYTES else content
                if not awaited:
                    return
    except _DAMAGE as error:
        damage = str(error)
    yield from ((member, _never_came(member, damage)) for same in awaited.values() for member in same)


def names_tar_member(data: memoryview, member: Member) -> bool:
    """Whether `data`, from a header on, is seen to be that of a member.

    False also where a header cannot tell: names that are long or not ASCII stand in blocks of their own before it, and
    before the bytes of a hard link stands the name of the file that it links to.
    """
    try:
        if member.compression == "sparse":
            with _alone(data) as (_, info):
                pass
        else:
            info = tarfile.TarInfo.frombuf(bytes(data[: tarfile.BLOCKSIZE]), "utf-8", "surrogateescape")
    except _NO_HEADER:
        return False
    return info.isreg() and info.size == member.size_bytes and _name(info) == member.member


def unsparse(data: memoryview, member: Member) -> bytes | ReadProblem:
    """Return a sparse member's bytes with the holes filled; `data` has its headers and all that is stored of it."""
    try:
        with _alone(data) as (archive, info):
            if info.size != member.size_bytes:
                return _other_size(info, member)
            return checked(cast(IO[bytes], archive.extractfile(info)).read(), member)
    except _NO_HEADER as error:
        return ReadProblem(Reason.CORRUPT, f"the map of its holes cannot be read: {error}")


@contextmanager
def _opened(file: IO[bytes], compression: Compression, uri: str) -> Iterator[tuple[tarfile.TarFile, _LastRead]]:
    """Open a tar archive; `r:` only ever seeks forward here, so a compressed stream is read once."""
    reader = _LastRead(open_stream(file, compression, uri) if compression != "none" else file)
    with tarfile.open(fileobj=cast(Any, reader), mode="r:") as archive:
        yield archive, reader


@contextmanager
def _alone(data: memoryview) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Open the piece of an archive in which one file lies."""
    end_mark = bytes(2 * tarfile.BLOCKSIZE)
    with tarfile.open(fileobj=io.BytesIO(bytes(data) + end_mark), mode="r:") as archive:
        yield archive, archive.getmembers()[0]


@contextmanager
def _readable(uri: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise SourceUnreadable(f"{uri}: not a tar archive that can be read, or cut off ({error})") from error


def _name(info: tarfile.TarInfo) -> str:
    # GNU tar gives a sparse file with a long name two names, of which `tarfile` may take the one for old readers.
    return clean_name(info.pax_headers.get("GNU.sparse.name", info.name))


def _mark(member: Member) -> str | int:
    """Return what a member's bytes are known by in a compressed tar: its name, of a hard link where they lie."""
    return member.member if member.byte_start is None else member.byte_start


def _judged(data: bytes, info: tarfile.TarInfo, member: Member) -> bytes | ReadProblem:
    judged = _other_size(info, member) if info.size != member.size_bytes else checked(data, member)
    if isinstance(judged, ReadProblem) and member.byte_start is not None:
        return ReadProblem(Reason.SOURCE_GONE, "what it links to is not where it was in the archive")
    return judged


def _never_came(member: Member, damage: str) -> ReadProblem:
    if damage:
        return ReadProblem(Reason.CORRUPT, f"the archive cannot be read up to it: {damage}")
    if member.byte_start is not None:
        return ReadProblem(Reason.SOURCE_GONE, "what it links to is not where it was in the archive")
    return ReadProblem(Reason.TRUNCATED, "the archive no longer holds it")


def _other_size(info: tarfile.TarInfo, member: Member) -> ReadProblem:
    return ReadProblem(Reason.CORRUPT, f"has {info.size} bytes now, not the {member.size_bytes} that were listed")


def _crc32(archive: tarfile.TarFile, info: tarfile.TarInfo) -> int:
    content = cast(IO[bytes], archive.extractfile(info))
    crc32 = 0
    while piece := content.read(1 << 20):
        crc32 = zlib.crc32(piece, crc32)
    return crc32


def _ends_crc32(reader: _LastRead, stored: _Stored) -> int:
    # As stored, next to its header and to the one that follows: they mostly come with what is read for these.
    start, end = stored.info.offset_data, stored.end
    reader.seek(start)
    first = reader.read(min(end - start, _END_BYTES))
    reader.seek(max(end - _END_BYTES, start))
    return zlib.crc32(reader.read(min(end - start, _END_BYTES)), zlib.crc32(first))


def _member(
    info: tarfile.TarInfo, stored: _Stored | None, path: str, uri: str, max_member_bytes: int, compression: Compression
) -> Member:
    """Return the row of a member whose bytes are `stored`: by its own header or, of a hard link, by another's."""
    name = _name(info)
    size_bytes = stored.info.size if stored else 0
    place: tuple[int, int] | None = None
    if stored and (compression == "none" or info.islnk()):
        start = stored.info.offset_data
        place = start, start + size_bytes
        if compression == "none" and stored.info.issparse():
            compression = "sparse"
            place = stored.info.offset, stored.end
    crc32 = stored.crc32 if stored else None
    # Without a checksum the modification time is the best sign of change the header holds.
    tag = f"crc32-{crc32:08x}-{size_bytes:x}" if crc32 is not None else f"mtime-{info.mtime}-{size_bytes:x}"
    return Member(
        source_uri=uri,
        member=name,
        path=path,
        size_bytes=size_bytes,
        byte_start=place and place[0],
        byte_end=place and place[1],
        compression=compression,
        crc32=crc32,
        content_tag=tag,
        problem=_problem(name, stored, max_member_bytes),
    )


def _problem(name: str, stored: _Stored | None, max_member_bytes: int) -> Reason | None:
    if is_unsafe(name) or stored is None:
        return Reason.UNSAFE_PATH
    if stored.info.size > max_member_bytes:
        return Reason.TOO_LARGE
    if stored.info.size == 0:
        return Reason.EMPTY_FILE
    return None
