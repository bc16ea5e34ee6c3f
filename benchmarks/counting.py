"""A filesystem in memory that counts what it is asked, as a store on a network would be: `counted://`."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractBufferedFile

_KEYS_A_LISTING = 1000  # of an answer of S3


class Counts:
    """Requests by method and bytes by direction, apart for the lake and for everything else (sources)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        self.bytes: Counter[tuple[bool, str]] = Counter()

    def add(self, method: str, path: str, size: int = 0, requests: int = 1) -> None:
        """Count a request; `size` are the bytes of its body or answer."""
        with self._lock:
            self.requests[method] += requests
            self.bytes[path.startswith("/lake/"), method] += size

    @property
    def source_bytes(self) -> int:
        """Bytes read from sources."""
        return self.bytes[False, "GET"]

    def figures(self, stage: str) -> dict[str, float]:
        """Return requests and bytes as rows of a table."""
        counted = {f"{stage}, {method}": float(self.requests[method]) for method in ("GET", "HEAD", "LIST", "PUT")}
        moved = {"read": self.bytes[True, "GET"], "written": self.bytes[True, "PUT"]}
        return counted | {f"{stage}, MB {way}": size / 1e6 for way, size in moved.items()}


_counts = Counts()


@contextmanager
def counted() -> Iterator[Counts]:
    """Yield the counts of what is asked while the context lasts."""
    global _counts  # noqa: PLW0603 - fsspec makes the filesystems, so there is nowhere to hand it in
    before, _counts = _counts, Counts()
    try:
        yield _counts
    finally:
        _counts = before


def register() -> None:
    """Let URIs that begin with `counted://` mean this filesystem, empty."""
    fsspec.register_implementation("counted", CountingFileSystem, clobber=True)
    CountingFileSystem.store.clear()


def upload(folder: Path, to: str) -> None:
    """Put the files below a local folder there, uncounted."""
    for path in folder.rglob("*"):
        if path.is_file():
            MemoryFileSystem().pipe_file(f"/{to}/{path.relative_to(folder)}", path.read_bytes())


class CountingFileSystem(MemoryFileSystem):
    """The memory filesystem of fsspec, which keeps everything in one dictionary of the process."""

    protocol = "counted"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.removeprefix("counted://"))  # noqa: SLF001

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        path = self._strip_protocol(path)
        try:
            data: bytes = self.store[path].getvalue()[start:end]
        except KeyError:
            _counts.add("GET", path)
            raise FileNotFoundError(path) from None
        _counts.add("GET", path, len(data))
        return data

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        _counts.add("PUT", self._strip_protocol(path), len(value))
        super().pipe_file(path, value, mode=mode, **kwargs)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        _counts.add("HEAD", path)
        if path in self.store:
            return {"name": path, "size": self.store[path].size, "type": "file", "created": self.store[path].created}
        if any(key.startswith(f"{path}/") for key in self.store):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def find(self, path: str, detail: bool = False, **_: Any) -> Any:  # noqa: FBT001, FBT002 - fsspec's signature
        prefix = f"{self._strip_protocol(path)}/"
        found = {key: {"name": key, "size": file.size, "type": "file", "created": file.created}
                 for key, file in self.store.items() if key.startswith(prefix)}  # fmt: skip
        _counts.add("LIST", prefix, requests=1 + len(found) // _KEYS_A_LISTING)
        return found if detail else sorted(found)

    def _open(self, path: str, mode: str = "rb", block_size: int | str = "default", **kwargs: Any) -> Any:
        if mode != "rb":
            return super()._open(path, mode=mode, **kwargs)
        size = self.store[self._strip_protocol(path)].size
        return _RangedFile(self, path, block_size=block_size, size=size)


class _RangedFile(AbstractBufferedFile):
    """Read through fsspec's cache, block by block, as from a store on a network."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        data: bytes = self.fs.cat_file(self.path, start=start, end=end)
        return data
