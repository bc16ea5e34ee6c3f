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
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa
from rich.markup import escape
from rich.table import Table

from humwatch.storage.errors import LakeTooNew
from humwatch.storage.lake import FORMAT_VERSION, Lake, map_concurrently
from humwatch.storage.models import Machine, current_version
from humwatch.storage.naming import component_text
from humwatch.storage.tables import SCORES, read_tables
from humwatch.tasks.plan.catalog import by_machine
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.waiting import waiting

_PLACE = ("site", "machine_type", "machine_id", "condition")
_LAST = ("batch", "decision", "file", "model_version", "recorded_at", "recording_id", "score", "threshold")
_SCORE_COLUMNS = pa.schema([SCORES.field(name) for name in dict.fromkeys((*_PLACE, *_LAST))])


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


def machine_statuses(run: Run) -> list[MachineStatus]:
    """Return the status of every machine in scope, in a fixed order."""
    catalog = run.catalog().restricted_to(run.scope)
    machines = by_machine(catalog.recordings)
    waiting_for = waiting(run)
    current = map_concurrently(lambda machine: _models(run, machine), machines)
    models = dict(zip(machines, current, strict=True))
    last = _last_scores(run.lake, {machine: current[0] for machine, current in models.items() if current})
    return [
        MachineStatus(
            machine,
            recordings=len(rows),
            rejected=int((rows["status"] == "rejected").sum()),
            pending={stage: int(rows.index.isin(waiting_for[stage]).sum()) for stage in ("spectrograms", "features")},
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


def _models(run: Run, machine: Machine) -> tuple[CurrentModel, ...]:
    models = []
    for given in run.under_each_training():
        for variant in given.variants:
            key = given.model_key(variant)
            if version := current_version(run.lake, key, machine):
                training = given.settings.fit.training
                model = (variant.backbone, variant.detector, variant.seed, training, version, key)
                models.append(CurrentModel(*model))
    return tuple(models)


def _last_scores(lake: Lake, models: dict[Machine, CurrentModel]) -> dict[Machine, dict[str, Any]]:
    """Return the newest score of every machine under its model's key; tables are read until each machine has one."""
    last: dict[Machine, dict[str, Any]] = {}
    for key in dict.fromkeys(model.key for model in models.values()):
        awaited = {machine: model.version for machine, model in models.items() if model.key == key}
        tables = lake.list(f"scores/{key}", ".parquet")
        for batch in sorted({_batch(path) for path in tables}, reverse=True):
            if not awaited:
                break
            types = {machine.machine_type for machine in awaited}
            paths = [path for path in tables if _batch(path) == batch and _machine_type(path) in types]
            scores: pd.DataFrame = read_tables(lake, paths, _SCORE_COLUMNS).to_pandas()
            scores = scores.sort_values(["recorded_at", "file", "recording_id"], na_position="first")
            for machine, rows in by_machine(scores).items():
                if machine in awaited:
                    # A recording scored by several models: the current one speaks.
                    current = rows[rows["model_version"] == awaited.pop(machine)]
                    last[machine] = _json_values((rows if current.empty else current).iloc[-1])
    return last


def _batch(score_table: str) -> str:
    return component_text(score_table.split("/")[3].removeprefix("batch="))


def _machine_type(score_table: str) -> str:
    return component_text(score_table.split("/")[2].removeprefix("machine_type="))


def _json_values(row: pd.Series[Any]) -> dict[str, Any]:
    values = {name: None if pd.isna(row[name]) else row[name] for name in _LAST}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}
