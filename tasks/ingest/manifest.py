"""Manifests: CSV files that say what recordings are, in or beside an archive; they win over names."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from humwatch.storage.errors import BadConfiguration
from humwatch.storage.reasons import Reason
from humwatch.storage.sources import ManifestFile, Member, archive_suffix
from humwatch.tasks.ingest.names import FACT_NAMES, Facts, checked_facts, read_name


@dataclass(frozen=True)
class Manifest:
    """A manifest's rows.

    Attributes:
        prefix: "" or a path that ends in "/": what the rows' paths are relative to.
        rows: facts by the row's path, in the form of `checked_facts`.
        contradictory: paths with two rows that differ; in none of `rows`.
    """

    prefix: str
    rows: Mapping[str, Mapping[str, Any]]
    contradictory: frozenset[str]


def read_manifest(text: str, where: str, prefix: str = "") -> Manifest:
    """Parse a manifest: a column `path` and any of `FACT_NAMES`; an empty cell says nothing.

    Args:
        text: CSV with a header line.
        where: the manifest's URI, for messages.
        prefix: what its paths are relative to.

    Raises:
        BadConfiguration: unknown columns, no column `path`, a ragged line, or a value its column cannot have.
    """
    reader = csv.DictReader(io.StringIO(text), strict=True)
    rows: dict[str, dict[str, Any]] = {}
    contradictory: set[str] = set()
    try:
        columns = [column.strip() for column in reader.fieldnames or ()]
        _check_columns(columns, where)
        reader.fieldnames = columns
        for line in reader:
            at = f"{where}, line {reader.line_num}"
            if None in line or None in line.values():
                raise BadConfiguration(f"{at}: does not have {len(columns)} cells")
            path = _normal(line.pop("path"))
            if not path:
                raise BadConfiguration(f"{at}: has no path")
            facts = checked_facts(line, at)
            if rows.setdefault(path, facts) != facts:
                contradictory.add(path)
    except csv.Error as error:
        raise BadConfiguration(f"{where}, line {reader.line_num}: not CSV ({error})") from error
    kept = {path: facts for path, facts in rows.items() if path not in contradictory}
    return Manifest(prefix, kept, frozenset(contradictory))


def read_facts(
    members: Sequence[Member], manifests: Sequence[ManifestFile], name_pattern: re.Pattern[str] | None
) -> list[Facts]:
    """Return the facts of every member of a listing, in order: manifest, then pattern, then names.

    A row speaks of the recording at its path below the manifest's folder or archive, else of those with that name
    inside an archive, else of the one with that base name. Rows that disagree, and a base name that several
    recordings have, make CONFLICTING_NAMES.

    Raises:
        BadConfiguration: a manifest or the pattern is wrong.
    """
    parsed = [read_manifest(manifest.text, manifest.uri, manifest.prefix) for manifest in manifests]
    base_names = [
        Counter(_base(member.path) for member in members if member.path.startswith(manifest.prefix))
        for manifest in parsed
    ]
    facts = []
    for member in members:
        given: dict[str, Any] = {}
        conflict = False
        for manifest, counts in zip(parsed, base_names, strict=True):
            if member.path.startswith(manifest.prefix):
                row, clear = _row(manifest, member.path.removeprefix(manifest.prefix), counts)
                conflict |= not clear or any(given.get(name, value) != value for name, value in row.items())
                given.update(row)
        named = read_name(member.path, name_pattern, given)
        facts.append(replace(named, problem=Reason.CONFLICTING_NAMES) if conflict else named)
    return facts


def _row(manifest: Manifest, path: str, base_names: Counter[str]) -> tuple[Mapping[str, Any], bool]:
    """Return what a manifest says of the recording at `path` below its prefix, and whether that is clear."""
    base = _base(path)
    for key in (path, _inside_archive(path), base):
        if key in manifest.contradictory:
            return {}, False
        if key in manifest.rows:
            clear = key == path or key != base or base_names[base] == 1
            return (manifest.rows[key] if clear else {}), clear
    return {}, True


def _check_columns(columns: Sequence[str], where: str) -> None:
    if unknown := sorted(set(columns) - {"path", *FACT_NAMES}):
        raise BadConfiguration(
            f"{where}: unknown columns {', '.join(unknown)}; known are path, {', '.join(FACT_NAMES)}"
        )
    if "path" not in columns:
        raise BadConfiguration(f"{where}: has no column path")
    if len(set(columns)) < len(columns):
        raise BadConfiguration(f"{where}: a column appears twice")


def _normal(path: str) -> str:
    parts = path.strip().replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in {"", "."})


def _inside_archive(path: str) -> str:
    *parents, name = path.split("/")
    archives = [index for index, parent in enumerate(parents) if archive_suffix(parent)]
    return "/".join([*parents, name][archives[-1] + 1 :]) if archives else path


def _base(path: str) -> str:
    return path.rpartition("/")[2]
