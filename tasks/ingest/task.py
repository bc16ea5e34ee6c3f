"""The ingest stage: list sources, keep what is new as parts."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pandas as pd

from humwatch.storage.errors import HumwatchError, TerminalError, TransientError
from humwatch.storage.parts import create_part
from humwatch.storage.reasons import Reason
from humwatch.storage.sources import Member, list_members
from humwatch.storage.tables import RECORDINGS
from humwatch.tasks.execution import progress
from humwatch.tasks.execution.stage import is_last_try, stage
from humwatch.tasks.ingest.doubts import doubts_of_manifests, doubts_of_names, frame_of
from humwatch.tasks.ingest.manifest import ManifestUse, findings_of, misfits_of
from humwatch.tasks.ingest.name_rules import NameRules
from humwatch.tasks.ingest.pieces import Row, cut, known_files
from humwatch.tasks.ingest.recording_rows import add_listed, as_parts, new_rows, rows_of
from humwatch.tasks.ingest.time_doubts import doubts_of_sources
from humwatch.tasks.ingest.wording import Doubt
from humwatch.tasks.plan.catalog import read_recordings
from humwatch.tasks.plan.run import Run

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class IngestSummary:
    """What the sources hold, how much of it is new, what could not be read and why, and what may be misread."""

    recording_ids: frozenset[str]
    new: int
    errors: tuple[tuple[str, HumwatchError], ...]
    doubts: tuple[Doubt, ...]


@stage("ingest")
def ingest_sources(run: Run, sources: Sequence[str]) -> IngestSummary:
    """List every source and keep what the lake does not know; a source that cannot be read is named, the others go on.

    Raises:
        BadConfiguration: the name pattern or a layout is wrong; nothing was begun.
        StorageUnavailable: a store does not answer, and there are retries left.
    """
    settings = run.settings.ingest
    rules = NameRules.of(settings)
    lake = run.lake
    listed: list[tuple[str, Sequence[Member], list[Row]]] = []
    rows: dict[str, Row] = {}
    errors: list[tuple[str, HumwatchError]] = []
    uses: list[ManifestUse] = []
    ignored: Counter[str] = Counter()
    now = datetime.now(UTC)
    for done, source in enumerate(sources, start=1):
        with _others_go_on(source, errors):
            listing = list_members(source, settings.extensions, settings.max_member_bytes, index=lake)
            whole, of_manifests = rows_of(listing, rules, now)
            listed.append((source, listing.members, whole))
            uses += of_manifests
            ignored.update(listing.ignored)
            errors += [(source, error) for error in listing.errors]
        progress.tell("ingest", done, len(sources))
    known = known_files(run, {row["recording_id"] for _, _, whole in listed for row in whole})
    for source, members, whole in listed:
        with _others_go_on(source, errors):
            add_listed(rows, cut(whole, members, known.by_id, run.settings, rules))
    manifests = findings_of(uses)
    errors += misfits_of(manifests)
    for source, problem in errors:
        _log.info("%s: what cannot be read is skipped: %s", source, problem)
    files = frame_of(row for _, _, whole in listed for row in whole)
    training = run.settings.fit.training
    doubts = [
        *doubts_of_names(files, ignored, training, now.date()),
        *doubts_of_manifests(manifests),
        *doubts_of_sources(
            [row["facts"] for row in rows.values() if row["reason"] is None and not row["clip_start_s"]]
        ),
    ]
    history = run.history_holding(frozenset(rows))
    current = history.rows[history.rows["recording_id"].isin(rows.keys())]
    gone = set(current["recording_id"][current["reason"] == Reason.SOURCE_GONE])
    pieces = current[~current["recording_id"].isin(known.rows["recording_id"])]  # clips but the first of each file
    known_rows = pd.concat([known.rows[RECORDINGS.names], read_recordings(lake, pieces, history.parts.values())])
    # The newest row of a recording counts: what comes later is never older, even if a clock was ahead.
    now = max([now, *(known_rows["ingested_at"].nlargest(1) + timedelta(microseconds=1))])
    new = new_rows(list(rows.values()), known_rows, gone)
    for row in new:
        row["ingested_at"] = now
    # Later nights first: what pieces a file had is told by its first one, so that comes last if this run is killed.
    for (machine_type, batch), table in reversed(as_parts(new).items()):
        create_part(lake, machine_type, batch, table)
    if new:
        run.refresh()
    return IngestSummary(frozenset(rows), len(new), tuple(errors), tuple(doubts))


@contextmanager
def _others_go_on(source: str, errors: list[tuple[str, HumwatchError]]) -> Iterator[None]:
    """Note the error of a source that cannot be read; one that may pass is raised while there are retries left."""
    try:
        yield
    except TerminalError as error:
        errors.append((source, error))
    except TransientError as error:
        if not is_last_try():
            raise
        errors.append((source, error))  # the last try: the other sources shall not wait for this one
