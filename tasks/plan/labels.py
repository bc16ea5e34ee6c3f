"""The labels that maintenance logs have given, applied whenever the lake's recordings are looked at.

A label on a recording beats one on a span, a later import an earlier one, a later row one before it, and all of them
what the recording's name says. A recording whose time is unknown is inside a span when any of its batch's day is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from humwatch.storage.label_imports import read_labels
from humwatch.storage.lake import Lake

_MACHINE = ("site", "machine_type", "machine_id")
# A time is an instant in whole microseconds; a batch's day is all of it.
_INSTANT, _DAY = pd.Timedelta(1, "us"), pd.Timedelta(1, "D")


def apply_labels(recordings: pd.DataFrame, lake: Lake) -> pd.DataFrame:
    """Return `recordings` with the labels that imports have given them.

    Args:
        recordings: columns recording_id, site, machine_type, machine_id, batch, recorded_at and label.
        lake: the lake that holds the imports.
    """
    labels = read_labels(lake)
    return recordings.assign(label=labels_under(recordings, labels)) if labels.num_rows else recordings


def labels_under(recordings: pd.DataFrame, rows: pa.Table) -> pd.Series[str]:
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
