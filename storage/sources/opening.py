"""Opening members as seekable files of their unpacked bytes: for what is too long to be held whole, and for headers.

What can be read by ranges is; a packed member is unpacked as it is read, and again from its start where one goes back.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from tarfile import BLOCKSIZE
from typing import IO, cast

from fsspec import AbstractFileSystem
from fsspec.caching import ReadAheadCache
from isal import isal_zlib

from humwatch.storage.errors import SourceNotFound
from humwatch.storage.filesystem import open_fs, source_errors
from humwatch.storage.reasons import Reason
from humwatch.storage.seekable import Seekable
from humwatch.storage.sources.decompression import Damaged, unpacking, zip_decompressor
from humwatch.storage.sources.member import Member, ReadProblem, is_stream
from humwatch.storage.sources.reading import MOVED_AWAY, in_tar, is_named, listed_problem, places_now, range_of
from humwatch.storage.sources.tar_archive import open_each, unsparse
from humwatch.storage.sources.zip_archive import bytes_of_local_header

_STREAMING_BLOCK_BYTES = 8 << 20
_HELD_BYTES = 64 << 20
_PACKED_STEP_BYTES, _UNPACKED_STEP_BYTES = 256 << 10, 1 << 20
_HEADER_BYTES = 1 << 10  # enough for nearly any header of a zip member; of a tar it is a block
Fetch = Callable[[int, int], bytes]


def open_members(
    members: Sequence[Member], *, read_ahead_bytes: int
) -> Iterator[tuple[Member, IO[bytes] | ReadProblem]]:
    """Yield every member as a seekable file, good until the next one is asked for.

    Members come in the order given, neighbours of one compressed tar in the order of that archive, in one pass.
    A zip member's checksum is not compared: its bytes need never be read whole.

    Args:
        members: of any archives and files.
        read_ahead_bytes: fetched beyond what is asked for, where ranges are read.

    Raises:
        SourceForbidden, StorageUnavailable: an archive or file cannot be accessed; also from reading a file.
        SourceUnreadable: a server serves no byte ranges.
    """
    for (uri, streamed), group in groupby(members, key=lambda one: (one.source_uri, is_stream(one.compression))):
        same = list(group)
        told = 0
        try:
            opened = _streamed(uri, same) if streamed else (_opened(uri, one, read_ahead_bytes) for one in same)
            for pair in opened:
                told += 1
                yield pair
        except SourceNotFound as error:
            yield from ((member, ReadProblem(Reason.SOURCE_GONE, str(error))) for member in same[told:])


def _streamed(uri: str, members: Sequence[Member]) -> Iterator[tuple[Member, IO[bytes] | ReadProblem]]:
    fs, path = open_fs(uri)
    with source_errors(uri), fs.open(path, "rb", block_size=_STREAMING_BLOCK_BYTES) as file:
        yield from open_each(file, members)


def _opened(uri: str, member: Member, read_ahead_bytes: int) -> tuple[Member, IO[bytes] | ReadProblem]:
    if member.problem is not None:
        return member, listed_problem(member)
    fs, path = open_fs(uri)
    fetch = _fetching(fs, path, uri)
    if member.byte_start is None:
        with source_errors(uri):
            size_bytes = fs.size(path)
        if size_bytes is not None and size_bytes < member.size_bytes:
            return member, ReadProblem(Reason.TRUNCATED, f"{size_bytes} of {member.size_bytes} bytes are there")
        return member, _buffered(_Window(_cached(fetch, 0, member.size_bytes, read_ahead_bytes), 0, member.size_bytes))
    place, span = member, _span_of(member, fetch, read_ahead_bytes)
    if not is_named(_head(span, member), member):
        now = places_now([member], member.size_bytes).get(member, member)
        if now is None:
            return member, ReadProblem(Reason.SOURCE_GONE, MOVED_AWAY)
        place, span = now, _span_of(now, fetch, read_ahead_bytes)
    if place.compression == "sparse":
        return member, _filled(span, place)
    first = BLOCKSIZE if in_tar(place) else bytes_of_local_header(_head(span, place))
    if place.compression == "none":
        return member, _buffered(_Window(span, first, place.size_bytes))
    step_bytes = min(max(read_ahead_bytes, _HEADER_BYTES), _PACKED_STEP_BYTES)
    return member, _buffered(_Unpacked(_Window(span, first, span.size - first), place, step_bytes))


def _filled(span: ReadAheadCache, place: Member) -> IO[bytes] | ReadProblem:
    """Return a sparse file of a tar with its holes filled, if it is small enough to be held."""
    if place.size_bytes > _HELD_BYTES:
        return ReadProblem(Reason.TOO_LARGE, f"a sparse file of more than {_HELD_BYTES} bytes")
    data = unsparse(memoryview(_read_at(span, 0, span.size)), place)
    return data if isinstance(data, ReadProblem) else io.BytesIO(data)


def _span_of(place: Member, fetch: Fetch, read_ahead_bytes: int) -> ReadAheadCache:
    """Return the range of an archive in which a member lies, header included: both come with one request."""
    start, end = range_of(place)
    return _cached(fetch, start, end - start, read_ahead_bytes)


def _cached(fetch: Fetch, start: int, size_bytes: int, read_ahead_bytes: int) -> ReadAheadCache:
    return ReadAheadCache(read_ahead_bytes, lambda first, last: fetch(start + first, start + last), size_bytes)


def _head(span: ReadAheadCache, place: Member) -> memoryview:
    """Return the header of a member, whole, and perhaps a little more."""
    head = memoryview(_read_at(span, 0, min(span.size, _HEADER_BYTES)))
    if in_tar(place) or len(head) < _HEADER_BYTES:
        return head
    return memoryview(_read_at(span, 0, max(len(head), min(span.size, bytes_of_local_header(head)))))


def _read_at(span: ReadAheadCache, start: int, end: int) -> bytes:
    return cast(bytes, span._fetch(start, end))  # noqa: SLF001 - its public face


def _fetching(fs: AbstractFileSystem, path: str, uri: str) -> Fetch:
    def fetch(start: int, end: int) -> bytes:
        with source_errors(uri):
            return cast(bytes, fs.cat_file(path, start=start, end=end))

    return fetch


def _buffered(raw: io.RawIOBase) -> IO[bytes]:
    return io.BufferedReader(raw, 8 << 10)


class _Window(Seekable):
    """Bytes within a range of a file on any store."""

    def __init__(self, span: ReadAheadCache, start: int, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self._span, self._start = span, start

    def _read(self, start: int, end: int) -> bytes:
        return _read_at(self._span, self._start + start, self._start + end)


class _Unpacked(Seekable):
    """A packed member of a zip, unpacked as it is read; a checksum that does not hold shows at its end.

    It is fetched `step_bytes` at a time: no more for a header than what came with the member's own.

    Raises:
        Damaged: from reading, the bytes are damaged.
    """

    def __init__(self, packed: _Window, member: Member, step_bytes: int) -> None:
        super().__init__(member.size_bytes)
        self._packed, self._member, self._step_bytes = packed, member, step_bytes
        self._restart()

    def _restart(self) -> None:
        self._packed.seek(0)
        self._decompressor = zip_decompressor(self._member)
        self._unpacked_to = self._crc32 = 0
        self._rest = b""

    def _read(self, start: int, end: int) -> bytes:
        if start < self._unpacked_to - len(self._rest):
            self._restart()
        while self._unpacked_to <= start:
            self._unpack_more()
        skipped = start - (self._unpacked_to - len(self._rest))
        data = self._rest[skipped : skipped + end - start]
        self._rest = self._rest[skipped + len(data) :]
        return data

    def _unpack_more(self) -> None:
        needs_input = self._decompressor.needs_input
        packed = self._packed.read(self._step_bytes) if needs_input else b""
        with unpacking():
            self._rest = self._decompressor.decompress(packed, _UNPACKED_STEP_BYTES)
        if not self._rest and (self._decompressor.eof or (needs_input and not packed)):
            raise Damaged(f"it ends after {self._unpacked_to} of {self._size} bytes")
        self._unpacked_to += len(self._rest)
        self._crc32 = isal_zlib.crc32(self._rest, self._crc32)
        if self._unpacked_to >= self._size and self._member.crc32 not in (None, self._crc32):
            raise Damaged("the bytes do not match their CRC-32")
