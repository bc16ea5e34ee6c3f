"""AIFF, CAF, Sony Wave64 and AU: where their samples are, and how long they are said to be."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import IO, NamedTuple

UNKNOWN_AU_SIZE = 0xFFFFFFFF
"""What a writer of AU that cannot know says."""

_MOST_CHUNKS = 1000
_MOST_BYTES = (1 << 63) - 1  # where a file can end
_W64_GUID = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # after a chunk's name of four letters


@dataclass(frozen=True)
class _Kind:
    """A container of chunks.

    Attributes:
        first: where its chunks begin.
        head: name and size of a chunk, as for `struct`.
        samples: the name of the chunk of samples.
        counted: bytes of the head that a size counts.
        alignment: of chunks, bytes.
        lead: bytes before the samples in their chunk. One that has no more is what a writer leaves that has not come to
            its end.
        endless: a size from here up is what a writer to a pipe leaves.
        file_size: where the size of the whole file is said, and as what; its bytes not counted.
    """

    first: int
    head: str
    samples: bytes
    counted: int
    alignment: int
    lead: int
    endless: int
    file_size: tuple[int, str, int] | None


_AIFF = _Kind(12, ">4sI", b"SSND", 0, 2, 8, 0x7F00_0000, (4, ">I", 8))
_CAF = _Kind(8, ">4sQ", b"data", 0, 1, 4, (1 << 64) - 1, None)
_W64 = _Kind(40, "<16sQ", b"data" + _W64_GUID, 24, 8, 0, (1 << 63) - 1, (16, "<Q", 0))


@dataclass(frozen=True)
class SamplesChunk:
    """The chunk of samples of a file.

    Attributes:
        start: of what is in it.
        samples_start: of the samples.
        end: as its size says; of the whole header where there is no such chunk.
        is_unfinished: it says that there are no samples.
        is_endless: it says that they go on to the end of the file.
    """

    kind: _Kind
    start: int
    samples_start: int
    end: int
    is_unfinished: bool
    is_endless: bool

    def ending_with(self, size_bytes: int) -> dict[int, bytes]:
        """Return the bytes to write, by place, for the samples to end with a file of `size_bytes`."""
        _, size_format = self.kind.head.split("s")
        order, place = self.kind.head[0], self.start - struct.calcsize(f"={size_format}")
        counted = self.kind.counted
        patches = {place: struct.pack(order + size_format, size_bytes - self.start + counted)}
        if self.kind.file_size is not None:
            at, as_what, less = self.kind.file_size
            patches[at] = struct.pack(as_what, size_bytes - less)
        return patches


def samples_chunk(file: IO[bytes]) -> SamplesChunk | None:
    """Return the chunk of samples of an AIFF, CAF or W64; None of another file.

    Args:
        file: seekable.
    """
    file.seek(0)
    kind = _kind_of(file.read(40))
    if kind is None:
        return None
    at = kind.first
    head_bytes = struct.calcsize(kind.head)
    for _ in range(_MOST_CHUNKS):
        file.seek(min(at, _MOST_BYTES))
        head = file.read(head_bytes)
        if len(head) < head_bytes:
            break
        name, size = struct.unpack(kind.head, head)
        start = at + head_bytes
        if name == kind.samples:
            is_endless = size >= kind.endless
            is_unfinished = size <= kind.counted + kind.lead
            return SamplesChunk(kind, start, start + kind.lead, start + size - kind.counted, is_unfinished, is_endless)
        at = start + max(0, size - kind.counted)
        at += -at % kind.alignment
    beyond = at + head_bytes
    return SamplesChunk(kind, beyond, beyond, beyond, is_unfinished=False, is_endless=False)


def _kind_of(head: bytes) -> _Kind | None:
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _AIFF
    if head[:4] == b"caff":
        return _CAF
    return _W64 if head[:16] == b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000") else None


class AuSamples(NamedTuple):
    """Where the samples of an AU begin, how many bytes they are said to have, and the byte order of the header."""

    start: int
    n_bytes: int
    byte_order: str


def au_samples(head: bytes) -> AuSamples | None:
    """Return what an AU says of its samples, by how it begins (12 bytes); None of another file."""
    if head[:4] not in (b".snd", b"dns.") or len(head) < 12:
        return None
    byte_order = ">" if head[:4] == b".snd" else "<"
    start, n_bytes = struct.unpack_from(f"{byte_order}II", head, 4)
    return AuSamples(start, n_bytes, byte_order)
