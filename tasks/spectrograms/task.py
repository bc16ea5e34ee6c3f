"""The spectrogram stage: the missing blocks of every part, on Dask workers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from storage.arrays import block_rows
from storage.errors import TerminalError
from storage.lake import Lake
from storage.parts import Part, read_part
from tasks.catalog import current_recordings
from tasks.settings import DaskSettings, HealthSettings, SpectrogramSettings, StoreSettings
from tasks.spectrograms.blocks import (
    ARRAY,
    SpectrogramBlock,
    begin_store,
    fill_block,
    finish_part,
    spectrogram_key,
    try_block,
)
from tasks.task import run_on_workers, stage


@dataclass(frozen=True)
class SpectrogramSummary:
    """What the stage did: recordings decoded by this run, parts that could not be finished and why."""

    recordings_decoded: int
    errors: tuple[tuple[str, TerminalError], ...]


@stage("spectrograms")
def compute_spectrograms(
    lake_uri: str,
    spectrogram: SpectrogramSettings,
    health: HealthSettings,
    max_member_bytes: int,
    layout: StoreSettings,
    dask: DaskSettings,
) -> SpectrogramSummary:
    """Decode what no marked part holds yet; parts whose bytes cannot be had are named, the others are finished."""
    lake = Lake.open(lake_uri)
    recordings, parts = current_recordings(lake)
    current: dict[str, set[int]] = defaultdict(set)
    for part_id, row in zip(recordings["part_id"], recordings["row"], strict=True):
        current[part_id].add(row)
    key = spectrogram_key(spectrogram)
    missing = [
        parts[part_id]
        for part_id in sorted(current, key=lambda part_id: parts[part_id])
        if not parts[part_id].store("spectrograms", key).is_complete(lake)
    ]

    def blocks(part: Part) -> Iterator[SpectrogramBlock]:
        store = part.store("spectrograms", key)
        table = read_part(lake, part)
        begin_store(lake, part, table, spectrogram, layout)
        done = set(lake.list(f"{store.stem}.blocks", ".parquet"))
        for rows in block_rows(lake, store.zarr_path, ARRAY):
            if store.receipt_path(rows.start) not in done:
                skipped = frozenset(rows) - current[part.part_id]
                yield SpectrogramBlock(lake_uri, part, rows, skipped, max_member_bytes, spectrogram, health)

    units = [block for part in missing for block in blocks(part)]
    failed: dict[Part, TerminalError] = {}
    decoded = 0
    for part, count in run_on_workers("spectrograms", try_block, units, len(units), dask.blocks_in_flight):
        if isinstance(count, TerminalError):
            failed[part] = count
        else:
            decoded += count
    for part in missing:
        if part not in failed:
            finish_part(lake, part, read_part(lake, part), spectrogram)
    return SpectrogramSummary(decoded, tuple((part.table_path, error) for part, error in failed.items()))
