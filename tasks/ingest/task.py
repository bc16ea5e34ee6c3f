"""The ingest stage: list sources, keep what is new as parts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect.runtime import task_run

from humwatch.storage.errors import HumwatchError, ManifestFitsNothing, TerminalError, TransientError
from humwatch.storage.parts import create_part
from humwatch.storage.reasons import Reason
from humwatch.storage.sources import list_members
from humwatch.tasks.execution import progress
from humwatch.tasks.execution.stage import stage
from humwatch.tasks.ingest.manifest import ManifestFindings, ManifestUse, findings_of
from humwatch.tasks.ingest.names import compile_pattern
from humwatch.tasks.ingest.recording_rows import add_listed, as_parts, new_rows, rows_of
from humwatch.tasks.plan.catalog import read_recordings
from humwatch.tasks.plan.run import Run

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class IngestSummary:
    """What the sources hold, how many of it were new, what could not be read and why, and how the manifests fit."""

    recording_ids: frozenset[str]
    new: int
    errors: tuple[tuple[str, HumwatchError], ...]
    manifests: tuple[ManifestFindings, ...] = ()


@stage("ingest")
def ingest_sources(run: Run, sources: Sequence[str]) -> IngestSummary:
    """List every source and keep what the lake does not know; a source that cannot be read is named, the others go on.

    Raises:
        BadConfiguration: the name pattern is wrong; nothing was begun.
        StorageUnavailable: a store does not answer, and there are retries left.
    """
    settings = run.settings.ingest
    compile_pattern(settings.name_pattern)
    lake = run.lake
    rows: dict[str, dict[str, Any]] = {}
    errors: list[tuple[str, HumwatchError]] = []
    uses: list[ManifestUse] = []
    now = datetime.now(UTC)
    for done, source in enumerate(sources, start=1):
        try:
            listing = list_members(source, settings.extensions, settings.max_member_bytes, index=lake)
            listed_rows, of_manifests = rows_of(listing, settings.name_pattern, now)
            add_listed(rows, listed_rows)
            uses += of_manifests
            errors += [(source, error) for error in listing.errors]
        except TerminalError as error:
            errors.append((source, error))
        except TransientError as error:
            if (task_run.run_count or 0) <= ingest_sources.retries:
                raise
            errors.append((source, error))  # the last try: the other sources shall not wait for this one
        progress.tell("ingest", done, len(sources))
    manifests = findings_of(uses)
    errors += [(one.uri, ManifestFitsNothing(one.sentences[0])) for one in manifests if one.fits_nothing]
    for source, problem in errors:
        _log.info("%s: what cannot be read is skipped: %s", source, problem)
    history = run.history()
    listed = history.rows[history.rows["recording_id"].isin(rows.keys())]
    gone = set(listed["recording_id"][listed["reason"] == Reason.SOURCE_GONE])
    known = read_recordings(lake, listed, history.parts.values())
    # The newest row of a recording counts: what comes later is never older, even if a clock was ahead.
    now = max([now, *(known["ingested_at"].nlargest(1) + timedelta(microseconds=1))])
    new = new_rows(list(rows.values()), known, gone)
    for row in new:
        row["ingested_at"] = now
    for (machine_type, batch), table in as_parts(new).items():
        create_part(lake, machine_type, batch, table)
    if new:
        run.refresh()
    return IngestSummary(frozenset(rows), len(new), tuple(errors), manifests)
