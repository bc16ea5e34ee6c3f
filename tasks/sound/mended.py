"""Files whose header does not say how long their samples are, or says it in a way that libsndfile does not read.

A recorder that lost power, and one that writes to a pipe, leave such headers. The others are as they were.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import IO, cast

from humwatch.storage.reasons import Reason
from humwatch.storage.seekable import Seekable
from humwatch.tasks.sound.chunks import UNKNOWN_AU_SIZE, au_samples, samples_chunk
from humwatch.tasks.sound.rejected import Rejected
from humwatch.tasks.sound.wav import NEVER_FINISHED, is_wav, plain_head, read_wav_header

_MOST_WAV_BYTES = (1 << 32) - (1 << 20)


class Mended(Seekable):
    """A file that begins with `head`, and goes on with a range of another file: no sound is copied."""

    def __init__(self, head: bytes, file: IO[bytes], start: int, n_bytes: int) -> None:
        super().__init__(len(head) + n_bytes)
        self._head, self._file, self._start = head, file, start

    def _read(self, start: int, end: int) -> bytes:
        if start < len(self._head):
            return self._head[start:end]
        behind_head = start - len(self._head)
        self._file.seek(self._start + behind_head)
        return self._file.read(end - start)


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
    au = au_samples(head)
    if au is not None:
        if au.n_bytes or size_bytes <= au.start:
            return file, ""
        return _patched(file, {8: struct.pack(f"{au.byte_order}I", UNKNOWN_AU_SIZE)}, size_bytes), NEVER_FINISHED
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
