"""Of the recordings of a part the few columns that verdicts and roles need of the whole lake, read once a process."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from humwatch.storage.lake import Lake, map_concurrently
from humwatch.storage.parts import Part
from humwatch.storage.tables import HEALTH, MACHINE, RECORDINGS, read_table

_FACTS = pa.schema(
    [
        RECORDINGS.field(name)
        for name in ("recording_id", *MACHINE, "batch", "label", "split",
                     "recorded_at", "reason", "ingested_at", "clip_s", "file_s")
    ]
)  # fmt: skip
# What a verdict is made of.
_MEASURES = pa.schema(
    [
        HEALTH.field(name)
        for name in ("n_frames", "duration_s", "nonfinite_fraction", "peak_dbfs", "rms_dbfs", "ac_rms_dbfs",
                     "dc_offset", "clipped_fraction", "dead_channel", "channels", "channels_heard", "sample_rate_hz",
                     "sound_hash", "reason")
    ]
)  # fmt: skip


def part_rows(lake: Lake, parts: Iterable[Part], decoded: Mapping[Part, str]) -> pa.Table:
    """Return what is known of all recordings of some parts, superseded ones too, parts in order and their rows.

    Columns: of `RECORDINGS` what verdicts and roles read; of `HEALTH` what verdicts are made of, its reason as
    `decode_reason`; `part_id` and `row`, the place on the first axis of the part's stores.

    Args:
        lake: the lake.
        parts: sorted.
        decoded: health tables of parts that have one; of others the measures are null.
    """
    tables = map_concurrently(lambda part: _of_part(lake.uri, part, decoded.get(part)), parts)
    return pa.concat_tables([NO_ROWS, *tables])


def current(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the newest row of every recording, in their order, indexed 0..n-1.

    Args:
        rows: columns recording_id, ingested_at, part_id and row.
    """
    # Few recordings have several rows: only those are worth sorting.
    several = rows[rows.duplicated("recording_id", keep=False)]
    ordered = several.sort_values(["ingested_at", "part_id", "row"], kind="stable")
    superseded = ordered.index[ordered.duplicated("recording_id", keep="last")]
    return rows.drop(index=superseded).reset_index(drop=True)


def with_place(rows: pa.Table, part_id: str) -> pa.Table:
    """Return a part's rows with where they are: `part_id` and `row`."""
    rows = rows.append_column("part_id", pa.repeat(part_id, rows.num_rows))
    return rows.append_column("row", pa.array(np.arange(rows.num_rows)))


def share_of_file(rows: pd.DataFrame) -> pd.Series[Any]:
    """Return the share of its file that each clip is, null of whole recordings."""
    return 1 / (rows["file_s"] / rows["clip_s"]).apply(np.ceil)


def with_decode_reason(rows: pd.DataFrame) -> pd.Series[Any]:
    """Return why each row was rejected, while listing or else while decoding; null where it was not."""
    return rows["reason"].where(rows["reason"].notna(), rows["decode_reason"]).astype(object)


@functools.lru_cache(maxsize=1 << 16)
def _of_part(lake_uri: str, part: Part, health_path: str | None) -> pa.Table:
    """Return the rows of one part. Parts and health tables never change, so each is read once a process."""
    lake = Lake(lake_uri)
    measures = None if health_path is None else read_table(lake, health_path, _MEASURES)
    return with_place(_with_measures(read_table(lake, part.table_path, _FACTS), measures), part.part_id)


def _with_measures(rows: pa.Table, measures: pa.Table | None) -> pa.Table:
    """Return both side by side; the reason from decoding is called `decode_reason`."""
    for field in _MEASURES:
        name = "decode_reason" if field.name == "reason" else field.name
        values = pa.nulls(rows.num_rows, field.type) if measures is None else measures[field.name]
        rows = rows.append_column(name, values)
    return rows


NO_ROWS = with_place(_with_measures(_FACTS.empty_table(), None), "")
