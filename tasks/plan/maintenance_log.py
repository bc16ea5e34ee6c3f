"""A maintenance log: labels and actions about alarms, read from CSV, checked and kept whole.

A log has a header line. Each row gives either a `label` (normal or abnormal), perhaps a `note`, and names either

- a recording: `recording_id`, or `file` or `path`: as much of the end of its path as makes it the only one (a file that
  is cut into clips: all of them); or
- a machine and a span of time: `machine_type`, `machine_id` (and `site` where there is one), `from` and `until`, UTC
  times or dates; one of them may be empty. `from` is inside, `until` is not, unless it is a date: that day is inside.

Or it gives an `action` (ack, mute, note or repaired) and names a machine, with its `condition` where it has several;
`night`, `until` and `text` as the commands `humwatch alarms` take them, and `by`: who says so.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa

from humwatch.storage.errors import BadConfiguration
from humwatch.storage.label_imports import LABEL_ROWS, import_id, labels_path, put_labels, read_labels
from humwatch.storage.lake import Lake
from humwatch.tasks.frames import python_values
from humwatch.tasks.plan.actions import Action
from humwatch.tasks.plan.labels import labels_under
from humwatch.tasks.plan.new_actions import Plant, Said, checked, keep
from humwatch.tasks.plan.times import parse_time

_RECORDING = ("recording_id", "file", "path")
_MACHINE = ("site", "machine_type", "machine_id")
_SPAN = (*_MACHINE, "from", "until")
_OF_LABELS = (*_RECORDING, *_SPAN, "label", "note")
_OF_ACTIONS = (*_MACHINE, "condition", "action", "night", "until", "text", "by")
_COLUMNS = tuple(dict.fromkeys([*_OF_LABELS, *_OF_ACTIONS]))
_MOST_PROBLEMS_SHOWN = 10


@dataclass(frozen=True)
class LabelImport:
    """What an import did.

    Attributes:
        path: the table in the lake that holds the log's labels; None: it has none.
        added: whether this import added something; False: all was there, and nothing newer contradicts it.
        recordings: labels of rows that name a recording.
        spans: rows that name a machine and a span.
        changed: recordings of the lake whose label is another one now.
        actions: actions that this import added.
    """

    path: str | None
    added: bool
    recordings: int
    spans: int
    changed: int
    actions: int


@dataclass(frozen=True)
class Log:
    """The rows of a log, each checked: labels (schema `LABEL_ROWS`) and actions."""

    labels: pa.Table
    actions: list[Action] = field(default_factory=list)


def import_labels(lake: Lake, text: str, where: str, recordings: pd.DataFrame, by: str | None = None) -> LabelImport:
    """Keep a maintenance log; one that is there already adds nothing, unless its labels overrule later ones.

    Args:
        lake: where it is kept.
        text: CSV.
        where: its address, for messages.
        recordings: the lake's current recordings (`humwatch.tasks.plan.catalog.current_recordings`).
        by: who did what rows of actions do not say who did.

    Raises:
        BadConfiguration: a row is wrong or names what the lake does not know; nothing was imported.
    """
    plant = Plant(lake, recordings)
    log = read_log(text, where, recordings, plant, by)
    path, added, changed = _keep_labels(lake, log.labels, recordings) if log.labels.num_rows else (None, False, 0)
    new = keep(lake, log.actions, plant.actions)
    spans = log.labels["recording_id"].null_count
    return LabelImport(path, added or bool(new), log.labels.num_rows - spans, spans, changed, len(new))


def _keep_labels(lake: Lake, rows: pa.Table, recordings: pd.DataFrame) -> tuple[str, bool, int]:
    """Return where labels are kept, whether they were added, and how many recordings have another label now."""
    kept = read_labels(lake)
    overruled = pa.concat_tables([kept.select(rows.schema.names), rows])
    before, after = (labels_under(recordings, table).fillna("") for table in (kept, overruled))
    changed = int((before != after).sum())
    known = list(dict.fromkeys(kept["import_id"].to_pylist()))
    name = import_id(rows, None)
    if name in known and changed:
        name = import_id(rows, known[-1])
    # Later imports win, even if the clock of an earlier one was ahead.
    times = kept["imported_at"].to_pylist()
    now = max([datetime.now(UTC), *(moment + timedelta(microseconds=1) for moment in times[-1:])])
    return labels_path(name), name not in known and put_labels(lake, name, rows, now), changed


def read_log(text: str, where: str, recordings: pd.DataFrame, plant: Plant, by: str | None = None) -> Log:
    """Return a log's rows, each checked against the lake's recordings, and actions against `plant`, too.

    Raises:
        BadConfiguration: the header or a row is wrong; the message names the lines.
    """
    known = _Known(recordings)
    labels: list[dict[str, object]] = []
    actions: list[Action] = []
    problems: list[str] = []
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        reader.fieldnames = _checked_columns([column.strip() for column in reader.fieldnames or ()], where)
        for line in reader:
            try:
                cells = _cells(line)
                if "action" in cells:
                    actions.append(_action(cells, plant, by))
                else:
                    labels += _labels(cells, known)
            except ValueError as error:
                problems.append(f"line {reader.line_num}: {error}")
    except csv.Error as error:
        raise BadConfiguration(
            f"{where}, after line {reader.line_num}: is not CSV: {error}; nothing was imported"
        ) from error
    if not (labels or actions or problems):
        raise BadConfiguration(f"{where}: holds no rows")
    if problems:
        more = len(problems) - _MOST_PROBLEMS_SHOWN
        listed = "; ".join([*problems[:_MOST_PROBLEMS_SHOWN], *([f"and {more} more"] if more > 0 else [])])
        raise BadConfiguration(f"{where}: nothing was imported: {listed}")
    return Log(pa.Table.from_pylist(labels, schema=LABEL_ROWS), actions)


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
    if unknown or not {"label", "action"} & set(columns) or len(set(columns)) < len(columns):
        needs = "needs a column label or action, and each column once"
        problem = f"unknown columns {', '.join(unknown)}" if unknown else needs
        raise BadConfiguration(f"{where}, line 1: {problem}; known are {', '.join(_COLUMNS)}; nothing was imported")
    return columns


def _cells(line: Mapping[str | None, Any]) -> dict[str, str]:
    """Return the cells of a row that hold something."""
    if None in line or None in line.values():
        raise ValueError("has too many or too few cells")
    return {str(column): text.strip() for column, text in line.items() if text.strip()}


def _action(cells: Mapping[str, str], plant: Plant, by: str | None) -> Action:
    if others := cells.keys() - set(_OF_ACTIONS):
        raise ValueError(f"is an action, and has no {', '.join(sorted(others))}")
    if not ("machine_type" in cells and "machine_id" in cells):
        raise ValueError("names no machine (machine_type and machine_id)")
    machine = "/".join(cells[name] for name in (*_MACHINE, "condition") if name in cells)
    said = Said(
        action=cells["action"].lower(),
        machine=machine,
        by=cells.get("by", by),
        **{name: cells.get(name) for name in ("night", "until", "text")},
    )
    return checked(said, plant)


def _labels(cells: Mapping[str, str], known: _Known) -> list[dict[str, object]]:
    if others := cells.keys() - set(_OF_LABELS):
        raise ValueError(f"is a label, and has no {', '.join(sorted(others))}; an action has its name in action")
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
