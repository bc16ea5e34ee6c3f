"""`humwatch status`: what the lake says of every machine. Reads only; no run, no workers.

JSON: `command`, `lake`, `errors` and `machines`, a list of objects in a fixed order:

    site, machine_type, machine_id, condition    text; site and condition are null where there is none
    recordings    integer: current recordings
    rejected      integer: of them rejected
    pending       {"spectrograms": n, "features": n}: recordings, not rejected, that are not decoded, not embedded
    models        list: the current models under each representation, detector and seed of the settings, those of the
                  settings' own `fit.training` first, then of the other (nights and evaluations may share a lake):
                  {"backbone", "detector", "seed", "training", "version"}
    last_score    the newest recording scored under the key of the first of `models`, null when there is none: {"batch",
                  "decision", "file", "model_version", "recorded_at", "recording_id", "score", "threshold"}. The newest
                  is of the last batch by name, in it the last by time, else by file name.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa
from rich.markup import escape
from rich.table import Table

from storage.errors import LakeTooNew
from storage.keys import component_text
from storage.lake import FORMAT_VERSION, Lake
from storage.models import Machine, current_version
from storage.tables import SCORES, read_tables
from tasks.catalog import Catalog, by_machine
from tasks.detectors.fit import variants
from tasks.features.representations import parse
from tasks.work import Work

_TRAININGS = ("labelled", "assumed_normal")
_PLACE = ("site", "machine_type", "machine_id", "condition")
_LAST = ("batch", "decision", "file", "model_version", "recorded_at", "recording_id", "score", "threshold")
_SCORE_COLUMNS = pa.schema([SCORES.field(name) for name in dict.fromkeys((*_PLACE, *_LAST))])
# Pointers are tiny objects: on a remote store reading them is waiting.
_THREADS = 16


@dataclass(frozen=True)
class CurrentModel:
    """A machine's current model under one representation, detector, seed and kind of training."""

    backbone: str
    detector: str
    seed: int
    training: str
    version: str
    key: str


@dataclass(frozen=True)
class MachineStatus:
    """One machine; `last_score` is JSON values."""

    machine: Machine
    recordings: int
    rejected: int
    pending: dict[str, int]
    models: tuple[CurrentModel, ...]
    last_score: dict[str, Any] | None

    def as_json(self) -> dict[str, Any]:
        """Return JSON values, as the module says."""
        values = asdict(self)
        place = values.pop("machine")
        models = [{name: value for name, value in model.items() if name != "key"} for model in values["models"]]
        return {**{name: place[name] for name in _PLACE}, **values, "models": models}


def open_existing(uri: str) -> Lake:
    """Return a lake that is there, and write nothing.

    Raises:
        SourceNotFound: there is none.
        LakeTooNew: a newer Humwatch wrote it.
    """
    lake = Lake(uri)
    version = lake.read_json("lake.json")["format_version"]
    if version > FORMAT_VERSION:
        raise LakeTooNew(f"{uri} has format version {version}; this Humwatch knows up to {FORMAT_VERSION}: upgrade it")
    return lake


def under_each_training(work: Work) -> list[Work]:
    """Return the work as it is and as under the other `fit.training`: nights and evaluations share a lake."""
    fit = work.settings.fit
    trainings = sorted(_TRAININGS, key=lambda training: training != fit.training)
    fits = [fit.model_copy(update={"training": training}) for training in trainings]
    return [replace(work, settings=work.settings.model_copy(update={"fit": fit})) for fit in fits]


def machine_statuses(lake: Lake, work: Work) -> list[MachineStatus]:
    """Return the status of every machine in scope, in a fixed order."""
    catalog = work.catalog(lake).within(work.scope)
    machines = by_machine(catalog.recordings)
    pending = _pending(lake, catalog, work)
    with ThreadPoolExecutor(_THREADS) as threads:
        models = dict(zip(machines, threads.map(lambda machine: _models(lake, work, machine), machines), strict=True))
    last = _last_scores(lake, {machine: found[0] for machine, found in models.items() if found})
    return [
        MachineStatus(
            machine,
            recordings=len(rows),
            rejected=int((rows["status"] == "rejected").sum()),
            pending={stage: int(rows.index.isin(waiting).sum()) for stage, waiting in pending.items()},
            models=models[machine],
            last_score=last.get(machine),
        )
        for machine, rows in machines.items()
    ]


def status_table(machines: Sequence[MachineStatus]) -> Table:
    """Return a terminal's table, one line a machine."""
    table = Table(title=f"{len(machines)} machines", title_justify="left")
    table.add_column("machine")
    for heading in ("recordings", "rejected", "not decoded", "not embedded"):
        table.add_column(heading, justify="right")
    for heading in ("model", "last scored"):
        table.add_column(heading)
    for heading in ("score", "threshold"):
        table.add_column(heading, justify="right")
    table.add_column("decision")
    for status in machines:
        last = status.last_score or {}
        figures = [last[name] if last.get(name) is not None else None for name in ("score", "threshold")]
        table.add_row(
            escape(status.machine.label),
            *map(str, (status.recordings, status.rejected, *status.pending.values())),
            status.models[0].version if status.models else "none",
            last.get("recorded_at") or last.get("batch"),
            *("" if value is None else f"{value:.4g}" for value in figures),
            last.get("decision"),
        )
    return table


def _pending(lake: Lake, catalog: Catalog, work: Work) -> dict[str, pd.Index[Any]]:
    """Return the index of the recordings that are neither rejected nor through a stage."""
    rows = catalog.recordings
    keys = {work.embedding.key(found) for text in work.settings.features.backbones for found in parse(text)}
    embedded = [
        part_id
        for part_id in rows["part_id"].unique()
        if all(catalog.parts[part_id].store("features", key).is_complete(lake) for key in keys)
    ]
    waiting = rows[(rows["status"] != "rejected") & ~rows["part_id"].isin(embedded)]
    return {"spectrograms": rows.index[rows["status"] == "pending"], "features": waiting.index}


def _models(lake: Lake, work: Work, machine: Machine) -> tuple[CurrentModel, ...]:
    found = []
    for given in under_each_training(work):
        fit = given.settings.fit
        for variant in variants(given.settings.features.backbones, fit):
            key = variant.key(given.embedding, fit)
            if version := current_version(lake, key, machine):
                model = (variant.backbone, variant.detector, variant.seed, fit.training, version, key)
                found.append(CurrentModel(*model))
    return tuple(found)


def _last_scores(lake: Lake, models: dict[Machine, CurrentModel]) -> dict[Machine, dict[str, Any]]:
    """Return the newest score of every machine under its model's key; tables are read until each machine has one."""
    last: dict[Machine, dict[str, Any]] = {}
    for key in dict.fromkeys(model.key for model in models.values()):
        wanted = {machine: model.version for machine, model in models.items() if model.key == key}
        tables = lake.list(f"scores/{key}", ".parquet")
        for batch in sorted({_batch(path) for path in tables}, reverse=True):
            if not wanted:
                break
            types = {machine.machine_type for machine in wanted}
            paths = [path for path in tables if _batch(path) == batch and _machine_type(path) in types]
            scores: pd.DataFrame = read_tables(lake, paths, _SCORE_COLUMNS).to_pandas()
            scores = scores.sort_values(["recorded_at", "file", "recording_id"], na_position="first")
            for machine, rows in by_machine(scores).items():
                if machine in wanted:
                    # A recording scored by several models: the current one speaks.
                    current = rows[rows["model_version"] == wanted.pop(machine)]
                    last[machine] = _json_values((rows if current.empty else current).iloc[-1])
    return last


def _batch(score_table: str) -> str:
    return component_text(score_table.split("/")[3].removeprefix("batch="))


def _machine_type(score_table: str) -> str:
    return component_text(score_table.split("/")[2].removeprefix("machine_type="))


def _json_values(row: pd.Series[Any]) -> dict[str, Any]:
    values = {name: None if pd.isna(row[name]) else row[name] for name in _LAST}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}
