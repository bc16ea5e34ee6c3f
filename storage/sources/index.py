"""What archives hold, kept in the lake: one that has not changed since is not looked into again."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from typing import NamedTuple

from humwatch.storage.errors import SourceNotFound
from humwatch.storage.lake import Lake
from humwatch.storage.naming import digest
from humwatch.storage.reasons import Reason
from humwatch.storage.sources.member import Contents, ManifestFile, Member

# Of what a listing says of an archive: another one finds no index of before.
_LISTING_VERSION = 5


def indexed(
    lake: Lake, uri: str, path: str, state: str, extensions: Collection[str], max_member_bytes: int,
    look: Callable[[], Contents],
) -> Contents:  # fmt: skip
    """Return an archive's contents as they were found when it was in `state`; else `look` and keep it.

    A plain tar costs a read for every member to list and a compressed one a pass over all of it, so this is what makes
    a second look at a source cheap. Where the archive was in another state before, members that have no checksum are
    compared with what they were then, see `_with_tags_of`. The index may be deleted at any time; only that is lost.
    """
    columns = [field.name for field in fields(Member)]
    archive = digest([_LISTING_VERSION, uri, path, sorted(extensions), max_member_bytes, columns], 16)
    index = f"sources/{archive}/{digest(state, 16)}.json.gz"
    kept = _read(lake, index)
    if kept is not None:
        return kept.contents
    lake.about_to_write()
    earlier = [found for name in lake.list(f"sources/{archive}", ".json.gz") if (found := _read(lake, name))]
    contents = look()
    if earlier:
        before = max(earlier, key=lambda one: one.listed_at).contents.members
        contents = contents._replace(members=_with_tags_of(before, contents.members))
    rows = {
        "listed_at": datetime.now(UTC).isoformat(),
        "members": [asdict(member) for member in contents.members],
        "manifests": [asdict(one) for one in contents.manifests],
        "ignored": contents.ignored,
    }
    lake.create(index, gzip.compress(json.dumps(rows).encode(), mtime=0))
    return contents


class _Kept(NamedTuple):
    listed_at: str
    contents: Contents


def _read(lake: Lake, index: str) -> _Kept | None:
    try:
        kept = json.loads(gzip.decompress(lake.read(index)))
    except SourceNotFound:
        return None
    members = [Member(**{**row, "problem": row["problem"] and Reason(row["problem"])}) for row in kept["members"]]
    manifests = [ManifestFile(**row) for row in kept["manifests"]]
    return _Kept(kept["listed_at"], Contents(members, manifests, Counter(kept["ignored"])))


def _with_tags_of(before: Iterable[Member], now: Iterable[Member]) -> list[Member]:
    """Return members with tags that tell of a change which size and time do not: in plain tars.

    One that begins and ends as it did before keeps the tag that it had, so that nothing is taken in anew; one that does
    not has another.
    """
    ends = {member.member: (member.ends_crc32, member.size_bytes, member.content_tag) for member in before}
    told = []
    for member in now:
        ends_crc32, size_bytes, tag = ends.get(member.member, (None, 0, ""))
        if (
            ends_crc32 is None
            or member.ends_crc32 is None
            or size_bytes != member.size_bytes
            or not _is_of(tag, member)
        ):
            told.append(member)
        elif ends_crc32 == member.ends_crc32:
            told.append(replace(member, content_tag=tag))
        else:
            told.append(replace(member, content_tag=member.tag_of_changed))
    return told


def _is_of(tag: str, member: Member) -> bool:
    """Whether a tag has the time and size of a member, with or without its beginning."""
    return tag == member.content_tag or tag.startswith(f"{member.content_tag}-")
