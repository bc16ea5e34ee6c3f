"""What of the things that should be in a lake is there, and what is missing.

Everything derived ends with one object that is written last (the mark of a store, a model's passport, a table): with
it, the whole is there. Whoever asks whether something is done asks here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from humwatch.storage.lake import Lake, map_concurrently
from humwatch.storage.parts import PartStore

if TYPE_CHECKING:
    from humwatch.storage.arrays import StoredArray

# From so many objects of one kind and key on, a listing (a request for a thousand) is cheaper than asking for each.
# Not of stores: beside each mark lie a dozen objects of Zarr.
_WORTH_A_LISTING = 1000
_LISTABLE = ("scores/", "models/")


class Derived(Protocol):
    """Something that is complete when its last object is there."""

    @property
    def mark_path(self) -> str:
        """The object that is written last."""


D = TypeVar("D", bound=Derived)


def present(lake: Lake, paths: Sequence[str]) -> list[bool]:
    """Return for each object whether it is there."""
    by_key: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        by_key["/".join(path.split("/")[:2])].append(path)
    listable = [
        key
        for key, of_key in by_key.items()
        if len(of_key) >= _WORTH_A_LISTING and key.startswith(_LISTABLE) and not lake.is_local
    ]
    listed = {path for key in listable for path in lake.list(key)}
    asked = [path for key, of_key in by_key.items() if key not in listable for path in of_key]
    answers = zip(asked, map_concurrently(lake.has_fixed, asked), strict=True)
    existing = listed | {path for path, exists in answers if exists}
    return [path in existing for path in paths]


def missing(lake: Lake, expected: Iterable[D]) -> list[D]:
    """Return those of the things that should be there that are not complete."""
    every = list(expected)
    return [one for one, done in zip(every, present(lake, [one.mark_path for one in every]), strict=True) if not done]


def missing_blocks(lake: Lake, store: PartStore, array: StoredArray) -> list[range]:
    """Return the rows of the blocks of a store's array that have left no receipt."""
    done = set(store.list_receipts(lake))
    return [rows for rows in array.blocks if store.receipt_path(rows.start) not in done]
