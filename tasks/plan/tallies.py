"""What the nights so far say of each machine, as counts: compact tables that each night carries on.

A look at some nights needs of all others how many recordings of each machine are alike in what verdicts are made of
(duration, band, channels heard), and the first nights of each machine, of which its commissioning window is made. Such
counts can be added up. So two kinds of tables are kept below `history/KEY/`, both derived, written once, named by a
hash of what they rest on, and made again when they are not there:

- of a batch (a night) its own tallies and tags: they rest on its parts, and on which of these are decoded;
- of all batches up to one the sum: the table before it carried on by that batch. A late part is in the tallies of its
  own night; sums from there on are made again from tables of nights, and no recording is read.

Two things cannot be added up: recordings with several rows (the newest counts), and recordings with the same samples
(one of a machine is used). By the tags, 64 bits of hash a recording and as many for its samples, they are found when a
batch is carried on; they are kept apart as rows, and count in no tally. Tags that are equal by chance do no harm.

How many bytes a look reads grows with the machines and not with the nights. Carrying a batch on compares its tags with
all others': 16 bytes a recording of the lake, once a night.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from humwatch.storage.errors import SourceForbidden, SourceNotFound
from humwatch.storage.lake import Lake, map_concurrently
from humwatch.storage.naming import digest, path_component
from humwatch.storage.parts import Part
from humwatch.storage.tables import MACHINE, TAGS, TALLIES, create_table, read_table
from humwatch.tasks.plan.part_rows import NO_ROWS, part_rows, share_of_file, with_decode_reason
from humwatch.tasks.plan.scope import is_dated
from humwatch.tasks.plan.verdicts import judge_alone
from humwatch.tasks.settings import FitSettings, HealthSettings

_PLACE = ["part_id", "row"]
_ALIKE = [name for name in TALLIES.names if name != "n"]


@dataclass(frozen=True)
class Window:
    """Of which nights of a machine the counts are kept one by one: those that can be of its commissioning window.

    The first `nights` of each machine, or those from `first` to `last` (dates; None: open) where there is one of them;
    its very first and its newest always.
    """

    nights: int
    first: str | None = None
    last: str | None = None

    @classmethod
    def of(cls, fit: FitSettings) -> Window:
        """Return the window of the settings."""
        first, last = fit.commissioning_from, fit.commissioning_until
        if first is None and last is None:
            return cls(fit.commissioning_nights)
        return cls(0, first.isoformat() if first else None, last.isoformat() if last else None)


@dataclass(frozen=True)
class Batch:
    """A batch as it stands: its parts, sorted, and the health tables of those that are decoded."""

    name: str
    parts: tuple[Part, ...]
    decoded: tuple[tuple[Part, str], ...]

    @cached_property
    def contents(self) -> str:
        """A hash of what its tallies rest on."""
        done = {part for part, _ in self.decoded}
        return digest([[part.machine_type, part.part_id, part in done] for part in self.parts], 12)


@dataclass(frozen=True)
class Carried:
    """The sum of some batches.

    Attributes:
        tallies: columns of `TALLIES`: of each machine's nights that `Window` keeps one by one (with their batch), and
            of all batches together (batch null).
        apart: rows as from `part_rows`, superseded ones too, that are in no tally.
    """

    tallies: pd.DataFrame
    apart: pd.DataFrame


@dataclass(frozen=True)
class Tallying:
    """Where tallies of one spectrogram key are kept, and what shapes them."""

    lake: Lake
    spectrogram_key: str
    health: HealthSettings
    window: Window

    @cached_property
    def _folder(self) -> str:
        shaping = [self.health.model_dump(mode="json"), vars(self.window)]
        return f"history/{self.spectrogram_key}-{digest(shaping, 6)}"

    def carried(self, batches: Sequence[Batch]) -> Carried:
        """Return the sum of batches in their order; what is not there is made from the last one that is, and kept."""
        names = [digest([])]
        for batch in batches:
            names.append(digest([names[-1], batch.name, batch.contents]))
        paths = [f"{self._folder}/carried/{path_component(batch.name)}-{name}"
                 for batch, name in zip(batches, names[1:], strict=True)]  # fmt: skip
        if not paths:
            return Carried(_sum([]), NO_ROWS.to_pandas())
        try:
            return _read_carried(self.lake.uri, paths[-1])
        except SourceNotFound:
            there = set(self.lake.list(f"{self._folder}/carried", ".tallies.parquet"))
        done = max((n for n, path in enumerate(paths, start=1) if f"{path}.tallies.parquet" in there), default=0)
        found = _read_carried(self.lake.uri, paths[done - 1]) if done else Carried(_sum([]), NO_ROWS.to_pandas())
        for n in range(done, len(batches)):
            found = self._carry(found, batches[:n], batches[n])
            # the tallies come last: with them, both are there
            for name, rows, schema in (("apart", found.apart, NO_ROWS.schema), ("tallies", found.tallies, TALLIES)):
                self._keep(f"{paths[n]}.{name}.parquet", _table(rows, schema))
        return found

    def holding(self, batches: Sequence[Batch], recording_ids: Iterable[str]) -> frozenset[str]:
        """Return the names of the batches that have a row with one of these ids, by their tags."""
        wanted = _Tags.of(pa.chunked_array([_hashed(pd.Series(list(recording_ids), dtype=object))]))
        found = map_concurrently(lambda batch: wanted.among(self._tags(batch)["recording"]).any(), batches)
        return frozenset(batch.name for batch, holds in zip(batches, found, strict=True) if holds)

    def nights(self, machines: pd.DataFrame, batches: Iterable[Batch], apart: pd.DataFrame) -> pd.DataFrame:
        """Return the tallies of some machines (columns `MACHINE`) in every batch, without recordings kept apart."""

        def of(frame: pd.DataFrame) -> pd.DataFrame:
            return frame[is_among(frame, machines, MACHINE)]

        own = map_concurrently(lambda batch: of(self._tallies(batch)), batches)
        return _sum([*own, _negative(of(self._tallied(apart)))])

    def _carry(self, before: Carried, earlier: Sequence[Batch], batch: Batch) -> Carried:
        alike = self._alike(earlier, batch)
        alike = alike[~is_among(alike, before.apart, _PLACE)]
        is_of_night = before.tallies["batch"].notna()
        changed, apart = [self._tallies(batch)], before.apart
        if len(alike):
            changed.append(_negative(self._tallied(alike)))
            apart = pd.concat([apart, alike], ignore_index=True)
        every = _sum([before.tallies[~is_of_night], *(frame.assign(batch=None) for frame in changed)])
        nights = pd.concat([before.tallies[is_of_night], *changed], ignore_index=True)
        nights = _sum([nights]) if len(alike) else nights  # of a batch that is new nothing can be added up
        kept = self._kept(nights)
        # A machine that loses recordings of an earlier night may have others that were not kept and now would be.
        lost = alike[alike["batch"] != batch.name][MACHINE].drop_duplicates()
        if len(lost):
            again = self._kept(self.nights(lost, [*earlier, batch], apart))
            kept = pd.concat([kept[~is_among(kept, lost, MACHINE)], again], ignore_index=True)
        return Carried(pd.concat([kept, every], ignore_index=True), apart)

    def _kept(self, tallies: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of nights that `Window` keeps; batches that are no nights are kept."""
        fit = tallies["n_frames"].notna() & tallies["reason"].isna()
        by_night = tallies.assign(fit=fit).groupby([*MACHINE, "batch"], dropna=False, sort=False)["fit"].any()
        nights = by_night.reset_index().sort_values("batch", kind="stable", ignore_index=True)
        nights = nights[is_dated(nights["batch"])]
        of_machine = nights.groupby(MACHINE, dropna=False, sort=False)
        if self.window.nights:
            inside = nights["fit"] & (of_machine["fit"].cumsum() <= self.window.nights)
        else:
            inside = nights["batch"] >= (self.window.first or "")
            inside &= nights["batch"] <= (self.window.last or date.max.isoformat())
        dropped = nights[~inside & (of_machine.cumcount() > 0) & (of_machine.cumcount(ascending=False) > 0)]
        return tallies[~is_among(tallies, dropped, [*MACHINE, "batch"])]

    def _alike(self, earlier: Sequence[Batch], batch: Batch) -> pd.DataFrame:
        """Return the rows of a batch that have the id or samples of another row, in it or earlier, and these others."""
        own = self._tags(batch)
        tags = {name: _Tags.of(own[name]) for name in TAGS.names}

        def seen(other: Batch) -> tuple[dict[str, npt.NDArray[np.uint64]], pd.DataFrame]:
            others = self._tags(other)
            found = {name: tags[name].among(others[name]) for name in TAGS.names}
            shared = {name: others[name].fill_null(0).to_numpy()[is_in] for name, is_in in found.items()}
            return shared, self._rows(other, np.logical_or.reduce([*found.values()]))

        before = map_concurrently(seen, earlier)
        here = np.zeros(own.num_rows, dtype=bool)
        for name in TAGS.names:
            shared = np.concatenate([tags[name].repeated, *(found[name] for found, _ in before)])
            here |= _Tags.of(pa.chunked_array([shared.astype(np.uint64)])).among(own[name])
        return pd.concat([*(rows for _, rows in before if len(rows)), self._rows(batch, here)], ignore_index=True)

    def _rows(self, batch: Batch, chosen: npt.NDArray[np.bool_]) -> pd.DataFrame:
        if not chosen.any():
            nothing: pd.DataFrame = NO_ROWS.to_pandas()
            return nothing
        rows: pd.DataFrame = self._all_rows(batch).filter(pa.array(chosen)).to_pandas()
        return rows

    def _tallies(self, batch: Batch) -> pd.DataFrame:
        path = f"{self._of(batch)}.tallies.parquet"
        tallies: pd.DataFrame = self._kept_or_made(
            path, TALLIES, lambda: _table(self._tallied(self._all_rows(batch).to_pandas()), TALLIES)
        ).to_pandas()
        return tallies

    def _tags(self, batch: Batch) -> pa.Table:
        return self._kept_or_made(f"{self._of(batch)}.tags.parquet", TAGS, lambda: _tagged(self._all_rows(batch)))

    def _tallied(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the tallies of rows as from `part_rows`."""
        rows = rows.assign(reason=with_decode_reason(rows), share_of_file=share_of_file(rows), n=1)
        decoded = rows["n_frames"].notna()
        rows.loc[decoded, "reason"] = judge_alone(rows[decoded], self.health)
        return _sum([rows[TALLIES.names]])

    def _all_rows(self, batch: Batch) -> pa.Table:
        return part_rows(self.lake, batch.parts, dict(batch.decoded))

    def _of(self, batch: Batch) -> str:
        return f"{self._folder}/nights/{path_component(batch.name)}/{batch.contents}"

    def _kept_or_made(self, path: str, schema: pa.Schema, make: Callable[[], pa.Table]) -> pa.Table:
        try:
            return read_table(self.lake, path, schema)
        except SourceNotFound:
            made = make()
            self._keep(path, made)
            return made

    def _keep(self, path: str, table: pa.Table) -> None:
        """Keep a table; who may only read the lake makes it for one look."""
        with suppress(SourceForbidden):
            create_table(self.lake, path, table)


@dataclass(frozen=True)
class _Tags:
    """Tags of rows: `each`, sorted, and those of them that several rows have."""

    each: npt.NDArray[np.uint64]
    repeated: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, tags: pa.ChunkedArray) -> _Tags:
        each, counts = np.unique(tags.drop_null().to_numpy(), return_counts=True)
        return cls(each, each[counts > 1])

    def among(self, tags: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
        """Whether each of some tags is one of these; a null is none."""
        if not len(self.each):
            return np.zeros(len(tags), dtype=bool)
        values = tags.fill_null(0).to_numpy()
        found = self.each[np.minimum(np.searchsorted(self.each, values), len(self.each) - 1)] == values
        return np.asarray(found & tags.is_valid().to_numpy(zero_copy_only=False))


def is_among(frame: pd.DataFrame, others: pd.DataFrame, columns: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Whether each row's values in some columns are those of one of the other rows; nulls are alike."""
    if not len(frame) or not len(others):
        return np.zeros(len(frame), dtype=bool)
    both = pd.concat([frame[[*columns]], others[[*columns]]], ignore_index=True).astype(object)
    code = both.groupby([*columns], dropna=False, sort=False).ngroup().to_numpy()
    return np.isin(code[: len(frame)], code[len(frame) :])


def _tagged(rows: pa.Table) -> pa.Table:
    return pa.table([_hashed(rows[name].to_pandas()) for name in ("recording_id", "sound_hash")], schema=TAGS)


def _hashed(texts: pd.Series) -> pa.Array:
    """Return 64 bits of hash of each text, always the same; null of a null."""
    hashes = pd.util.hash_pandas_object(texts.astype(object), index=False)
    return pa.array(hashes.to_numpy(), pa.uint64(), mask=texts.isna().to_numpy())


def _sum(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return tallies added up; what comes to nothing is left out."""
    none: pd.DataFrame = TALLIES.empty_table().to_pandas()
    some = [frame[TALLIES.names] for frame in frames if len(frame)]
    if not some:
        return none
    added: pd.DataFrame = pd.concat(some).groupby(_ALIKE, dropna=False, sort=False)["n"].sum().reset_index()
    return added[added["n"] != 0]


def _table(frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pandas(frame, schema=schema, preserve_index=False).replace_schema_metadata()


def _negative(tallies: pd.DataFrame) -> pd.DataFrame:
    return tallies.assign(n=-tallies["n"])


@functools.lru_cache(maxsize=8)
def _read_carried(lake_uri: str, path: str) -> Carried:
    """Return a sum that is kept, read once a process."""
    lake = Lake(lake_uri)
    tallies = read_table(lake, f"{path}.tallies.parquet", TALLIES)
    return Carried(tallies.to_pandas(), read_table(lake, f"{path}.apart.parquet", NO_ROWS.schema).to_pandas())
