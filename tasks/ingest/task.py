"""The ingest stage: list sources, keep what is new as parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect.runtime import task_run

from storage.errors import HumwatchError, TerminalError, TransientError
from storage.parts import create_part
from storage.reasons import Reason
from storage.sources import list_members
from tasks import progress
from tasks.catalog import current_recordings
from tasks.ingest.listing import add_listed, as_parts, new_rows, rows_of
from tasks.ingest.names import compile_pattern
from tasks.task import stage
from tasks.work import Work


@dataclass(frozen=True)
class IngestSummary:
    """What the sources hold, how many of it were new, and which sources could not be read and why."""

    recording_ids: frozenset[str]
    new: int
    errors: tuple[tuple[str, HumwatchError], ...]


@stage("ingest")
def ingest_sources(work: Work, sources: Sequence[str]) -> IngestSummary:
    """List every source and keep what the lake does not know; a source that cannot be read is named, the others go on.

    Raises:
        BadConfiguration: the name pattern is wrong; nothing was begun.
        StorageUnavailable: a store does not answer, and there are retries left.
    """
    settings = work.settings.ingest
    compile_pattern(settings.name_pattern)
    lake = work.open_lake()
    rows: dict[str, dict[str, Any]] = {}
    errors: list[tuple[str, HumwatchError]] = []
    now = datetime.now(UTC)
    for done, source in enumerate(sources, start=1):
        try:
            listing = list_members(source, settings.extensions, settings.max_member_bytes, index=lake)
            add_listed(rows, rows_of(listing, settings.name_pattern, now))
            errors += [(source, error) for error in listing.errors]
        except TerminalError as error:
            errors.append((source, error))
        except TransientError as error:
            if (task_run.run_count or 0) <= ingest_sources.retries:
                raise
            errors.append((source, error))  # the last try: the other sources shall not wait for this one
        progress.tell("ingest", done, len(sources))
    known, _ = current_recordings(lake, rows.keys())
    history = work.history(lake).history
    gone = set(history["recording_id"][history["reason"] == Reason.SOURCE_GONE])
    # The newest row of a recording counts: what comes later is never older, even if a clock was ahead.
    now = max([now, *(known["ingested_at"].nlargest(1) + timedelta(microseconds=1))])
    new = new_rows(list(rows.values()), known, gone)
    for row in new:
        row["ingested_at"] = now
    for (machine_type, batch), table in as_parts(new).items():
        create_part(lake, machine_type, batch, table)
    return IngestSummary(frozenset(rows), len(new), tuple(errors))
