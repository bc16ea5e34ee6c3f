"""Doubts about times of recording: from several sources, missing for some, without a zone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from humwatch.tasks.ingest.recording_facts import Facts, Origin
from humwatch.tasks.ingest.wording import Doubt
from humwatch.tasks.words import counted

_HEX_SECONDS = re.compile(r"[0-9A-Fa-f]{8}")  # since 1970, in UTC
_ZONE = re.compile(r"\d(?:Z|[+-]\d\d:?\d\d)(?!\d)")


def doubts_of_sources(facts: Sequence[Facts]) -> Iterator[Doubt]:
    """Yield whether the times of recordings (that would be accepted) come from several sources, or not all have one."""
    sources = Counter(str(known.origins["recorded_at"]) for known in facts if known.recorded_at is not None)
    without = len(facts) - sources.total()
    if len(sources) > 1 or (sources and without):
        listed = ", ".join(f"{n:,} from {source}" for source, n in sources.most_common())
        yield Doubt(
            "mixed_times",
            f"times of recording come from different places: {listed}{f', {without:,} have none' if without else ''}; "
            "their clocks may differ",
            "--set ingest.times_in_files=true reads those that stand in files; a manifest with a column recorded_at "
            "settles it",
        )


def doubts_of_times(paths: Sequence[str], facts: Sequence[Facts], time_zone: str) -> Iterator[Doubt]:
    """Yield what is doubtful about the times of recordings that would be accepted.

    Args:
        paths: of the recordings.
        facts: of each.
        time_zone: `ingest.time_zone`.
    """
    yield from doubts_of_sources(facts)
    timed = [(path, known) for path, known in zip(paths, facts, strict=True) if known.recorded_at is not None]
    local = [path for path, known in timed if not _says_a_zone(path, known)]
    if local and time_zone == "UTC":
        yield Doubt(
            "utc_assumed",
            f"the times of {counted(len(local), 'recording')} name no zone and are taken for UTC (such as {local[0]})",
            "if they are local: --set ingest.time_zone=Europe/Oslo, or wherever it is",
        )


def _says_a_zone(path: str, known: Facts) -> bool:
    """Whether a time's zone is in the name; what other sources than names said is not seen here."""
    name = path.rpartition("/")[2]
    in_name = bool(_ZONE.search(name) or _HEX_SECONDS.fullmatch(name.rpartition(".")[0]))
    return known.origins["recorded_at"] != Origin.FILE_NAME or in_name
