"""What archives hold, kept in the lake: one that has not changed since is not looked into again."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict, fields

from humwatch.storage.errors import SourceNotFound
from humwatch.storage.lake import Lake
from humwatch.storage.naming import digest
from humwatch.storage.reasons import Reason
from humwatch.storage.sources.member import Contents, ManifestFile, Member

# Of what a listing says of an archive: another one finds no index of before.
_LISTING_VERSION = 4


def indexed(
    lake: Lake, uri: str, path: str, state: str, extensions: Collection[str], max_member_bytes: int,
    look: Callable[[], Contents],
) -> Contents:  # fmt: skip
    """Return an archive's contents as they were found when it was in `state`; else `look` and keep it.

    A plain tar costs a read for every member to list and a compressed one a pass over all of it, so this is what makes
    a second look at a source cheap. The index may be deleted at any time.
    """
    columns = [field.name for field in fields(Member)]
    looked = [_LISTING_VERSION, uri, path, state, sorted(extensions), max_member_bytes, columns]
    index = f"sources/{digest(looked, 16)}.json.gz"
    kept = None
    with suppress(SourceNotFound):
        kept = json.loads(gzip.decompress(lake.read(index)))
    if kept is None:
        contents = look()
        rows = {
            "members": [asdict(member) for member in contents.members],
            "manifests": [asdict(one) for one in contents.manifests],
            "ignored": contents.ignored,
        }
        lake.create(index, gzip.compress(json.dumps(rows).encode(), mtime=0))
        return contents
    members = [Member(**{**row, "problem": row["problem"] and Reason(row["problem"])}) for row in kept["members"]]
    return Contents(members, [ManifestFile(**row) for row in kept["manifests"]], Counter(kept["ignored"]))
