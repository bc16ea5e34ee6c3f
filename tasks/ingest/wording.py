"""What doubts are made of: how they are told, and the words they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SAY_THE_LAYOUT = (
    "say which part of a path is what: --set ingest.layout='{machine_type}/{machine_id}/{}.wav', or give a manifest"
)

SAY_THE_LABEL = (
    "say which part is the label: --set ingest.layout='{machine_id}_{label}/{}.wav' or the like; further words for "
    "labels: --set 'ingest.label_words={broken = \"abnormal\"}'"
)


@dataclass(frozen=True)
class Doubt:
    """Something that may have been misread.

    Attributes:
        code: stable and machine-readable.
        message: a sentence with numbers and an example.
        advice: what to type or do if it was.
    """

    code: str
    message: str
    advice: str


def counted(n: int, word: str) -> str:
    """Return `1 file`, `2 files`, `2 machines`."""
    return f"{n:,} {word}" if n == 1 else f"{n:,} {word}s"


def some(names: Sequence[str], most: int = 3) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
