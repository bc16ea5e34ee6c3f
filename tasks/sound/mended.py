"""Files whose header does not say how long their samples are, or says it in a way that libsndfile does not read.

A recorder that lost power, and one that writes to a pipe, leave such headers. The others are as they were.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from typing import IO, cast

from humwatch.storage.reasons import Reason
from humwatch.tasks.sound.chunks import samples_chunk
from humwatch.tasks.sound.rejected import Rejected
from humwatch.tasks.sound.wav import is_wav, plain_head, read_wav_header

NEVER_FINISHED = "the header was never finished: read to the end of the file"

_UNKNOWN_AU_SIZE = 0xFFFFFFFF
_MOST_WAV_BYTES = (1 << 32) - (1 << 20)


class Mended(io.RawIOBase):
    """A seekable file that begins with `head`, and goes on with a range of another file: no sound is copied."""

    def __init__(self, head: bytes, file: IO[bytes], start: int, n_bytes: int) -> None:
        self._head, self._file, self._start = head, file, start
        self._size = len(head) + n_bytes
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        end = min(self._at + len(buffer), self._size)
        data = self._head[self._at : end]
        behind_head = self._at + len(data) - len(self._head)
        if behind_head >= 0 and end > len(self._head):
            self._file.seek(self._start + behind_head)
            data += self._file.read(end - self._at - len(data))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def mended(file: IO[bytes], size_bytes: int) -> tuple[IO[bytes], str]:
    """Return a file as libsndfile reads it to its end, and what of its header was not believed ("": nothing).

    Args:
        file: seekable.
        size_bytes: of the file.

    Raises:
        Rejected: a WAV's header cannot be read, or another's is repeated in place of samples.
    """
    file.seek(0)
    head = file.read(40)
    if is_wav(head[:12]):
        header = read_wav_header(file, size_bytes)
        if (header.is_exact and head[:4] != b"BW64") or header.data_bytes > _MOST_WAV_BYTES:
            return file, header.note
        plain = plain_head(header, header.data_bytes)
        return cast(IO[bytes], Mended(plain, file, header.data_start, header.data_bytes)), header.note
    if head[:4] in (b".snd", b"dns."):
        order = ">" if head[:4] == b".snd" else "<"
        offset, size = struct.unpack_from(f"{order}II", head, 4)
        if size or size_bytes <= offset:
            return file, ""
        return _patched(file, {8: struct.pack(f"{order}I", _UNKNOWN_AU_SIZE)}, size_bytes), NEVER_FINISHED
    chunk = samples_chunk(file)
    if chunk is None or not (chunk.is_unfinished or chunk.is_endless) or chunk.samples_start >= size_bytes:
        return file, ""
    file.seek(chunk.samples_start)
    if file.read(len(head)) == head:
        raise Rejected(Reason.CORRUPT, "its header stands again where the samples should begin (sox to a pipe)")
    note = NEVER_FINISHED if chunk.is_unfinished else ""
    return _patched(file, chunk.ending_with(size_bytes), size_bytes), note


def _patched(file: IO[bytes], patches: Mapping[int, bytes], size_bytes: int) -> IO[bytes]:
    """Return a file in which some bytes, all at its beginning, are others."""
    file.seek(0)
    head = bytearray(file.read(max(at + len(data) for at, data in patches.items())))
    for at, data in patches.items():
        head[at : at + len(data)] = data
    return cast(IO[bytes], Mended(bytes(head), file, len(head), size_bytes - len(head)))
