"""The rows of a manifest: CSV in any dialect that spreadsheets write -> facts by path."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from humwatch.storage.errors import BadConfiguration
from humwatch.tasks.ingest.recording_facts import FACT_NAMES, USUAL, Conventions, checked_facts

PATH_COLUMNS = ("path", "file", "filename", "file_name", "filepath", "file_path")
"""What the column with a recording's path may be called."""

_DELIMITERS = ",;\t|"
# The labels of DCASE's own lists; pandas writes a column of integers with a gap in it as 0.0 and 1.0.
_LABEL_NUMBERS = {"0": "normal", "0.0": "normal", "1": "abnormal", "1.0": "abnormal"}


@dataclass(frozen=True)
class Manifest:
    """A manifest's rows.

    Attributes:
        uri: where it is, for messages.
        prefix: "" or a path that ends in "/": what the rows' paths are relative to.
        rows: what each path's row says, or the first of several: facts in the form of `checked_facts`, and the text of
            every other column by its name as it is written. Of a contradictory path, nothing.
        further: what the other rows of a path say, which are about other channels.
        contradictory: the paths with two rows about one channel that differ.
    """

    uri: str
    prefix: str
    rows: Mapping[str, Mapping[str, Any]]
    further: Mapping[str, Sequence[Mapping[str, Any]]]
    contradictory: frozenset[str]

    @property
    def names_machines(self) -> bool:
        """Whether any row says what machine its recording is of."""
        rows = chain(self.rows.values(), *self.further.values())
        return any("machine_type" in row or "machine_id" in row for row in rows)


def read_manifest(text: str, where: str, prefix: str = "", conventions: Conventions = USUAL) -> Manifest:
    """Parse a manifest: a column of `PATH_COLUMNS`, any of `FACT_NAMES`, and others; an empty cell says nothing.

    Names of columns are the same in any case and with spaces or dashes for underscores; columns without a name and
    rows without a single cell filled are passed over. Of comma, semicolon, tab and vertical bar the one that splits the
    header is the delimiter, or the one that a first line `sep=;` names, as Excel takes it. Labels may be 0 (normal) and
    1 (abnormal).

    Args:
        text: CSV with a header line.
        where: the manifest's URI, for messages.
        prefix: what its paths are relative to.
        conventions: how it writes times and labels.

    Raises:
        BadConfiguration: no column for the path or two, a column twice, a ragged line, or a value its column cannot
            have.
    """
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    contradictory: set[str] = set()
    lines = _lines(text, where)
    _, header = next(lines, ("", []))
    columns = _columns(header, where)
    for at, cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise BadConfiguration(f"{at}: has {len(cells)} cells, not {len(header)} as the header")
        texts = {column: cell.strip() for column, cell in zip(columns, cells, strict=True) if column}
        path = _normal(texts.pop("path"))
        if not path:
            raise BadConfiguration(f"{at}: has no path")
        said = _said(texts, at, conventions)
        before = next((row for row in rows[path] if row.get("channel") == said.get("channel")), None)
        if before is None:
            rows[path].append(said)
        elif before != said:
            contradictory.add(path)
    return Manifest(
        uri=where,
        prefix=prefix,
        rows={path: {} if path in contradictory else said[0] for path, said in rows.items()},
        further={path: said[1:] for path, said in rows.items() if len(said) > 1 and path not in contradictory},
        contradictory=frozenset(contradictory),
    )


def _lines(text: str, where: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the header and the lines below it, each with where it is."""
    text = text.removeprefix("\ufeff")
    first, *below = re.split(r"\r\n|\r|\n", text, maxsplit=1)
    told = re.fullmatch(r"sep=(.)", first, re.IGNORECASE)
    delimiter = told[1] if told else _delimiter_of(first)
    reader = csv.reader(io.StringIO("".join(below) if told else text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            yield f"{where}, line {reader.line_num + bool(told)}", cells
    except csv.Error as error:
        raise BadConfiguration(f"{where}, line {reader.line_num + bool(told)}: not CSV ({error})") from error


def _delimiter_of(header: str) -> str:
    """Return the delimiter that makes the most columns of a header, one of them the path's if any does that."""

    def columns(delimiter: str) -> tuple[bool, int]:
        names = next(csv.reader([header], delimiter=delimiter), [])
        return any(_known(name) == "path" for name in names), len(names)

    return max(_DELIMITERS, key=columns)


def _columns(header: list[str], where: str) -> list[str]:
    """Return the columns' names: `path`, facts as in `FACT_NAMES`, all others as they are written."""
    columns = [_known(name) or name.strip() for name in header]
    paths = [name.strip() for name in header if _known(name) == "path"]
    if not paths:
        has = f"; it has {', '.join(filter(None, columns))}" if any(columns) else ""
        raise BadConfiguration(f"{where}: has no column path (or {', '.join(PATH_COLUMNS[1:])}){has}")
    if len(paths) > 1:
        raise BadConfiguration(f"{where}: the columns {' and '.join(paths)} both name the recording; keep one")
    folded = [_folded(column) for column in columns if column]
    if twice := [column for column in columns if folded.count(_folded(column)) > 1]:
        raise BadConfiguration(f"{where}: the column {twice[0]} appears twice")
    return columns


def _known(name: str) -> str | None:
    """Return which known column a header's name means, None for any other."""
    folded = _folded(name)
    if folded in PATH_COLUMNS:
        return "path"
    return folded if folded in FACT_NAMES else None


def _folded(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().casefold())


def _said(texts: Mapping[str, str], at: str, conventions: Conventions) -> dict[str, Any]:
    """Return what a row says beside its path."""
    facts = {name: text for name, text in texts.items() if name in FACT_NAMES}
    if label := _LABEL_NUMBERS.get(facts.get("label", "")):
        facts["label"] = label
    others = {name: text for name, text in texts.items() if name not in FACT_NAMES and text}
    return {**checked_facts(facts, at, conventions), **others}


def _normal(path: str) -> str:
    parts = path.strip().replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in {"", "."})
