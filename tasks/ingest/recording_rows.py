"""Members of sources as rows of the recordings table, and which of them the lake does not know yet."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa

from humwatch.storage.naming import digest
from humwatch.storage.reasons import Reason
from humwatch.storage.sources import Listing, Member
from humwatch.storage.tables import RECORDINGS
from humwatch.tasks.ingest.manifest import ManifestUse, read_facts
from humwatch.tasks.ingest.name_rules import NameRules
from humwatch.tasks.ingest.names import file_key
from humwatch.tasks.ingest.recording_facts import Facts, Origin

UNKNOWN = "unknown"
_PLACE = ("source_uri", "member", "path", "size_bytes", "byte_start", "byte_end", "compression", "crc32", "content_tag")
# What makes a row another row: the bytes, where they are, and what is known of them.
_IDENTITY = (
    "content_tag", "source_uri", "site", "machine_type", "machine_id", "batch", "condition", "domain", "label", "split",
    "recorded_at", "attributes", "channel", "named_channels", "clip_start_s", "clip_s", "reason",
)  # fmt: skip
_WHOLE = {"clip_start_s": None, "clip_s": None, "file_s": None, "file_channels": None}


def recording_id(path: str, channel: int | None = None, clip_start_s: float = 0.0) -> str:
    """Return the id of the recording at `path` (SOURCE's base name + the path below it), or of a piece of it.

    It is the same on any store. Channel 0 and the first clip have the id of the whole.
    """
    marks = [f"channel={channel}"] if channel else []
    marks += [f"t={clip_start_s!r}"] if clip_start_s else []
    return digest(f"{path}#{'&'.join(marks)}" if marks else path, 16)


def rows_of(
    listing: Listing, rules: NameRules, ingested_at: datetime
) -> tuple[list[dict[str, Any]], tuple[ManifestUse, ...]]:
    """Return a row (schema `RECORDINGS`) for every member of a listing, in its order, and how manifests fit it.

    A member of which a manifest names channels has a row for each; the first has the id of the whole, so that there is
    always one that supersedes what the file was before. Beside the columns each has its `facts`, the `id_channel` that
    its id is made with, and `machine_of_file`, by which the rows of a file stand together; these are not kept.

    Raises:
        BadConfiguration: a manifest or the pattern is wrong.
    """
    facts, uses = read_facts(listing.members, listing.manifests, rules)
    rows = [
        row
        for member, known in zip(listing.members, facts, strict=True)
        for row in _rows(member, known, file_key(member.path, rules), ingested_at)
    ]
    return rows, uses


def add_listed(rows: dict[str, dict[str, Any]], listed: list[dict[str, Any]]) -> None:
    """Add the rows of one source to those of the sources before it, by recording_id.

    A recording of the same name in a second source is a row of its own, rejected: which of the two is right cannot be
    known. The same source given twice adds nothing.
    """
    for row in listed:
        first = rows.setdefault(row["recording_id"], row)
        if (first["source_uri"], first["member"]) != (row["source_uri"], row["member"]):
            again = recording_id(f"{row['path']} in {row['source_uri']}")
            rows[again] = {**row, "recording_id": again, "reason": str(Reason.DUPLICATE_NAME)}


def new_rows(
    rows: list[dict[str, Any]], known: pd.DataFrame, gone: Collection[str] = frozenset()
) -> list[dict[str, Any]]:
    """Return the rows of recordings the lake does not know, or knows with other bytes, facts or in another place.

    `known` has the lake's current recordings; those in `gone` could not be read and are here again. A row that
    supersedes one of them names it in `replaces`, by a hash of it and of all that were superseded before it: going back
    to what was is something new, however often.
    """
    columns = ["recording_id", "replaces", *_IDENTITY]
    seen = {values[0]: values[1:] for values in known[columns].itertuples(index=False)}
    new = []
    for row in rows:
        before = seen.get(row["recording_id"])
        same = before is not None and _digest(before[1:]) == _digest(row[name] for name in _IDENTITY)
        if not same or row["recording_id"] in gone:
            row["replaces"] = None if before is None else _digest(before)
            new.append(row)
    return new


def as_parts(rows: list[dict[str, Any]]) -> dict[tuple[str, str], pa.Table]:
    """Return the rows of every (machine_type, batch) in row order: by machine_id, then source, member and clip."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in sorted(rows, key=_order_in_part):
        groups.setdefault((row["machine_type"], row["batch"]), []).append(row)
    return {key: pa.Table.from_pylist(group, schema=RECORDINGS) for key, group in sorted(groups.items())}


def member_of(row: Mapping[Any, Any]) -> Member:
    """Return where the bytes of a row of the recordings table are."""
    place = {name: row[name] for name in _PLACE}
    for name in ("byte_start", "byte_end", "crc32"):
        # A nullable integer that went through pandas is a float.
        place[name] = None if pd.isna(place[name]) else int(place[name])
    return Member(**place, problem=None)


def _rows(member: Member, facts: Facts, key: str, ingested_at: datetime) -> list[dict[str, Any]]:
    first, *others = (_row(member, known, key, ingested_at) for known in (facts, *facts.further))
    rows = [first, *(row | {"id_channel": row["channel"]} for row in others)]
    named = ",".join(str(row["channel"]) for row in rows if row["channel"] is not None) or None
    for row in rows:
        row["recording_id"] = recording_id(member.path, row["id_channel"])
        row |= {"named_channels": named, "machine_of_file": first["machine_id"]}
    return rows


def _row(member: Member, facts: Facts, key: str, ingested_at: datetime) -> dict[str, Any]:
    described = {name: value for name, value in asdict(facts).items() if name in RECORDINGS.names}
    if facts.channel is not None and facts.origins["channel"] is not Origin.MANIFEST:
        # Of which microphone the file is, and not which of its channels that is: mostly it has a single one.
        attributes = "; ".join(filter(None, [facts.attributes, f"channel={facts.channel}"]))
        described |= {"channel": None, "attributes": attributes}
    if member.problem is Reason.UNSAFE_PATH:
        # Nothing in such a name can be believed.
        described |= {"machine_type": UNKNOWN, "machine_id": UNKNOWN, "batch": "all", "condition": None, "site": None}
    reason = member.problem or facts.problem
    return {
        **_WHOLE,
        **{name: getattr(member, name) for name in _PLACE},
        **described,
        "replaces": None,
        "id_channel": None,
        "file_key": key,
        "reason": str(reason) if reason else None,
        "ingested_at": ingested_at,
        "facts": facts,
    }


def _order_in_part(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """All pieces of a file stand together, so that it is read once."""
    clip = (row["clip_start_s"] or 0.0, row["channel"] or 0)
    return (row["machine_of_file"], row["site"] or "", row["source_uri"], row["member"], row["path"], *clip)


def _digest(values: Iterable[Any]) -> str:
    return digest(
        [
            None if pd.isna(value) else str(pd.Timestamp(value) if isinstance(value, datetime) else value)
            for value in values
        ]
    )
