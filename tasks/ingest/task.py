"""The ingest stage: list sources, keep what is new as parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from storage.errors import TerminalError
from storage.lake import Lake
from storage.parts import create_part
from storage.sources import list_members
from tasks import progress
from tasks.catalog import current_recordings
from tasks.ingest.listing import add_listed, as_parts, new_rows, rows_of
from tasks.settings import IngestSettings
from tasks.task import stage


@dataclass(frozen=True)
class IngestSummary:
    """What the sources hold, how many of it were new, and which sources could not be read and why."""

    recording_ids: frozenset[str]
    new: int
    errors: tuple[tuple[str, TerminalError], ...]


@stage("ingest")
def ingest_sources(lake_uri: str, sources: Sequence[str], settings: IngestSettings) -> IngestSummary:
    """List every source and keep what the lake does not know; a source that cannot be read is named, the others go on."""
    lake = Lake.open(lake_uri)
    known, _ = current_recordings(lake)
    rows: dict[str, dict[str, Any]] = {}
    errors: list[tuple[str, TerminalError]] = []
    now = datetime.now(UTC)
    for done, source in enumerate(sources, start=1):
        try:
            listing = list_members(source, settings.extensions, settings.max_member_bytes)
            listed = rows_of(listing, settings.name_pattern, now)
        except TerminalError as error:
            errors.append((source, error))
            continue
        errors += [(source, error) for error in listing.errors if isinstance(error, TerminalError)]
        add_listed(rows, listed)
        progress.tell("ingest", done, len(sources))
    new = new_rows(list(rows.values()), known)
    for (machine_type, batch), table in as_parts(new).items():
        create_part(lake, machine_type, batch, table)
    return IngestSummary(frozenset(rows), len(new), tuple(errors))
