"""What the lake knows of each recording: facts from its name joined with facts from decoding."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from humwatch.storage.lake import Lake, map_concurrently
from humwatch.storage.models import Machine
from humwatch.storage.parts import Part, list_parts
from humwatch.storage.reasons import Reason
from humwatch.storage.tables import HEALTH, RECORDINGS, read_table
from humwatch.tasks.frames import none_for_nan
from humwatch.tasks.plan.labels import apply_labels
from humwatch.tasks.plan.presence import present
from humwatch.tasks.plan.repeats import shared
from humwatch.tasks.plan.scope import Scope, is_dated
from humwatch.tasks.plan.verdicts import judge, usual_durations_s, usual_rates_hz
from humwatch.tasks.settings import HealthSettings, SpectrogramSettings

MACHINE = ["site", "machine_type", "machine_id", "condition"]

_HISTORY = pa.schema(
    [
        RECORDINGS.field(name)
        for name in (
            "recording_id",
            *MACHINE,
            "batch",
            "label",
            "split",
            "recorded_at",
            "reason",
            "ingested_at",
            "clip_s",
            "file_s",
        )
    ]
)
# What a verdict is made of.
_MEASURES = pa.schema(
    [
        HEALTH.field(name)
        for name in ("n_frames", "duration_s", "nonfinite_fraction", "peak_dbfs", "rms_dbfs", "ac_rms_dbfs",
                     "dc_offset", "clipped_fraction", "dead_channel", "channels", "channels_heard", "sample_rate_hz",
                     "sound_hash", "reason")
    ]
)  # fmt: skip


@dataclass(frozen=True)
class History:
    """What the lake knows of every recording, under one spectrogram key.

    Attributes:
        rows: one row a recording of the whole lake, indexed 0..n-1 in a fixed order: `recording_id`, `MACHINE`,
            `batch`, `label`, `split`, `recorded_at`, `part_id`, `row` (its place on the first axis of the part's
            stores), `sound_hash` (null where no other recording has the same), `reason`, and `status`: accepted,
            rejected (then `reason` says why) or pending (not decoded under the key); `duration_s` and `channels` as
            decoded, `usual_s` and `usual_rate_hz` of the machine.
        parts: the parts by their id.
        decoded: parts with a table of facts from decoding, and where it is.
    """

    rows: pd.DataFrame
    parts: dict[str, Part]
    decoded: dict[Part, str]

    @property
    def eligible(self) -> pd.DataFrame:
        """The rows that can be scored: among them roles are given."""
        return self.rows[self.rows["status"] == "accepted"]


@dataclass(frozen=True)
class Catalog:
    """The current recordings of a lake.

    Attributes:
        recordings: one row a recording of the batches that were asked for, in a fixed order: the columns of
            `storage.tables.RECORDINGS` and `HEALTH`, `part_id` and `row`, and `status`, as in `History`.
        history: the rows of `History` (`recordings` has its share of their index); all columns when all batches were
            asked for.
        parts: the parts by their id.
    """

    recordings: pd.DataFrame
    history: pd.DataFrame
    parts: dict[str, Part]

    def restricted_to(self, scope: Scope) -> Catalog:
        """Return the catalog of the recordings in a scope; the history stays whole."""
        return Catalog(scope.recordings(self.recordings), self.history, self.parts)

    @property
    def accepted(self) -> pd.DataFrame:
        """The recordings that can be scored."""
        return self.recordings[self.recordings["status"] == "accepted"]

    @property
    def eligible_history(self) -> pd.DataFrame:
        """The recordings of the history that can be scored: among them roles are given."""
        return self.history[self.history["status"] == "accepted"]


def current_recordings(
    lake: Lake, recording_ids: Collection[str] | None = None
) -> tuple[pd.DataFrame, dict[str, Part]]:
    """Return the newest row of every recording with its `part_id` and `row`, and the parts by id.

    With `recording_ids` of those only; parts that hold none of them are not read whole.
    """
    parts = list_parts(lake)
    rows = _current_rows(lake, parts, {})
    if recording_ids is not None:
        rows = rows[rows["recording_id"].isin(recording_ids)]
    return read_recordings(lake, rows, parts).reset_index(drop=True), {part.part_id: part for part in parts}


def read_recordings(lake: Lake, rows: pd.DataFrame, parts: Iterable[Part]) -> pd.DataFrame:
    """Return the columns of `storage.tables.RECORDINGS` of `rows` (part_id, row), in their order and index."""
    return _read_whole(lake, rows, {part: part.table_path for part in parts}, RECORDINGS)


def load_history(
    lake: Lake,
    spectrogram_key: str,
    health: HealthSettings,
    spectrogram: SpectrogramSettings,
    window_frames: int,
    unfinished: Collection[Part] = frozenset(),
) -> History:
    """Return what is known of every recording; verdicts that need the whole machine are made here.

    Of each part the few columns that those verdicts need are read, once a process. Which parts are decoded is known by
    one listing of their facts, but for `unfinished` ones, whose facts a killed run has left beside a store that is not
    whole: see `unfinished_parts`.
    """
    parts = list_parts(lake)
    listed = set(lake.list(f"health/{spectrogram_key}", ".parquet"))
    paths = {part: part.health_path(spectrogram_key) for part in parts if part not in unfinished}
    decoded = {part: path for part, path in paths.items() if path in listed}
    rows = _current_rows(lake, parts, decoded)
    rows["reason"] = rows["reason"].where(rows["reason"].notna(), rows["decode_reason"]).astype(object)
    rows["sound_hash"] = rows["sound_hash"].where(shared(rows["sound_hash"]))
    rows["share_of_file"] = 1 / np.ceil(rows["file_s"] / rows["clip_s"])
    measured = rows["n_frames"].notna()
    rows.loc[measured, "reason"] = judge(rows[measured], health, spectrogram)
    rows["usual_s"] = usual_durations_s(rows[measured])
    rows["usual_rate_hz"] = usual_rates_hz(rows[measured])
    short = measured & rows["reason"].isna() & (rows["n_frames"] < window_frames)
    rows.loc[short, "reason"] = str(Reason.TOO_SHORT)
    rows["status"] = "pending"
    rows.loc[measured, "status"] = "accepted"
    rows.loc[rows["reason"].notna(), "status"] = "rejected"
    facts = [name for name in _HISTORY.names if name not in ("ingested_at", "clip_s", "file_s")]
    kept = [*facts, "part_id", "row", "sound_hash", "status", "duration_s", "channels", "usual_s", "usual_rate_hz"]
    return History(apply_labels(none_for_nan(rows[kept]), lake), {part.part_id: part for part in parts}, decoded)


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
    return Catalog(recordings, recordings if batches is None else history.rows, history.parts)


def _current_rows(lake: Lake, parts: Sequence[Part], decoded: Mapping[Part, str]) -> pd.DataFrame:
    """Return the newest row of every recording, in the order of `parts` and their rows: what the history needs.

    Args:
        lake: the lake.
        parts: all its parts, sorted.
        decoded: health tables of parts that have one; of others the measures are null.
    """
    tables = map_concurrently(lambda part: _history(lake.uri, part, decoded.get(part)), parts)
    empty = _place(_with_measures(_HISTORY.empty_table(), None), "")
    rows: pd.DataFrame = pa.concat_tables([empty, *tables]).to_pandas()
    # Few recordings have several rows: only those are worth sorting.
    several = rows[rows.duplicated("recording_id", keep=False)]
    ordered = several.sort_values(["ingested_at", "part_id", "row"], kind="stable")
    superseded = ordered.index[ordered.duplicated("recording_id", keep="last")]
    return rows.drop(index=superseded).reset_index(drop=True)


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
    needed = [part for part in paths if part.part_id in held]
    tables = map_concurrently(lambda part: _place(read_table(lake, paths[part], schema), part.part_id), needed)
    whole: pd.DataFrame = pa.concat_tables([_place(schema.empty_table(), ""), *tables]).to_pandas()
    return rows[["part_id", "row"]].merge(whole, on=["part_id", "row"], how="left").set_axis(rows.index)


def machine_of(values: Iterable[Any]) -> Machine:
    """Return the machine named by values in the order of `MACHINE`."""
    site, machine_type, machine_id, condition = (None if pd.isna(value) else str(value) for value in values)
    return Machine(str(machine_type), str(machine_id), site, condition)


def by_machine(recordings: pd.DataFrame) -> dict[Machine, pd.DataFrame]:
    """Return the rows of every machine and condition, machines in a fixed order."""
    groups: Iterable[tuple[Any, pd.DataFrame]] = recordings.groupby(MACHINE, dropna=False, sort=False)
    return dict(sorted(((machine_of(values), rows) for values, rows in groups), key=lambda item: item[0].label))


def silent_machines(history: pd.DataFrame, scope: Scope) -> list[Machine]:
    """Return the machines in scope that sent recordings before the first night in scope, and none in scope.

    Args:
        history: rows of `History`.
        scope: some nights.
    """
    if not scope.batches:
        return []
    nights = history[[*MACHINE, "batch"]].drop_duplicates()
    nights = nights[is_dated(nights["batch"])]
    of_machines = Scope(machines=scope.machines).recordings(nights)
    earlier = of_machines[of_machines["batch"] < min(scope.batches)]
    heard = by_machine(scope.recordings(of_machines))
    return [machine for machine in by_machine(earlier) if machine not in heard]
