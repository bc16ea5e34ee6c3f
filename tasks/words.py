"""Numbers and lists in sentences."""

from __future__ import annotations

from collections.abc import Sequence


def counted(n: int, word: str) -> str:
    """Return `1 file`, `2 files`, `2 machines`."""
    return f"{n:,} {word}" if n == 1 else f"{n:,} {word}s"


def some(names: Sequence[str], most: int = 3) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
