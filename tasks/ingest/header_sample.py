"""A sample of headers, spread over machines: what the files are, without reading them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC
from typing import IO, Any

import numpy as np
import pandas as pd

from humwatch.storage.errors import HumwatchError
from humwatch.storage.lake import map_concurrently
from humwatch.storage.reasons import Reason
from humwatch.storage.sources import Member, ReadProblem, open_members
from humwatch.tasks.ingest.file_times import time_in_wav
from humwatch.tasks.plan.catalog import by_machine
from humwatch.tasks.sound.header import read_header
from humwatch.tasks.sound.rejected import Rejected

_SAID = ("container", "codec", "sample_rate_hz", "channels", "duration_s", "note")
HEADER = (*_SAID, "time_source", "reason", "detail")
"""What a header says; where it cannot be read only `reason` and `detail`, else these are None.

`time_source` is where in the file a time of recording stands (`file_times.TimeSource`), None where none does.
"""

_READ_AHEAD_BYTES = 16 << 10
_FIRST_OF_A_STREAM = 20  # members of a compressed tar: to see a later one, all before it must be unpacked


def choose(recordings: pd.DataFrame, members: Sequence[Member], most: int) -> list[int]:
    """Return which recordings to look into, by their position: of every machine a few, from its first to its last.

    Args:
        recordings: site, machine_type, machine_id, condition and reason; rejected ones are not looked into.
        members: in the same order.
        most: how many.
    """
    position = pd.Series(range(len(members)), dtype=int)
    archive = pd.Series([one.source_uri if one.compression == "gzip_stream" else "" for one in members], dtype=object)
    near = archive.eq("") | (archive.groupby(archive).cumcount() < _FIRST_OF_A_STREAM)
    machines = by_machine(recordings.assign(position=position)[recordings["reason"].isna() & near])
    of_each = math.ceil(most / max(1, len(machines)))
    picked = []
    for rows in machines.values():
        at = np.unique(np.linspace(0, len(rows) - 1, min(of_each, len(rows))).round().astype(int))
        picked += list(enumerate(rows["position"].iloc[at]))
    return sorted(position for _, position in sorted(picked)[:most])


def look_into(members: Sequence[Member]) -> pd.DataFrame:
    """Return what the headers of members say: columns `HEADER`, in their order.

    Raises:
        SourceForbidden, StorageUnavailable, SourceUnreadable: an archive or file cannot be accessed.
    """
    streams: dict[str, list[Member]] = defaultdict(list)
    once = list(dict.fromkeys(members))
    for member in once:
        if member.compression == "gzip_stream":
            streams[member.source_uri].append(member)
    alone = [[member] for member in once if member.compression != "gzip_stream"]
    found = {
        member: header
        for headers in map_concurrently(_headers_of, [*alone, *streams.values()])
        for member, header in headers
    }
    return pd.DataFrame([found[member] for member in members], columns=list(HEADER), dtype=object)


def _headers_of(members: Sequence[Member]) -> list[tuple[Member, dict[str, Any]]]:
    return [
        (member, _header(member, file)) for member, file in open_members(members, read_ahead_bytes=_READ_AHEAD_BYTES)
    ]


def _header(member: Member, file: IO[bytes] | ReadProblem) -> dict[str, Any]:
    """Return what decoding would say, as far as a header tells; whatever else is raised is CORRUPT, as there."""
    if isinstance(file, ReadProblem):
        return {"reason": str(file.reason), "detail": file.detail}
    try:
        header = read_header(file, member.size_bytes, with_chunks=True)
    except Rejected as rejected:
        return {"reason": str(rejected.reason), "detail": rejected.detail}
    except HumwatchError:
        raise
    except Exception as error:  # noqa: BLE001 - a header that nobody foresaw is told of, as decoding would
        return {"reason": str(Reason.CORRUPT), "detail": f"{type(error).__name__}: {error}"}
    found = time_in_wav(header.chunks, UTC)
    return {name: getattr(header, name) for name in _SAID} | {"time_source": str(found.source) if found else None}
