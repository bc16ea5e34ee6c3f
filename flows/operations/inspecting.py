"""Look at sources without a lake: list them, read names and a sample of headers, say what was understood."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import pandas as pd

from humwatch.storage.errors import HumwatchError
from humwatch.storage.reasons import Reason
from humwatch.storage.sources import Member, list_members
from humwatch.storage.tables import MACHINE
from humwatch.tasks.ingest.doubts import doubts_of_manifests, doubts_of_names
from humwatch.tasks.ingest.file_times import time_in_wav
from humwatch.tasks.ingest.header_doubts import doubts_of_headers
from humwatch.tasks.ingest.header_sample import choose, look_into
from humwatch.tasks.ingest.inspection import (
    Inspection,
    Use,
    counts_of,
    frame_of_facts,
    headers_of,
    machines_of,
    origins_of,
    rejects_of,
)
from humwatch.tasks.ingest.layout_advice import suggest_layout
from humwatch.tasks.ingest.manifest import ManifestUse, findings_of, misfits_of, read_facts
from humwatch.tasks.ingest.name_rules import NameRules
from humwatch.tasks.ingest.names import with_time_of_file
from humwatch.tasks.ingest.pieces import read_headers
from humwatch.tasks.ingest.recording_facts import Facts
from humwatch.tasks.ingest.time_doubts import doubts_of_times
from humwatch.tasks.plan.next_step import what_is_missing
from humwatch.tasks.settings import IngestSettings, Settings, Training

_COMMANDS: dict[Training, str] = {"labelled": "humwatch run", "assumed_normal": "humwatch nightly"}


@dataclass
class _Found:
    """What listing sources gave."""

    members: list[Member] = field(default_factory=list)
    facts: list[Facts] = field(default_factory=list)
    uses: list[ManifestUse] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    errors: list[tuple[str, HumwatchError]] = field(default_factory=list)


def inspect_sources(
    sources: Sequence[str], settings: Settings, most_headers: int, today: date
) -> tuple[Inspection, list[tuple[str, HumwatchError]]]:
    """Return what is understood of sources, and those that cannot be read with the error of each.

    Args:
        sources: paths or URIs.
        settings: of ingest, and what recordings are to become.
        most_headers: how many headers to look at.
        today: in UTC.

    Raises:
        BadConfiguration: the name pattern or a layout is wrong.
        SourceForbidden, StorageUnavailable, SourceUnreadable: a store stopped answering while headers were read.
    """
    rules = NameRules.of(settings.ingest)
    found = _list(sources, settings.ingest, rules)
    if settings.ingest.times_in_files:
        found.facts = _with_times_of_files(found, rules)
    recordings = frame_of_facts(found.members, found.facts)
    good = recordings[recordings["reason"].isna()]
    looked_at = choose(recordings, found.members, most_headers)
    heads = look_into([found.members[at] for at in looked_at])
    of_machines = recordings.iloc[looked_at].reset_index(drop=True)
    heads = heads.assign(**{name: of_machines[name] for name in ("path", *MACHINE, "recorded_at")})
    manifests = findings_of(found.uses)
    found.errors += misfits_of(manifests)
    accepted = [at for at, reason in enumerate(recordings["reason"]) if reason is None]
    paths, facts = [found.members[at].path for at in accepted], [found.facts[at] for at in accepted]
    doubts = [
        *doubts_of_names(recordings, found.ignored, settings.fit.training, today),
        *doubts_of_manifests(manifests),
        *doubts_of_headers(heads, settings),
        *doubts_of_times(paths, facts, settings.ingest.time_zone),
    ]
    inspection = Inspection(
        sources=tuple(sources),
        recordings=len(recordings),
        machines=machines_of(good),
        origins=origins_of(paths, [vars(known) for known in facts], [known.origins for known in facts]),
        labels=counts_of(good["label"]),
        splits=counts_of(good["split"]),
        rejected=rejects_of(recordings),
        ignored=dict(found.ignored),
        headers=headers_of(heads),
        doubts=doubts,
        layout=None if manifests else suggest_layout(found.members, rules, today),
        uses=[_use(recordings, settings, training) for training in _COMMANDS] if len(recordings) else [],
    )
    return inspection, found.errors


def _list(sources: Sequence[str], ingest: IngestSettings, rules: NameRules) -> _Found:
    found = _Found()
    seen: dict[str, tuple[str, str]] = {}
    for source in dict.fromkeys(sources):
        try:
            listing = list_members(source, ingest.extensions, ingest.max_member_bytes)
            facts, uses = read_facts(listing.members, listing.manifests, rules)
        except HumwatchError as error:
            found.errors.append((source, error))
            continue
        found.errors += [(source, error) for error in listing.errors]
        found.uses += uses
        found.ignored.update(listing.ignored)
        for member, known in zip(listing.members, facts, strict=True):
            place = member.source_uri, member.member
            again = seen.setdefault(member.path, place) != place
            for one in (known, *known.further):
                found.members.append(member)
                found.facts.append(replace(one, problem=Reason.DUPLICATE_NAME) if again else one)
    return found


def _with_times_of_files(found: _Found, rules: NameRules) -> list[Facts]:
    """Return what is known of recordings with the times that stand in files, as ingest reads them: of every header."""
    timeless = [
        member
        for member, known in zip(found.members, found.facts, strict=True)
        if known.recorded_at is None and not (member.problem or known.problem)
    ]
    times = {
        member: time.recorded_at
        for member, header in read_headers(timeless, with_chunks=True).items()
        if (time := time_in_wav(header.chunks, rules.conventions.clock.zone))
    }
    return [
        with_time_of_file(known, times[member], rules) if member in times else known
        for member, known in zip(found.members, found.facts, strict=True)
    ]


def _use(recordings: pd.DataFrame, settings: Settings, training: Training) -> Use:
    status = recordings["reason"].isna().map({True: "accepted", False: "rejected"})
    fit = settings.fit.model_copy(update={"training": training})
    return Use(_COMMANDS[training], what_is_missing(recordings.assign(status=status), fit))
