"""Manifests: CSV files that say what recordings are, in or beside an archive; they win over names.

Here: which row speaks of which recording, what then is known of it, and which rows and recordings are left over.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from humwatch.storage.errors import ManifestFitsNothing
from humwatch.storage.reasons import Reason
from humwatch.storage.sources import ManifestFile, Member, archive_suffix
from humwatch.tasks.ingest.manifest_rows import Manifest, read_manifest
from humwatch.tasks.ingest.mixed_machines import refuse_mixed
from humwatch.tasks.ingest.name_rules import NameRules
from humwatch.tasks.ingest.names import read_name
from humwatch.tasks.ingest.recording_facts import FACT_NAMES, Facts
from humwatch.tasks.words import some


@dataclass(frozen=True)
class ManifestUse:
    """How a manifest fits one source.

    Attributes:
        uri: where the manifest is.
        found: the paths of its rows that name a recording.
        missing: those of its rows that name none, in its order; not those that name another archive beside the source.
        without_row: the paths of recordings below it that no row of any manifest names.
    """

    uri: str
    found: frozenset[str]
    missing: tuple[str, ...]
    without_row: tuple[str, ...]


@dataclass(frozen=True)
class ManifestFindings:
    """How a manifest fits all sources of a run.

    Attributes:
        uri: where the manifest is.
        rows: how many recordings it names; without those in archives beside it that are no source.
        matched: how many of them are there.
        rows_without_file: the paths of the others, in its order.
        files_without_row: the paths of recordings below it that no row of any manifest names.
    """

    uri: str
    rows: int
    matched: int
    rows_without_file: tuple[str, ...]
    files_without_row: tuple[str, ...]

    @property
    def fits_nothing(self) -> bool:
        """Whether it names recordings and none of them is there."""
        return self.rows > 0 and self.matched == 0


def findings_of(uses: Iterable[ManifestUse]) -> tuple[ManifestFindings, ...]:
    """Return what is told of each manifest: several sources may lie beside one; a row that fits one of them fits."""
    by_uri: dict[str, list[ManifestUse]] = defaultdict(list)
    for use in uses:
        by_uri[use.uri].append(use)
    findings = []
    for uri, of_one in by_uri.items():
        found = frozenset[str]().union(*(use.found for use in of_one))
        missing = tuple(path for path in dict.fromkeys(chain(*(use.missing for use in of_one))) if path not in found)
        without_row = tuple(dict.fromkeys(chain(*(use.without_row for use in of_one))))
        findings.append(
            ManifestFindings(
                uri=uri,
                rows=len(found) + len(missing),
                matched=len(found),
                rows_without_file=missing,
                files_without_row=without_row,
            )
        )
    return tuple(findings)


def misfits_of(findings: Iterable[ManifestFindings]) -> list[tuple[str, ManifestFitsNothing]]:
    """Return the manifests of which no row fits anything, each with the error that this is."""
    return [
        (one.uri, ManifestFitsNothing(f"{one.uri}: none of {one.rows} rows names a recording that is there: "
                                      f"{some(one.rows_without_file)}"))
        for one in findings
        if one.fits_nothing
    ]  # fmt: skip


def read_facts(
    members: Sequence[Member], manifests: Sequence[ManifestFile], rules: NameRules
) -> tuple[list[Facts], tuple[ManifestUse, ...]]:
    """Return the facts of every member of a listing, in order, and how each manifest fits it.

    A manifest's word counts before a layout's, the pattern's and names, in this order. A row speaks of the recording at
    its path below the manifest's folder or archive, else of those with that name inside an archive, else of the one
    with that base name. Rows and recordings left then are compared without regard to case and Unicode form. Rows that
    disagree, and rows or recordings that cannot be told apart, make CONFLICTING_NAMES. Columns that are no facts
    become attributes: `operator=Kim; shift=2`.

    Rows of one recording that name channels make it several: `Facts.further`. One that names none holds for all.

    Where a manifest names machines, a recording that has no row, and no ID in its names, would be a machine of its own
    called like a folder: NOT_IN_MANIFEST.

    Raises:
        BadConfiguration: a manifest or the pattern is wrong.
    """
    matches = [_match(read_manifest(one.text, one.uri, one.prefix, rules.conventions), members) for one in manifests]
    facts: list[list[Facts]] = []
    for index, member in enumerate(members):
        rows = [row for match in matches for row in match.rows(index)]
        is_unclear = any(index in match.unclear for match in matches)
        of_channels = [_facts(member, of_one, rules) for of_one in _by_channel(rows)]
        facts.append([replace(one, problem=Reason.CONFLICTING_NAMES) if is_unclear else one for one in of_channels])
    named = {index for match in matches for index in (*match.row_of, *match.unclear)}
    left = [index for index in range(len(members)) if index not in named]
    _reject_unnamed(facts, matches, left)
    kept = iter(refuse_mixed(list(chain(*facts))))
    together = [[next(kept) for _ in of_channels] for of_channels in facts]
    return (
        [replace(first, further=tuple(others)) for first, *others in together],
        tuple(_use(match, members, left) for match in matches),
    )


def _by_channel(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Return the rows about each channel, in order; all at once where no row names a channel."""
    channels = sorted({row["channel"] for row in rows if "channel" in row})
    return [[row for row in rows if row.get("channel", channel) == channel] for channel in channels or [None]]


def _facts(member: Member, rows: Sequence[Mapping[str, Any]], rules: NameRules) -> Facts:
    """Return what the rows about one recording, or one channel of it, and its name say."""
    given: dict[str, Any] = {}
    conflict = False
    for row in rows:
        conflict |= any(given.get(name, value) != value for name, value in row.items())
        given.update(row)
    known = read_name(member.path, rules, {name: given[name] for name in FACT_NAMES if name in given})
    if member.problem:
        known = replace(known, above=None)  # it cannot mix up others
    others = [f"{name}={value}" for name, value in given.items() if name not in FACT_NAMES]
    known = replace(known, attributes="; ".join(filter(None, [known.attributes, *others])) or None)
    return replace(known, problem=Reason.CONFLICTING_NAMES) if conflict else known


@dataclass(frozen=True)
class _Match:
    """Which row of a manifest speaks of which recording.

    Attributes:
        manifest: the manifest.
        below: the recordings it may speak of, by their index: their paths below its prefix.
        row_of: the path of the row, or the rows for its channels, that speak of a recording, by its index.
        unclear: recordings of which several rows may speak, or which share such a row with others.
        used: the paths of the rows that speak of any recording, clearly or not.
    """

    manifest: Manifest
    below: dict[int, str]
    row_of: dict[int, str] = field(default_factory=dict)
    unclear: set[int] = field(default_factory=set)
    used: set[str] = field(default_factory=set)

    def rows(self, index: int) -> list[Mapping[str, Any]]:
        """Return what the manifest says of a recording, of each channel that has a row."""
        path = self.row_of.get(index)
        return [] if path is None else [self.manifest.rows[path], *self.manifest.further.get(path, ())]

    def add(self, form: Callable[[str], str]) -> None:
        """Match rows and recordings that have no match yet, their paths compared in one form."""
        rows: dict[str, list[str]] = defaultdict(list)
        for path in self.manifest.rows:
            if path not in self.used:
                rows[form(path)].append(path)
        paths = {
            index: form(path)
            for index, path in self.below.items()
            if index not in self.row_of and index not in self.unclear
        }
        wholes, bases = Counter(paths.values()), Counter(map(_base, paths.values()))
        for index, path in paths.items():
            base = _base(path)
            sharing = {_inside_archive(path): 1, base: bases[base], path: wholes[path]}
            key = next((key for key in (path, _inside_archive(path), base) if key in rows), None)
            if key is None:
                continue
            self.used.update(rows[key])
            if sharing[key] == 1 and len(rows[key]) == 1 and rows[key][0] not in self.manifest.contradictory:
                self.row_of[index] = rows[key][0]
            else:
                self.unclear.add(index)


def _match(manifest: Manifest, members: Sequence[Member]) -> _Match:
    prefix = manifest.prefix
    below = {i: one.path.removeprefix(prefix) for i, one in enumerate(members) if one.path.startswith(prefix)}
    match = _Match(manifest, below)
    match.add(str)
    if len(match.used) < len(manifest.rows):
        match.add(_folded)
    return match


def _reject_unnamed(facts: Sequence[list[Facts]], matches: Iterable[_Match], left: Sequence[int]) -> None:
    """Reject recordings without a row whose machine a manifest would have had to name."""
    without_row = set(left)
    known = chain(*(of_channels for i, of_channels in enumerate(facts) if i not in without_row))
    machines = {(one.machine_type, one.machine_id) for one in known}
    below = {index for match in matches if match.manifest.names_machines for index in match.below}
    for index in below & without_row:
        (one,) = facts[index]
        if one.problem is None and one.machine_id == "all" and (one.machine_type, "all") not in machines:
            facts[index][0] = replace(one, problem=Reason.NOT_IN_MANIFEST)


def _use(match: _Match, members: Sequence[Member], left: Sequence[int]) -> ManifestUse:
    missing = [path for path in match.manifest.rows if path not in match.used]
    if not match.manifest.prefix:
        missing = [path for path in missing if not _is_elsewhere(path, members)]
    return ManifestUse(
        uri=match.manifest.uri,
        found=frozenset(match.used),
        missing=tuple(missing),
        without_row=tuple(members[i].path for i in left if i in match.below and members[i].problem is None),
    )


def _is_elsewhere(path: str, members: Sequence[Member]) -> bool:
    """Whether the row of a manifest beside a source says that it speaks of another source beside it."""
    root, is_inside, _ = members[0].path.partition("/")
    first = path.partition("/")[0]
    return not is_inside or (archive_suffix(first) != "" and _folded(first) != _folded(root))


def _folded(path: str) -> str:
    """Return a path without what file systems and spreadsheets change: Unicode form and case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _inside_archive(path: str) -> str:
    *parents, name = path.split("/")
    archives = [index for index, parent in enumerate(parents) if archive_suffix(parent)]
    return "/".join([*parents, name][archives[-1] + 1 :]) if archives else path


def _base(path: str) -> str:
    return path.rpartition("/")[2]
