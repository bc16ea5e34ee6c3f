"""Tar archives, plain (read by ranges) and gzip-compressed (streamed from the start).

A listing walks the headers once. `tarfile` takes a damaged or missing header for the end of the archive; here an
archive that does not end in the zero block POSIX asks for is refused, so that half a night is never taken for all.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, cast

from humwatch.storage.errors import SourceUnreadable
from humwatch.storage.reasons import Reason
from humwatch.storage.sources.member import (
    MAX_MANIFEST_BYTES,
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

_HELD_BYTES = 64 << 20
_DAMAGE = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError)


class _LastRead:
    """A file that remembers its last read: when `tarfile` stops, that is what it took for the end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.last = b""

    def read(self, size: int = -1) -> bytes:
        self.last = self._file.read(size)
        return self.last

    def seek(self, offset: int) -> int:
        return self._file.seek(offset)

    def tell(self) -> int:
        return self._file.tell()


def list_tar(
    file: IO[bytes], uri: str, path: str, extensions: Collection[str], max_member_bytes: int, *, compressed: bool
) -> Contents:
    """Return the contents of a tar archive opened for reading; `path` begins their paths.

    Raises:
        SourceUnreadable: it is no such archive, damaged or cut off, or holds a manifest that cannot be read.
        OSError: the file cannot be read.
    """
    members: list[Member] = []
    manifests: list[ManifestFile] = []
    ignored: Counter[str] = Counter()
    with _readable(uri), _opened(file, compressed=compressed) as (archive, reader):
        for info in archive:
            name = clean_name(info.name)
            if info.isdir():
                continue
            if is_recording(name, extensions):
                # A time that says nothing (tars made reproducibly have 0) leaves the contents to tell of a change.
                is_read = info.isreg() and info.size <= max_member_bytes and (compressed or not info.mtime)
                content = archive.extractfile(info) if is_read else None
                crc32 = _crc32(content) if content is not None else None
                members.append(_member(info, name, crc32, uri, path, max_member_bytes, compressed=compressed))
            elif is_manifest(name) and info.isreg():
                data = cast(IO[bytes], archive.extractfile(info)).read(MAX_MANIFEST_BYTES + 1)
                manifests.append(manifest_file(data, f"{uri}/{name}", f"{path}/{name}"))
            elif not is_by_product(name):
                ignored[suffix_of(name)] += 1
        if reader.last != bytes(tarfile.BLOCKSIZE):
            raise SourceUnreadable(f"{uri}: damaged or cut off at byte {archive.offset}: no end-of-archive mark there")
        while compressed and reader.read(1 << 20):
            pass  # on to the end of the gzip stream, which holds its checksum
    return Contents(members, manifests, ignored)


def stream_tar(file: IO[bytes], members: Sequence[Member]) -> Iterator[tuple[Member, bytes | ReadProblem]]:
    """Yield the bytes of members of a gzip-compressed tar in the order asked, reading the stream once.

    Bytes that come before their turn wait in memory. Reading stops behind the last member asked for.

    Raises:
        OSError: the file cannot be read.
    """
    awaited = {member.member: member for member in members}
    extracted: dict[str, bytes | ReadProblem] = {}
    queue = iter(members)
    turn = next(queue, None)
    try:
        with _opened(file, compressed=True) as (archive, _):
            for info in archive:
                name = clean_name(info.name)
                if info.isreg() and (member := awaited.pop(name, None)):
                    extracted[name] = _extract(archive, info, member)
                while turn is not None and turn.member in extracted:
                    yield turn, extracted.pop(turn.member)
                    turn = next(queue, None)
                if turn is None:
                    return
        gone = ReadProblem(Reason.TRUNCATED, "the archive no longer holds it")
    except _DAMAGE as error:
        gone = ReadProblem(Reason.CORRUPT, f"the archive cannot be read up to it: {error}")
    while turn is not None:
        yield turn, extracted.get(turn.member, gone)
        turn = next(queue, None)


def open_each(file: IO[bytes], members: Sequence[Member]) -> Iterator[tuple[Member, IO[bytes] | ReadProblem]]:
    """Yield members of a compressed tar as seekable files, in the order of the archive, reading the stream once.

    Going back within a member costs another pass over the archive up to it, unless the member is small.

    Raises:
        OSError: the file cannot be read.
    """
    awaited = {member.member: member for member in members}
    gone = ReadProblem(Reason.TRUNCATED, "the archive no longer holds it")
    try:
        with _opened(file, compressed=True) as (archive, _):
            for info in archive:
                if info.isreg() and (member := awaited.pop(clean_name(info.name), None)):
                    content = cast(IO[bytes], archive.extractfile(info))
                    if info.size != member.size_bytes:
                        yield member, _of_other_size(info, member)
                    else:
                        yield member, io.BytesIO(content.read()) if info.size <= _HELD_BYTES else content
                if not awaited:
                    return
    except _DAMAGE as error:
        gone = ReadProblem(Reason.CORRUPT, f"the archive cannot be read up to it: {error}")
    yield from ((member, gone) for member in awaited.values())


def names_tar_member(data: memoryview, member: Member) -> bool:
    """Whether `data`, from the header block before a member's bytes on, is seen to be that member.

    False also where a header cannot tell: names that are long or not ASCII stand in blocks of their own before it.
    """
    try:
        info = tarfile.TarInfo.frombuf(bytes(data[: tarfile.BLOCKSIZE]), "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return info.isreg() and info.size == member.size_bytes and clean_name(info.name) == member.member


@contextmanager
def _opened(file: IO[bytes], *, compressed: bool) -> Iterator[tuple[tarfile.TarFile, _LastRead]]:
    """Open a tar archive; `r:` only ever seeks forward here, so a gzip stream is read once."""
    reader = _LastRead(cast(IO[bytes], gzip.GzipFile(fileobj=file)) if compressed else file)
    with tarfile.open(fileobj=cast(Any, reader), mode="r:") as archive:
        yield archive, reader


@contextmanager
def _readable(uri: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise SourceUnreadable(f"{uri}: not a tar archive that can be read, or cut off ({error})") from error


def _extract(archive: tarfile.TarFile, info: tarfile.TarInfo, member: Member) -> bytes | ReadProblem:
    if info.size != member.size_bytes:
        return _of_other_size(info, member)
    return checked(cast(IO[bytes], archive.extractfile(info)).read(), member)


def _of_other_size(info: tarfile.TarInfo, member: Member) -> ReadProblem:
    return ReadProblem(Reason.CORRUPT, f"has {info.size} bytes now, not the {member.size_bytes} that were listed")


def _crc32(content: IO[bytes]) -> int:
    crc32 = 0
    while piece := content.read(1 << 20):
        crc32 = zlib.crc32(piece, crc32)
    return crc32


def _member(
    info: tarfile.TarInfo, name: str, crc32: int | None, uri: str, path: str, max_member_bytes: int, *, compressed: bool
) -> Member:
    # Without a checksum the modification time is the best sign of change the header holds. See `list_tar` for time 0.
    tag = f"crc32-{crc32:08x}-{info.size:x}" if crc32 is not None else f"mtime-{info.mtime}-{info.size:x}"
    return Member(
        source_uri=uri,
        member=name,
        path=f"{path}/{name}",
        size_bytes=info.size,
        byte_start=None if compressed else info.offset_data,
        byte_end=None if compressed else info.offset_data + info.size,
        compression="gzip_stream" if compressed else "none",
        crc32=crc32,
        content_tag=tag,
        problem=_problem(info, name, max_member_bytes),
    )


def _problem(info: tarfile.TarInfo, name: str, max_member_bytes: int) -> Reason | None:
    if is_unsafe(name) or not info.isreg():
        return Reason.UNSAFE_PATH
    if info.issparse():
        return Reason.UNSUPPORTED_COMPRESSION
    if info.size > max_member_bytes:
        return Reason.TOO_LARGE
    if info.size == 0:
        return Reason.EMPTY_FILE
    return None
