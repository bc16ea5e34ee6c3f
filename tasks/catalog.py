"""What the lake knows of each recording: facts from its name joined with facts from decoding."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from storage.lake import Lake, side_by_side
from storage.models import Machine
from storage.parts import Part, list_parts
from storage.reasons import Reason
from storage.tables import HEALTH, RECORDINGS, read_table
from tasks.labels import apply_labels
from tasks.scope import Scope
from tasks.settings import HealthSettings
from tasks.spectrograms.health import judge

MACHINE = ["site", "machine_type", "machine_id", "condition"]

_HISTORY = pa.schema(
    [
        RECORDINGS.field(name)
        for name in ("recording_id", *MACHINE, "batch", "label", "recorded_at", "reason", "ingested_at")
    ]
)
# What a verdict is made of.
_MEASURES = pa.schema(
    [
        HEALTH.field(name)
        for name in ("n_frames", "duration_s", "nonfinite_fraction", "peak_dbfs", "rms_dbfs", "clipped_fraction",
                     "dead_channel", "reason")
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Catalog:
    """The current recordings of a lake.

    Attributes:
        recordings: one row a recording of the batches that were asked for, in a fixed order: the columns of
            `storage.tables.RECORDINGS` and `HEALTH`, `part_id` and `row` (its place on the first axis of the part's
            stores), and `status`: accepted, rejected (then `reason` says why) or pending (not decoded under this key).
        history: one row a recording of the whole lake, indexed 0..n-1 in the same order (`recordings` has its share of
            the index): `recording_id`, `MACHINE`, `batch`, `label`, `recorded_at`, `part_id`, `row`, `status`,
            `reason`; all columns when all batches were asked for.
        parts: the parts by their id.
    """

    recordings: pd.DataFrame
    history: pd.DataFrame
    parts: dict[str, Part]

    def within(self, scope: Scope) -> Catalog:
        """Return the catalog of the recordings in a scope; the history stays whole."""
        return Catalog(scope.recordings(self.recordings), self.history, self.parts)

    @property
    def accepted(self) -> pd.DataFrame:
        """The recordings that can be scored."""
        return self.recordings[self.recordings["status"] == "accepted"]

    @property
    def roled(self) -> pd.DataFrame:
        """The recordings of the history that can be scored: among them roles are given."""
        return self.history[self.history["status"] == "accepted"]


def current_recordings(
    lake: Lake, recording_ids: Collection[str] | None = None
) -> tuple[pd.DataFrame, dict[str, Part]]:
    """Return the newest row of every recording with its `part_id` and `row`, and the parts by id.

    With `recording_ids` of those only; parts that hold none of them are not read whole.
    """
    parts = list_parts(lake)
    rows = current_rows(lake, parts)
    if recording_ids is not None:
        rows = rows[rows["recording_id"].isin(recording_ids)]
    whole = _read_whole(lake, rows, {part: part.table_path for part in parts}, RECORDINGS)
    return whole.reset_index(drop=True), {part.part_id: part for part in parts}


def current_rows(lake: Lake, parts: Sequence[Part], decoded: Mapping[Part, str] | None = None) -> pd.DataFrame:
    """Return the newest row of every recording, in the order of `parts` and their rows: what the history needs.

    Args:
        lake: the lake.
        parts: all its parts, sorted.
        decoded: health tables of parts that have one; of others the measures are null.
    """
    decoded = decoded or {}
    tables = side_by_side(lambda part: _history(lake.uri, part, decoded.get(part)), parts)
    empty = _place(_with_measures(_HISTORY.empty_table(), None), "")
    rows: pd.DataFrame = pa.concat_tables([empty, *tables]).to_pandas()
    # Few recordings have several rows: only those are worth sorting.
    several = rows[rows.duplicated("recording_id", keep=False)]
    ordered = several.sort_values(["ingested_at", "part_id", "row"], kind="stable")
    superseded = ordered.index[ordered.duplicated("recording_id", keep="last")]
    return rows.drop(index=superseded).reset_index(drop=True)


def load_catalog(
    lake: Lake,
    spectrogram_key: str,
    health: HealthSettings,
    window_frames: int,
    batches: frozenset[str] | None = None,
) -> Catalog:
    """Return the catalog under one spectrogram key; verdicts that need the whole machine are made here.

    Of `batches` (None: all) everything is read; of the others the few columns that those verdicts need.
    """
    parts = list_parts(lake)
    wanted = Scope(batches).parts(parts)
    # What is worked on needs its mark; what only counts may be known by a listing, which is one request for many parts.
    marks = side_by_side(lambda part: part.store("spectrograms", spectrogram_key).is_complete(lake), wanted)
    complete = dict(zip(wanted, marks, strict=True))
    listed = set(lake.list(f"health/{spectrogram_key}", ".parquet")) if len(wanted) < len(parts) else set()
    paths = {part: part.health_path(spectrogram_key) for part in parts}
    decoded = {part: path for part, path in paths.items() if complete.get(part, path in listed)}
    rows = current_rows(lake, parts, decoded)
    rows["reason"] = rows["reason"].where(rows["reason"].notna(), rows["decode_reason"]).astype(object)
    measured = rows["n_frames"].notna()
    rows.loc[measured, "reason"] = judge(rows[measured], health)
    short = measured & rows["reason"].isna() & (rows["n_frames"] < window_frames)
    rows.loc[short, "reason"] = str(Reason.TOO_SHORT)
    rows["status"] = "pending"
    rows.loc[measured, "status"] = "accepted"
    rows.loc[rows["reason"].notna(), "status"] = "rejected"
    kept = [*_HISTORY.names, "part_id", "row", "status"]
    history = apply_labels(_with_none(rows[kept].drop(columns="ingested_at")), lake)
    chosen = history if batches is None else history[history["batch"].isin(batches)]
    recordings = _read_whole(lake, chosen, {part: part.table_path for part in wanted}, RECORDINGS)
    facts = _read_whole(lake, chosen, {part: decoded[part] for part in wanted if part in decoded}, HEALTH)
    known = {name: chosen[name] for name in ("label", "reason", "status")}
    recordings = recordings.join(facts[facts.columns.difference(recordings.columns)]).assign(**known)
    recordings = _with_none(recordings)
    return Catalog(recordings, recordings if batches is None else history, {part.part_id: part for part in parts})


@functools.lru_cache(maxsize=1 << 16)
def _history(lake_uri: str, part: Part, health_path: str | None) -> pa.Table:
    """Return what the history needs of a part. Parts and health tables never change, so each is read once a process."""
    lake = Lake(lake_uri)
    measures = None if health_path is None else read_table(lake, health_path, _MEASURES)
    return _place(_with_measures(read_table(lake, part.table_path, _HISTORY), measures), part.part_id)


def _with_measures(rows: pa.Table, measures: pa.Table | None) -> pa.Table:
    """Return both side by side; the reason from decoding is called `decode_reason`."""
    for field in _MEASURES:
        name = "decode_reason" if field.name == "reason" else field.name
        values = pa.nulls(rows.num_rows, field.type) if measures is None else measures[field.name]
        rows = rows.append_column(name, values)
    return rows


def _place(rows: pa.Table, part_id: str) -> pa.Table:
    """Return a part's rows with where they are."""
    rows = rows.append_column("part_id", pa.repeat(part_id, rows.num_rows))
    return rows.append_column("row", pa.array(np.arange(rows.num_rows)))


def _read_whole(lake: Lake, rows: pd.DataFrame, paths: Mapping[Part, str], schema: pa.Schema) -> pd.DataFrame:
    """Return what these tables (`schema`, in row order) say of `rows` (part_id, row), in their order and index."""
    held = set(rows["part_id"])
    wanted = [part for part in paths if part.part_id in held]
    tables = side_by_side(lambda part: _place(read_table(lake, paths[part], schema), part.part_id), wanted)
    whole: pd.DataFrame = pa.concat_tables([_place(schema.empty_table(), ""), *tables]).to_pandas()
    return rows[["part_id", "row"]].merge(whole, on=["part_id", "row"], how="left").set_axis(rows.index)


def _with_none(rows: pd.DataFrame) -> pd.DataFrame:
    for column in rows.columns[rows.dtypes == "object"]:
        rows[column] = rows[column].where(rows[column].notna(), None)
    return rows


def machine_of(values: Iterable[Any]) -> Machine:
    """Return the machine named by values in the order of `MACHINE`."""
    site, machine_type, machine_id, condition = (None if pd.isna(value) else str(value) for value in values)
    return Machine(str(machine_type), str(machine_id), site, condition)


def by_machine(recordings: pd.DataFrame) -> dict[Machine, pd.DataFrame]:
    """Return the rows of every machine and condition, machines in a fixed order."""
    groups: Iterable[tuple[Any, pd.DataFrame]] = recordings.groupby(MACHINE, dropna=False, sort=False)
    return dict(sorted(((machine_of(values), rows) for values, rows in groups), key=lambda item: item[0].label))


def silent_machines(catalog: Catalog, scope: Scope) -> list[Machine]:
    """Return the machines in scope that sent recordings before the first night in scope, and none in scope."""
    if not scope.batches:
        return []
    nights = catalog.history[[*MACHINE, "batch"]].drop_duplicates()
    of_machines = Scope(machines=scope.machines).recordings(nights)
    earlier = of_machines[of_machines["batch"] < min(scope.batches)]
    heard = by_machine(scope.recordings(of_machines))
    return [machine for machine in by_machine(earlier) if machine not in heard]
