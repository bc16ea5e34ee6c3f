"""Which part of a lake a run is about: some batches (nights), some machines, or everything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from typing import Any

import pandas as pd

from humwatch.storage.parts import Part


@dataclass(frozen=True)
class Scope:
    """A selection of recordings.

    Attributes:
        batches: batches wanted; None: all of them.
        machines: pattern (`*` and `?`) on `TYPE/ID`, with a site `SITE/TYPE/ID`; None: all of them.
    """

    batches: frozenset[str] | None = None
    machines: str | None = None

    def parts(self, parts: Iterable[Part]) -> list[Part]:
        """Return the parts that hold wanted batches."""
        return [part for part in parts if self.batches is None or part.batch in self.batches]

    def recordings(self, recordings: pd.DataFrame) -> pd.DataFrame:
        """Return the wanted rows of a table with batch, site, machine_type and machine_id."""
        selected = pd.Series(data=True, index=recordings.index)
        if self.batches is not None:
            selected &= recordings["batch"].isin(self.batches)
        pattern = self.machines
        if pattern is not None:
            selected &= self.names(recordings).map(lambda name: fnmatchcase(name, pattern)).astype(bool)
        return recordings[selected]

    @staticmethod
    def names(recordings: pd.DataFrame) -> pd.Series[str]:
        """Return `TYPE/ID` or `SITE/TYPE/ID` of every row."""
        site = recordings["site"].map(lambda site: f"{site}/" if isinstance(site, str) else "")
        return site + recordings["machine_type"] + "/" + recordings["machine_id"]


def is_date(batch: str) -> bool:
    """Whether a batch is a night: a date of the calendar, such as `2026-11-21`; `2026-02-30` is none."""
    try:
        return date.fromisoformat(batch).isoformat() == batch
    except ValueError:
        return False


def is_dated(batches: pd.Series[Any]) -> pd.Series[bool]:
    """Whether each batch is a night."""
    return batches.isin([batch for batch in batches.unique() if is_date(str(batch))])


EVERYTHING = Scope()
