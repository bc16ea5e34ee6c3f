"""Every object of a lake with its size and age, those that a killed writer left behind included."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from humwatch.storage.filesystem import open_fs, translated_errors
from humwatch.storage.lake import Lake

# What fsspec's filesystems call the time of the last write, the surest first.
_WRITTEN = ("LastModified", "mtime", "last_modified", "updated", "created")


@dataclass(frozen=True, order=True)
class StoredObject:
    """One object; `written_at` is None where the store does not say."""

    path: str
    size_bytes: int
    written_at: datetime | None

    def is_older_than(self, moment: datetime) -> bool:
        """Whether it is certain that it was written before `moment`."""
        return self.written_at is not None and self.written_at < moment


def take_inventory(lake: Lake) -> list[StoredObject]:
    """Return every object of the lake, sorted by path."""
    fs, root = open_fs(lake.uri)
    with translated_errors(lake.uri):
        entries: dict[str, dict[str, Any]] = fs.find(root, detail=True)
    skip = len(root.rstrip("/")) + 1
    return sorted(
        StoredObject(path[skip:], int(info["size"] or 0), _written_at(info)) for path, info in entries.items()
    )


def below(objects: Sequence[StoredObject], path: str) -> Sequence[StoredObject]:
    """Return the object at `path` and all below it; `objects` are sorted by path."""
    at = bisect_left(objects, path, key=lambda item: item.path)
    here = objects[at : at + 1] if at < len(objects) and objects[at].path == path else []
    start = bisect_left(objects, f"{path}/", key=lambda item: item.path)
    stop = bisect_left(objects, f"{path}0", key=lambda item: item.path)  # "0" comes right after "/"
    return [*here, *objects[start:stop]]


def _written_at(info: Mapping[str, Any]) -> datetime | None:
    value = next((info[name] for name in _WRITTEN if info.get(name)), None)
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, (int, float)):
        return datetime.fromtimestamp(value, UTC)
    return value.astimezone(UTC) if isinstance(value, datetime) else None
