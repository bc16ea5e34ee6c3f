"""The spectrogram stage: the missing blocks of every part, on Dask workers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from humwatch.storage.arrays import StoredArray
from humwatch.storage.errors import SourceNotFound, TerminalError
from humwatch.storage.lake import map_concurrently
from humwatch.storage.parts import Part, read_part
from humwatch.tasks.execution.stage import run_on_workers, stage
from humwatch.tasks.plan.presence import missing, missing_blocks
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.stores import SpectrogramStore, expected_spectrograms
from humwatch.tasks.spectrograms.spectrogram_blocks import (
    SpectrogramBlock,
    SpectrogramUnit,
    begin_store,
    finish_part,
    try_blocks,
    units_of,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SpectrogramSummary:
    """What the stage did: recordings decoded and batches finished by this run; sources gone and parts left, and why."""

    recordings_decoded: int
    batches: frozenset[str]
    errors: tuple[tuple[str, TerminalError], ...]


@stage("spectrograms")
def compute_spectrograms(run: Run) -> SpectrogramSummary:
    """Decode what no marked part holds yet; parts whose bytes cannot be read are named, the others are finished.

    Recordings whose source is gone are rejected, so that the others of their part can go on.
    """
    lake, settings = run.lake, run.settings
    expected = expected_spectrograms(run)
    stores = missing(lake, expected)
    history = run.history_in_scope()
    rows = history.rows
    rows = rows[rows["part_id"].isin({store.part.part_id for store in stores})]
    current = {part_id: frozenset(of_part) for part_id, of_part in rows.groupby("part_id")["row"]}
    begun = map_concurrently(lambda store: _begin(run, store, current[store.part.part_id]), stores)
    tables = {part.part: part.table for part in begun}
    units = [unit for part in begun for unit in part.units]
    failed: dict[Part, TerminalError] = {}
    decoded = 0
    gone: set[str] = set()
    for part, filled in run_on_workers("spectrograms", try_blocks, units, len(units), settings.dask.blocks_in_flight):
        if isinstance(filled, TerminalError):
            _log.info("%s is left: %s", part, filled)
            failed[part] = filled
        else:
            decoded += filled.decoded
            gone |= filled.gone
    map_concurrently(
        lambda one: finish_part(lake, one.part, one.table, settings.spectrogram, one.array),
        [one for one in begun if one.part not in failed],
    )
    # Or another run has finished a part since the history was read.
    if stores or any(store.part not in history.decoded for store in expected):
        run.refresh()
    finished = [part for part in tables if part not in failed]
    _log_rejected(run, {part.part_id: tables[part] for part in finished})
    errors: list[tuple[str, TerminalError]] = [
        (uri, SourceNotFound(f"{uri}: not found; its recordings are rejected until an ingest lists them again"))
        for uri in sorted(gone)
    ]
    errors += [(part.table_path, error) for part, error in failed.items()]
    return SpectrogramSummary(decoded, frozenset(part.batch for part in finished), tuple(errors))


def _log_rejected(run: Run, tables: Mapping[str, pa.Table]) -> None:
    """Log the recordings of some parts that are rejected, whoever rejected them: listing, decoding or the verdict."""
    if not (tables and _log.isEnabledFor(logging.INFO)):
        return
    rows = run.history_in_scope().rows
    rejected = rows[(rows["status"] == "rejected") & rows["part_id"].isin(tables)]
    for part_id, row, reason in rejected[["part_id", "row", "reason"]].itertuples(index=False):
        _log.info("%s is rejected: %s", tables[part_id]["path"][row], reason)


@dataclass(frozen=True)
class _Begun:
    """A part whose store is begun: its recordings, the array, and the units of work that it still needs."""

    part: Part
    table: pa.Table
    array: StoredArray
    units: list[SpectrogramUnit]


def _begin(run: Run, expected: SpectrogramStore, current: frozenset[int]) -> _Begun:
    """Begin the store of a part, or go on with it; rows that are not current are skipped."""
    part, settings = expected.part, run.settings
    table = read_part(run.lake, part)
    array = begin_store(run.lake, part, table, settings.spectrogram, settings.store)
    blocks = [
        SpectrogramBlock(
            run.lake_uri,
            part,
            array,
            block,
            frozenset(block) - current,
            settings.ingest.max_member_bytes,
            settings.spectrogram,
            settings.health,
        )
        for block in missing_blocks(run.lake, expected.store, array)
    ]
    return _Begun(part, table, array, units_of(blocks, table))
