"""A file that is made of something else, such as a range of an object: seekable, and read where it is asked."""

from __future__ import annotations

import io
from abc import abstractmethod


class Seekable(io.RawIOBase):
    """A readable file of known size; what is read where is up to the kind."""

    def __init__(self, size_bytes: int) -> None:
        self._size = size_bytes
        self._at = 0

    @abstractmethod
    def _read(self, start: int, end: int) -> bytes:
        """Return bytes from `start` on, none beyond `end`, none at all where there are none; start < end <= size."""

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
        """Fill the buffer, but at the end: libsndfile takes less for the end of the file."""
        end = min(self._at + len(buffer), self._size)
        filled = 0
        while self._at < end and (data := self._read(self._at, end)):
            buffer[filled : filled + len(data)] = data
            filled += len(data)
            self._at += len(data)
        return filled
