"""Labels from a maintenance log: read, checked and kept whole; applied whenever the lake's recordings are looked at.

A log is CSV with a header line. Each row gives a `label` (normal or abnormal), perhaps a `note`, and names either

- a recording: `recording_id`, or `file` or `path`: as much of the end of its path as makes it the only one (a file that
  is cut into clips: all of them); or
- a machine and a span of time: `machine_type`, `machine_id` (and `site` where there is one), `from` and `until`, UTC
  times or dates; one of them may be empty. `from` is inside, `until` is not, unless it is a date: that day is inside.

A label on a recording beats one on a span, a later import an earlier one, a later row one before it, and all of them
what the recording's name says. A recording whose time is unknown is inside when any of its batch's day is.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa

from humwatch.storage.errors import BadConfiguration
from humwatch.storage.label_imports import LABEL_ROWS, import_id, labels_path, put_labels, read_labels
from humwatch.storage.lake import Lake
from humwatch.tasks.frames import python_values
from humwatch.tasks.plan.times import parse_time

_RECORDING = ("recording_id", "file", "path")
_MACHINE = ("site", "machine_type", "machine_id")
_SPAN = (*_MACHINE, "from", "until")
_COLUMNS = (*_RECORDING, *_SPAN, "label", "note")
_MOST_PROBLEMS_SHOWN = 10
# A time is an instant in whole microseconds; a batch's day is all of it.
_INSTANT, _DAY = pd.Timedelta(1, "us"), pd.Timedelta(1, "D")


@dataclass(frozen=True)
class LabelImport:
    """What an import did.

    Attributes:
        path: the table in the lake that holds the log's rows.
        added: whether this import made it; False: it was there, and nothing newer contradicts it.
        recordings: rows that name a recording.
        spans: rows that name a machine and a span.
        changed: recordings of the lake whose label is another one now.
    """

    path: str
    added: bool
    recordings: int
    spans: int
    changed: int


def import_labels(lake: Lake, text: str, where: str, recordings: pd.DataFrame) -> LabelImport:
    """Keep a maintenance log; one that is there already adds nothing, unless it overrules a later one.

    Args:
        lake: where it is kept.
        text: CSV.
        where: its address, for messages.
        recordings: the lake's current recordings (`humwatch.tasks.plan.catalog.current_recordings`).

    Raises:
        BadConfiguration: a row is wrong or names what the lake does not know; nothing was imported.
    """
    rows = read_log(text, where, recordings)
    kept = read_labels(lake)
    overruled = pa.concat_tables([kept.select(rows.schema.names), rows])
    before, after = (_labels(recordings, table).fillna("") for table in (kept, overruled))
    changed = int((before != after).sum())
    known = list(dict.fromkeys(kept["import_id"].to_pylist()))
    name = import_id(rows, None)
    if name in known and changed:
        name = import_id(rows, known[-1])
    # Later imports win, even if the clock of an earlier one was ahead.
    times = kept["imported_at"].to_pylist()
    now = max([datetime.now(UTC), *(moment + timedelta(microseconds=1) for moment in times[-1:])])
    added = name not in known and put_labels(lake, name, rows, now)
    spans = rows["recording_id"].null_count
    return LabelImport(labels_path(name), added, rows.num_rows - spans, spans, changed)


def apply_labels(recordings: pd.DataFrame, lake: Lake) -> pd.DataFrame:
    """Return `recordings` with the labels that imports have given them.

    Args:
        recordings: columns recording_id, site, machine_type, machine_id, batch, recorded_at and label.
        lake: the lake that holds the imports.
    """
    labels = read_labels(lake)
    return recordings.assign(label=_labels(recordings, labels)) if labels.num_rows else recordings


def read_log(text: str, where: str, recordings: pd.DataFrame) -> pa.Table:
    """Return a log's rows (schema `LABEL_ROWS`), each checked against the lake's recordings.

    Raises:
        BadConfiguration: the header or a row is wrong; the message names the lines.
    """
    known = _Known(recordings)
    rows, problems = [], []
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        reader.fieldnames = _checked_columns([column.strip() for column in reader.fieldnames or ()], where)
        for line in reader:
            try:
                rows += _rows(line, known)
            except ValueError as error:
                problems.append(f"line {reader.line_num}: {error}")
    except csv.Error as error:
        raise BadConfiguration(
            f"{where}, after line {reader.line_num}: is not CSV: {error}; nothing was imported"
        ) from error
    if not (rows or problems):
        raise BadConfiguration(f"{where}: holds no rows")
    if problems:
        more = len(problems) - _MOST_PROBLEMS_SHOWN
        listed = "; ".join([*problems[:_MOST_PROBLEMS_SHOWN], *([f"and {more} more"] if more > 0 else [])])
        raise BadConfiguration(f"{where}: nothing was imported: {listed}")
    return pa.Table.from_pylist(rows, schema=LABEL_ROWS)


class _Known:
    """What a log may name: the recordings and machines of the lake."""

    def __init__(self, recordings: pd.DataFrame) -> None:
        self.ids = set(recordings["recording_id"])
        machines = python_values(recordings[list(_MACHINE)].drop_duplicates())
        self.machines = set(machines.itertuples(index=False, name=None))
        self._named: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for path, recording_id in zip(recordings["path"], recordings["recording_id"], strict=True):
            self._named[path.rpartition("/")[2]][f"/{path}"].append(recording_id)

    def recordings_at(self, path: str) -> list[str]:
        """Return the ids of the only file whose path ends in `path`: one, or those of its clips and channels."""
        matches = [ids for full, ids in self._named[path.rpartition("/")[2]].items() if full.endswith(f"/{path}")]
        if len(matches) != 1:
            problem = f"{len(matches)} recordings end in it; give more of the path" if matches else "there is none"
            raise ValueError(f"recording {path!r}: {problem}")
        return matches[0]


def _checked_columns(columns: list[str], where: str) -> list[str]:
    unknown = sorted(set(columns) - set(_COLUMNS))
    if unknown or "label" not in columns or len(set(columns)) < len(columns):
        problem = f"unknown columns {', '.join(unknown)}" if unknown else "needs a column label, and each column once"
        raise BadConfiguration(f"{where}, line 1: {problem}; known are {', '.join(_COLUMNS)}; nothing was imported")
    return columns


def _rows(line: Mapping[str | None, Any], known: _Known) -> list[dict[str, object]]:
    if None in line or None in line.values():
        raise ValueError("has too many or too few cells")
    cells = {str(column): text.strip() for column, text in line.items() if text.strip()}
    label = cells.get("label", "").lower()
    if label not in {"normal", "abnormal"}:
        raise ValueError(f"label {cells.get('label', '')!r} is neither normal nor abnormal")
    row: dict[str, object] = {"label": label, "note": cells.get("note")}
    names = [cells[column] for column in _RECORDING if column in cells]
    if names and any(column in cells for column in _SPAN):
        raise ValueError("names both a recording and a machine or span")
    if len(names) > 1:
        raise ValueError("names its recording in more than one column")
    if "recording_id" in cells:
        if cells["recording_id"] not in known.ids:
            raise ValueError(f"recording_id {cells['recording_id']!r}: there is none")
        return [row | {"recording_id": cells["recording_id"]}]
    if names:
        path = names[0].replace("\\", "/").lstrip("/")
        return [row | {"recording_id": recording_id} for recording_id in known.recordings_at(path)]
    return [row | _span(cells, known)]


def _span(cells: Mapping[str, str], known: _Known) -> dict[str, object]:
    if not ("machine_type" in cells and "machine_id" in cells):
        raise ValueError("names neither a recording nor a machine (machine_type and machine_id)")
    machine = {column: cells.get(column) for column in _MACHINE}
    if tuple(machine.values()) not in known.machines:
        raise ValueError(f"machine {'/'.join(filter(None, machine.values()))!r}: there is none")
    begin = _time(cells["from"], date_means_its_end=False) if "from" in cells else None
    end = _time(cells["until"], date_means_its_end=True) if "until" in cells else None
    if begin is None and end is None:
        raise ValueError("names a machine, but no time: give from, until or both")
    if begin is not None and end is not None and begin >= end:
        raise ValueError(f"from {cells['from']} is not before until {cells['until']}")
    return {**machine, "from": begin, "until": end}


def _time(text: str, *, date_means_its_end: bool) -> datetime:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        try:
            return parse_time(text)
        except ValueError:
            raise ValueError(f"{text!r} is neither a date nor a time") from None
    return datetime.combine(day, time(tzinfo=UTC)) + timedelta(days=date_means_its_end)


def _labels(recordings: pd.DataFrame, rows: pa.Table) -> pd.Series[str]:
    """Return the label of every recording under `rows`, which are in the order in which they overrule each other."""
    label = recordings["label"].copy()
    spans: dict[tuple[str | None, ...], list[dict[str, Any]]] = defaultdict(list)
    of_recording: dict[str, str] = {}
    for row in rows.to_pylist():
        if row["recording_id"] is not None:
            of_recording[row["recording_id"]] = row["label"]
        else:
            spans[tuple(row[column] for column in _MACHINE)].append(row)
    if spans:
        day = pd.to_datetime(recordings["batch"], format="%Y-%m-%d", errors="coerce", utc=True)
        begin = recordings["recorded_at"].fillna(day)
        end = begin + recordings["recorded_at"].isna().map({True: _DAY, False: _INSTANT})
        machines: Iterable[tuple[Any, pd.DataFrame]] = recordings.groupby(list(_MACHINE), dropna=False, sort=False)
        for values, group in machines:
            for span in spans.get(tuple(None if pd.isna(value) else value for value in values), ()):
                label[_inside(begin[group.index], end[group.index], span)] = span["label"]
    given = recordings["recording_id"].map(of_recording)
    return label.where(given.isna(), given)


def _inside(begin: pd.Series[Any], end: pd.Series[Any], span: Mapping[str, Any]) -> pd.Index[Any]:
    inside = begin.notna()
    if span["from"] is not None:
        inside &= end > span["from"]
    if span["until"] is not None:
        inside &= begin < span["until"]
    return inside.index[inside]
