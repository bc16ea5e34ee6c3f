"""The lake: one root URI under which everything is kept, on any filesystem fsspec knows."""

from __future__ import annotations

import errno
import json
import os
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from cachetools import LRUCache

from humwatch.storage.errors import LakeTooNew, SourceNotFound
from humwatch.storage.filesystem import (
    is_local,
    is_object,
    objects_below,
    open_fs,
    remove_objects,
    s3_code,
    translated_errors,
)

FORMAT_VERSION = 1
# Of objects that never change, kept so that a store that is far is asked for them once.
_REMEMBERED_BYTES, _REMEMBERED_BYTES_OF_ONE = 32 << 20, 4 << 20
# Requests under way at once: a remote store answers many as fast as one.
_AT_ONCE = 16

T = TypeVar("T")
R = TypeVar("R")


def map_concurrently(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Return `function(item)` for every item, in order; for many small reads or writes, whose waits then overlap."""
    every = list(items)
    if len(every) < 2:
        return [function(item) for item in every]
    with ThreadPoolExecutor(min(_AT_ONCE, len(every))) as threads:
        return list(threads.map(function, every))


def fetch_ahead(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield `function(item)` for every item, in order, while those that follow are on their way: all are held."""
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        yield from threads.map(function, items)


class Lake:
    """Objects below one root, named by paths relative to it (`reports/index.html`).

    A write is seen whole or not at all. Cheap to make and to pickle by its URI; safe to use from several threads. Made
    for one run or one unit of work: what never changes, it asks a store that is far for once.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._fs, root = open_fs(self.uri)
        self._root = root.rstrip("/")
        self.is_local = is_local(self._fs)
        self._fixed: LRUCache[str, bytes] = LRUCache(_REMEMBERED_BYTES, getsizeof=len)
        self._there = set[str]()
        self._remembering = threading.Lock()

    @classmethod
    def open(cls, uri: str) -> Lake:
        """Open the lake at `uri`, or begin one there.

        Raises:
            LakeTooNew: a newer Humwatch wrote it.
            SourceForbidden, SourceNotFound, StorageUnavailable: the root cannot be read or written.
        """
        lake, begun = cls(uri), {"format_version": FORMAT_VERSION}
        try:
            begun = lake.read_json("lake.json")
        except SourceNotFound:
            if not lake.create("lake.json", json.dumps(begun).encode()):
                begun = lake.read_json("lake.json")
        version = begun["format_version"]
        if version > FORMAT_VERSION:
            raise LakeTooNew(
                f"{uri} has format version {version}; this Humwatch knows up to {FORMAT_VERSION}: upgrade it"
            )
        return lake

    def __reduce__(self) -> tuple[type[Lake], tuple[str]]:
        return Lake, (self.uri,)

    def uri_of(self, path: str) -> str:
        """Return the full URI of an object."""
        return f"{self.uri}/{path}"

    def read(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        """Return an object's bytes, or those from `start` to `end`; `SourceNotFound` when it is not there."""
        with translated_errors(self.uri_of(path)):
            data: bytes = self._fs.cat_file(self._full(path), start=start, end=end)
            return data

    def read_fixed(self, path: str) -> bytes:
        """`read` an object that is created once and never changed, from a store that is far but once.

        Not for what can be written anew, or is deleted and made again with other contents while a run lasts.
        """
        if self.is_local:
            return self.read(path)
        with self._remembering:
            data = self._fixed.get(path)
        if data is None:
            data = self.read(path)
            self._remember(path, data)
        return data

    def create_fixed(self, path: str, data: bytes) -> bool:
        """`create` an object that is never changed; `read_fixed` need not ask for it then."""
        created = self.create(path, data)
        if created and not self.is_local:
            self._remember(path, data)
        return created

    def has_fixed(self, path: str) -> bool:
        """Whether an object is there that is created once and never changed; a far store is asked until it is."""
        if path in self._there:
            return True
        there = self.exists(path)
        if there and not self.is_local:
            self._there.add(path)
        return there

    def read_json(self, path: str) -> Any:
        """Return an object parsed as JSON."""
        return json.loads(self.read(path))

    def about_to_write(self) -> None:
        """Say that the lake will be changed; one that is only looked at ends the look. All that changes it says so."""

    def write(self, path: str, data: bytes) -> None:
        """Write or replace an object; a reader sees the old bytes or the new ones."""
        self.about_to_write()
        with translated_errors(self.uri_of(path)):
            if self.is_local:
                self._put(path, data, os.replace)
            else:
                self._fs.pipe_file(self._full(path), data)

    def create(self, path: str, data: bytes) -> bool:
        """Write an object only if it is not there yet; return whether this call made it.

        Of several writers one gets True (a hard link locally, `If-None-Match` on S3); none does when the winner's
        answer is lost on the way, so False means that the object is there, and not that somebody else made it.
        """
        self.about_to_write()
        with translated_errors(self.uri_of(path)):
            if self.is_local:
                return self._put(path, data, os.link)
            try:
                self._fs.pipe_file(self._full(path), data, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                # s3fs turns 412 Precondition Failed into EINVAL; anything else with that number is a real error.
                if s3_code(error) == "PreconditionFailed":
                    return False
                raise
            return True

    def exists(self, path: str) -> bool:
        """Whether an object (not a prefix) is there."""
        with translated_errors(self.uri_of(path)):
            try:
                return is_object(self._fs, self._full(path))
            except (FileNotFoundError, NotADirectoryError):
                return False

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below `prefix`, sorted, without listing what is in them."""
        with translated_errors(self.uri_of(prefix)):
            try:
                entries = self._fs.ls(self._full(prefix), detail=True)
            except FileNotFoundError:
                return []
        return sorted(info["name"].rstrip("/").rpartition("/")[2] for info in entries if info["type"] == "directory")

    def list(self, prefix: str, suffix: str = "") -> list[str]:
        """Return the paths of all objects below `prefix` that end in `suffix`, sorted; none when there are none."""
        with translated_errors(self.uri_of(prefix)):
            try:
                entries = objects_below(self._fs, self._root, prefix)
            except FileNotFoundError:
                return []
        skip = len(self._root) + 1
        # Some stores list an empty folder that deleted objects left behind.
        objects = (path for path, info in entries.items() if info["type"] == "file")
        return sorted(path[skip:] for path in objects if path.endswith(suffix) and "/.tmp-" not in path)

    def delete(self, path: str) -> None:
        """Delete an object or everything below a prefix; nothing happens when it is not there."""
        self.about_to_write()
        with translated_errors(self.uri_of(path)):
            if self.is_local:
                _delete(Path(self._full(path)))
                return
            with suppress(FileNotFoundError):
                self._fs.rm(self._full(path), recursive=True)

    def delete_folder(self, folder: str, paths: Sequence[str]) -> None:
        """Delete a folder whose objects are known, so that a store that is far need not list it; some may be absent.

        On a disk all that is in it goes, with what a killed writer left half written.
        """
        self.about_to_write()
        if self.is_local:
            self.delete(folder)
            return
        with translated_errors(self.uri_of(folder)):
            remove_objects(self._fs, [self._full(path) for path in paths])

    def _remember(self, path: str, data: bytes) -> None:
        if len(data) <= _REMEMBERED_BYTES_OF_ONE:
            with self._remembering:
                self._fixed[path] = data

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _put(self, path: str, data: bytes, move: Callable[[Path, Path], None], attempts: int = 5) -> bool:
        """Write a file beside its place and `move` it there; False when the place is taken."""
        target = Path(self._full(path))
        try:
            with _written_beside(target, data) as temporary:
                try:
                    move(temporary, target)
                except FileExistsError:
                    return False
        except (FileNotFoundError, FileExistsError):
            # Another writer has just deleted the folder with all that was in it.
            if attempts == 1:
                raise
            return self._put(path, data, move, attempts - 1)
        return True


@contextmanager
def _written_beside(target: Path, data: bytes) -> Iterator[Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".tmp-{uuid.uuid4().hex}"
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _delete(path: Path) -> None:
    """Delete a file or a folder while others may be writing or deleting there; what they add meanwhile stays."""
    try:
        if path.is_file() or path.is_symlink():
            path.unlink()
            return
        for entry in list(path.iterdir()):
            _delete(entry)
        path.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
