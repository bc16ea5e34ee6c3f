"""The spectrogram stage: the missing blocks of every part, on Dask workers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from storage.arrays import block_rows
from storage.errors import SourceNotFound, TerminalError
from storage.lake import side_by_side
from storage.parts import Part, list_parts, read_part
from tasks.catalog import current_rows
from tasks.spectrograms.blocks import (
    ARRAY,
    SpectrogramBlock,
    begin_store,
    finish_part,
    try_blocks,
    units_of,
)
from tasks.task import run_on_workers, stage
from tasks.work import Work


@dataclass(frozen=True)
class SpectrogramSummary:
    """What the stage did: recordings decoded and batches finished by this run; sources gone and parts left, and why."""

    recordings_decoded: int
    batches: frozenset[str]
    errors: tuple[tuple[str, TerminalError], ...]


@stage("spectrograms")
def compute_spectrograms(work: Work) -> SpectrogramSummary:
    """Decode what no marked part holds yet; parts whose bytes cannot be had are named, the others are finished.

    Recordings whose source is gone are rejected, so that the others of their part can go on.
    """
    lake, settings, key = work.open_lake(), work.settings, work.spectrogram_key
    parts = list_parts(lake)
    recordings = current_rows(lake, parts)
    wanted = work.scope.parts(parts)
    complete = side_by_side(lambda part: part.store("spectrograms", key).is_complete(lake), wanted)
    undone = {part.part_id for part, done in zip(wanted, complete, strict=True) if not done}
    current: dict[str, set[int]] = defaultdict(set)
    for part_id, rows in recordings[recordings["part_id"].isin(undone)].groupby("part_id")["row"]:
        current[str(part_id)] = set(rows)
    missing = [part for part in wanted if part.part_id in current]

    def blocks(part: Part, table: pa.Table) -> Iterator[SpectrogramBlock]:
        store = part.store("spectrograms", key)
        begin_store(lake, part, table, settings.spectrogram, settings.store)
        done = set(store.list_receipts(lake))
        for rows in block_rows(lake, store.zarr_path, ARRAY):
            if store.receipt_path(rows.start) not in done:
                skipped = frozenset(rows) - current[part.part_id]
                yield SpectrogramBlock(
                    work.lake_uri,
                    part,
                    rows,
                    skipped,
                    settings.ingest.max_member_bytes,
                    settings.spectrogram,
                    settings.health,
                )

    units = []
    for part in missing:
        table = read_part(lake, part)
        units += units_of(blocks(part, table), table)
    failed: dict[Part, TerminalError] = {}
    decoded = 0
    gone: set[str] = set()
    for part, filled in run_on_workers("spectrograms", try_blocks, units, len(units), settings.dask.blocks_in_flight):
        if isinstance(filled, TerminalError):
            failed[part] = filled
        else:
            decoded += filled.decoded
            gone |= filled.gone
    for part in missing:
        if part not in failed:
            finish_part(lake, part, read_part(lake, part), settings.spectrogram)
    finished = frozenset(part.batch for part in missing if part not in failed)
    errors: list[tuple[str, TerminalError]] = [
        (uri, SourceNotFound(f"{uri}: not found; its recordings are rejected until an ingest lists them again"))
        for uri in sorted(gone)
    ]
    errors += [(part.table_path, error) for part, error in failed.items()]
    return SpectrogramSummary(decoded, finished, tuple(errors))
