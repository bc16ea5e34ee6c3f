"""A file that libsndfile may read: what reading raises is kept, as an exception cannot pass through its callbacks."""

from __future__ import annotations

import io
from typing import IO


class Watched(io.RawIOBase):
    """A seekable file; once a read has failed it is at its end, and `raise_what_was_caught` tells."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._caught: Exception | None = None

    def raise_what_was_caught(self) -> None:
        """Raise what a read has raised, if any has."""
        if self._caught is not None:
            raise self._caught

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._caught is not None:
            return 0
        try:
            data = self._file.read(len(buffer))
        except Exception as error:  # noqa: BLE001 - raised again by `raise_what_was_caught`
            self._caught = error
            return 0
        buffer[: len(data)] = data
        return len(data)
