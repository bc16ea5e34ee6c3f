"""What the lake knows of each recording: facts from its name joined with facts from decoding."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from humwatch.storage.lake import Lake, map_concurrently
from humwatch.storage.models import Machine
from humwatch.storage.parts import Part, list_parts
from humwatch.storage.tables import HEALTH, MACHINE, RECORDINGS, read_table
from humwatch.tasks.frames import none_for_nan
from humwatch.tasks.plan.history import History
from humwatch.tasks.plan.part_rows import current, part_rows, with_place
from humwatch.tasks.plan.presence import present
from humwatch.tasks.plan.scope import Scope, is_dated


@dataclass(frozen=True)
class Catalog:
    """The current recordings of a lake.

    Attributes:
        recordings: one row a recording of the batches that were asked for, in a fixed order: the columns of
            `storage.tables.RECORDINGS` and `HEALTH`, `part_id` and `row`, and `status`, as in `History`.
        history: what the lake knows of these batches, and of the nights of each machine; `recordings` has its share of
            the index of its rows.
        parts: the parts by their id.
    """

    recordings: pd.DataFrame
    history: History
    parts: dict[str, Part]

    def restricted_to(self, scope: Scope) -> Catalog:
        """Return the catalog of the recordings in a scope; the history stays whole."""
        return Catalog(scope.recordings(self.recordings), self.history, self.parts)

    @property
    def accepted(self) -> pd.DataFrame:
        """The recordings that can be scored."""
        return self.recordings[self.recordings["status"] == "accepted"]


def current_recordings(
    lake: Lake, recording_ids: Collection[str] | None = None
) -> tuple[pd.DataFrame, dict[str, Part]]:
    """Return the newest row of every recording with its `part_id` and `row`, and the parts by id.

    With `recording_ids` of those only; parts that hold none of them are not read whole.
    """
    parts = list_parts(lake)
    rows = current(part_rows(lake, parts, {}).to_pandas())
    if recording_ids is not None:
        rows = rows[rows["recording_id"].isin(recording_ids)]
    return read_recordings(lake, rows, parts).reset_index(drop=True), {part.part_id: part for part in parts}


def read_recordings(lake: Lake, rows: pd.DataFrame, parts: Iterable[Part]) -> pd.DataFrame:
    """Return the columns of `storage.tables.RECORDINGS` of `rows` (part_id, row), in their order and index."""
    return _read_whole(lake, rows, {part: part.table_path for part in parts}, RECORDINGS)


def unfinished_parts(
    lake: Lake, spectrogram_key: str, history: History, batches: frozenset[str] | None
) -> frozenset[Part]:
    """Return the parts of some batches (None: all) that have facts from decoding and no mark: a run was killed."""
    begun = [part for part in Scope(batches).parts(history.parts.values()) if part in history.decoded]
    whole = present(lake, [part.store("spectrograms", spectrogram_key).mark_path for part in begun])
    return frozenset(part for part, done in zip(begun, whole, strict=True) if not done)


def catalog_of(lake: Lake, history: History, batches: frozenset[str] | None = None) -> Catalog:
    """Return the catalog of some batches (None: all), read whole."""
    chosen = history.rows if batches is None else history.rows[history.rows["batch"].isin(batches)]
    parts = Scope(batches).parts(history.parts.values())
    recordings = read_recordings(lake, chosen, parts)
    facts = _read_whole(
        lake, chosen, {part: history.decoded[part] for part in parts if part in history.decoded}, HEALTH
    )
    known = {name: chosen[name] for name in ("label", "reason", "status", "usual_s", "usual_rate_hz")}
    recordings = recordings.join(facts[facts.columns.difference(recordings.columns)]).assign(**known)
    recordings = none_for_nan(recordings)
    return Catalog(recordings, history, history.parts)


def _read_whole(lake: Lake, rows: pd.DataFrame, paths: Mapping[Part, str], schema: pa.Schema) -> pd.DataFrame:
    """Return what these tables (`schema`, in row order) say of `rows` (part_id, row), in their order and index."""
    held = set(rows["part_id"])
    needed = [part for part in paths if part.part_id in held]
    tables = map_concurrently(lambda part: with_place(read_table(lake, paths[part], schema), part.part_id), needed)
    whole: pd.DataFrame = pa.concat_tables([with_place(schema.empty_table(), ""), *tables]).to_pandas()
    return rows[["part_id", "row"]].merge(whole, on=["part_id", "row"], how="left").set_axis(rows.index)


def machine_of(values: Iterable[Any]) -> Machine:
    """Return the machine named by values in the order of `MACHINE`."""
    site, machine_type, machine_id, condition = (None if pd.isna(value) else str(value) for value in values)
    return Machine(str(machine_type), str(machine_id), site, condition)


def by_machine(recordings: pd.DataFrame) -> dict[Machine, pd.DataFrame]:
    """Return the rows of every machine and condition, machines in a fixed order."""
    groups: Iterable[tuple[Any, pd.DataFrame]] = recordings.groupby(MACHINE, dropna=False, sort=False)
    return dict(sorted(((machine_of(values), rows) for values, rows in groups), key=lambda item: item[0].label))


def silent_machines(history: History, scope: Scope) -> list[Machine]:
    """Return the machines in scope that sent recordings before the first night in scope, and none in scope.

    Args:
        history: of the nights in scope, or of everything.
        scope: some nights.
    """
    if not scope.batches:
        return []
    nights = Scope(machines=scope.machines).recordings(history.nights)
    earlier = nights[is_dated(nights["batch"]) & (nights["batch"] < min(scope.batches))]
    rows = scope.recordings(history.rows)
    heard = by_machine(rows[is_dated(rows["batch"])])
    return [machine for machine in by_machine(earlier) if machine not in heard]
