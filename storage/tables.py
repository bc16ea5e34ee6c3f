"""The tables of the lake: their schemas, and Parquet in and out.

`docs/tables.md` explains every column; a table read back has exactly its schema.
"""

from __future__ import annotations

import io
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from humwatch.storage.lake import Lake, map_concurrently

# Arrow's own allocator keeps what tables took at their largest.
pa.set_memory_pool(pa.system_memory_pool())

_TEXT = pa.string()
_TIME = pa.timestamp("us", tz="UTC")

MACHINE = ["site", "machine_type", "machine_id", "condition"]
"""The columns that name a machine, in every table that has rows of machines."""

RECORDINGS = pa.schema(
    [
        ("recording_id", _TEXT),
        ("content_tag", _TEXT),
        ("replaces", _TEXT),  # digest of the row this one supersedes, so that A -> B -> A gives three parts
        ("source_uri", _TEXT),
        ("member", _TEXT),
        ("path", _TEXT),
        ("file_key", _TEXT),
        ("byte_start", pa.int64()),
        ("byte_end", pa.int64()),
        ("size_bytes", pa.int64()),
        ("compression", _TEXT),
        ("crc32", pa.int64()),
        ("site", _TEXT),
        ("machine_type", _TEXT),
        ("machine_id", _TEXT),
        ("batch", _TEXT),
        ("condition", _TEXT),
        ("domain", _TEXT),
        ("label", _TEXT),
        ("split", _TEXT),
        ("recorded_at", _TIME),
        ("attributes", _TEXT),
        ("reason", _TEXT),  # rejected while listing
        ("ingested_at", _TIME),
        ("channel", pa.int64()),  # of the file; null: as `spectrogram.channel` says
        ("named_channels", _TEXT),  # of the file, as `0,1`, where a manifest has rows of channels
        ("clip_start_s", pa.float64()),  # null: the whole file
        ("clip_s", pa.float64()),
        ("file_s", pa.float64()),  # how long the file is, and its channels, where it was looked into
        ("file_channels", pa.int64()),
    ]
)

HEALTH = pa.schema(
    [
        ("recording_id", _TEXT),
        ("sample_rate_hz", pa.int64()),
        ("channels", pa.int64()),
        ("channels_heard", pa.int64()),  # null as well in tables of versions that heard one only
        ("duration_s", pa.float64()),
        ("rms_dbfs", pa.float64()),
        ("ac_rms_dbfs", pa.float64()),  # null as well in tables of versions that did not measure it
        ("peak_dbfs", pa.float64()),
        ("clipped_fraction", pa.float64()),
        ("silent_fraction", pa.float64()),
        ("constant_fraction", pa.float64()),  # null as well in tables of versions that did not measure it
        ("dc_offset", pa.float64()),
        ("nonfinite_fraction", pa.float64()),
        ("dead_channel", pa.bool_()),
        ("resampled", pa.bool_()),
        ("sound_hash", _TEXT),
        ("n_frames", pa.int64()),
        ("status", _TEXT),
        ("reason", _TEXT),  # rejected while decoding
        ("detail", _TEXT),
    ]
)

SCORES = pa.schema(
    [
        ("recording_id", _TEXT),
        ("file", _TEXT),
        ("machine_type", _TEXT),
        ("machine_id", _TEXT),
        ("site", _TEXT),
        ("batch", _TEXT),
        ("condition", _TEXT),
        ("domain", _TEXT),
        ("split", _TEXT),
        ("in_training", pa.bool_()),
        ("detector", _TEXT),
        ("backbone", _TEXT),
        ("seed", pa.int64()),
        ("model_version", _TEXT),
        ("score", pa.float64()),
        ("threshold", pa.float64()),
        ("p_value", pa.float64()),
        ("decision", _TEXT),
        ("drift", pa.float64()),
        ("window_scores", pa.list_(pa.float64())),
        ("label", _TEXT),
        ("recorded_at", _TIME),
        ("clip_start_s", pa.float64()),  # null: the whole file
    ]
)

MACHINE_NIGHTS = pa.schema(
    [
        ("site", _TEXT),
        ("machine_type", _TEXT),
        ("machine_id", _TEXT),
        ("condition", _TEXT),
        ("backbone", _TEXT),
        ("detector", _TEXT),
        ("seed", pa.int64()),
        ("night", _TEXT),
        ("n_recordings", pa.int64()),
        ("n_rejected", pa.int64()),
        ("n_scored", pa.int64()),
        ("score_mean", pa.float64()),
        ("night_score", pa.float64()),
        ("reference_nights", pa.int64()),
        ("fleet_effect", pa.float64()),
        ("statistic", pa.float64()),
        ("p_value", pa.float64()),
        ("evidence", pa.float64()),
        ("level_attention", pa.float64()),
        ("level_alarm", pa.float64()),
        ("false_alarm_rate", pa.float64()),
        ("rate_low", pa.float64()),
        ("rate_high", pa.float64()),
        ("nights_to_alarm", pa.float64()),
        ("state", _TEXT),
        ("provisional", pa.bool_()),
        ("new_alarm", pa.bool_()),
        ("alarm_since", _TEXT),
        ("onset", _TEXT),
        ("model_version", _TEXT),
        ("retrained", pa.bool_()),
        ("drift", pa.float64()),
        ("rms_dbfs_median", pa.float64()),
        ("clipped_fraction", pa.float64()),
        ("label", _TEXT),
        ("reason", _TEXT),
    ]
)

# How many recordings of a machine's night are alike in what verdicts on a machine's other recordings are made of.
TALLIES = pa.schema(
    [
        ("site", _TEXT),
        ("machine_type", _TEXT),
        ("machine_id", _TEXT),
        ("condition", _TEXT),
        ("batch", _TEXT),  # null: of all batches
        ("label", _TEXT),  # of the name
        ("reason", _TEXT),  # rejected, whatever the machine's others are
        ("channels_heard", pa.int64()),
        ("sample_rate_hz", pa.int64()),
        ("duration_s", pa.float64()),
        ("share_of_file", pa.float64()),  # of a clip
        ("n_frames", pa.int64()),  # null: not decoded
        ("n", pa.int64()),
    ]
)

TAGS = pa.schema(
    [
        ("recording", pa.uint64()),  # the digits of its id
        ("sound", pa.uint64()),  # those of its sound_hash; null where there is none
    ]
)


def encode(table: pa.Table) -> bytes:
    """Return a table as Parquet bytes; the same table gives the same bytes."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def decode(data: bytes, schema: pa.Schema | None = None) -> pa.Table:
    """Return a table from Parquet bytes, with the columns of `schema` or all."""
    return pq.read_table(pa.BufferReader(data), schema=schema, partitioning=None)


def create_table(lake: Lake, path: str, table: pa.Table) -> bool:
    """Write a table, which is never changed, unless `path` is there already; return whether this call made it."""
    return lake.create_fixed(path, encode(table))


def read_table(lake: Lake, path: str, schema: pa.Schema | None = None) -> pa.Table:
    """Read one table, with the columns of `schema` or all; not a receipt, which may be deleted and made anew."""
    return decode(lake.read_fixed(path), schema)


def read_tables(lake: Lake, paths: Iterable[str], schema: pa.Schema) -> pa.Table:
    """Read tables of one schema into one; an empty table when there are none."""
    tables = map_concurrently(lambda path: read_table(lake, path, schema), paths)
    return pa.concat_tables([schema.empty_table(), *tables])
