"""`humwatch status`: what the lake says of every machine. Reads only; no run, no workers.

JSON: `command`, `lake`, `errors`, `nights` and `machines`. `nights` is null where the lake has none, else an object:

    tonight, expected, newest    text, dates: the night by the clock, the oldest that the newest night may be (null
                                 where ingest.expect_within_nights is unset), the newest that is there
    nights_old, overdue          integer, how many nights before tonight the newest was; whether that is too many
    judged                       text, date: the newest night that was judged; null where none was, and so are the next
    states                       object: machines in each state on that night
    can_alarm                    integer: machines that have a level of an alarm
    why_no_alarm                 text: why no machine could have been in alarm on that night; null where one could

`machines` is a list of objects in a fixed order:

    site, machine_type, machine_id, condition    text; site and condition are null where there is none
    recordings    integer: current recordings
    rejected      integer: of them rejected
    pending       {"spectrograms": n, "features": n}: recordings, not rejected, that are not decoded, not embedded
    models        list: the current models under each representation, detector and seed of the settings, those of the
                  settings' own `fit.training` first, then of the other (nights and evaluations may share a lake):
                  {"backbone", "detector", "seed", "training", "version"}
    state         of the newest judged night, and the reason for it in words (`state_reason`); null where there is none
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
from humwatch.tasks.plan.open_nights import newest_night
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.tonight import Arrival, arrival_of
from humwatch.tasks.plan.waiting import waiting
from humwatch.tasks.reports.night.night_state import NightState, newest_judged

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
    state: str | None = None
    state_reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return JSON values, as the module says."""
        values = asdict(self)
        place = values.pop("machine")
        models = [{name: value for name, value in model.items() if name != "key"} for model in values["models"]]
        return {**{name: place[name] for name in _PLACE}, **values, "models": models}


@dataclass(frozen=True)
class NightsStatus:
    """How old the newest night is, and the newest that was judged; None where none was."""

    arrival: Arrival
    judged: NightState | None

    def as_json(self) -> dict[str, Any]:
        """Return JSON values, as the module says."""
        night = self.judged
        return {
            **self.arrival.as_json(),
            "judged": night.night if night else None,
            "states": night.machines if night else None,
            "can_alarm": night.can_alarm if night else None,
            "why_no_alarm": night.why_no_alarm if night else None,
        }

    def told(self) -> list[str]:
        """Return sentences: that no night was judged or no alarm can be, that the newest is old, else what it is."""
        said = [self.arrival.told]
        if self.judged is None:
            said.append("no night was judged under these settings: `humwatch nightly` does")
        elif why := self.judged.why_no_alarm:
            said.append(why)
        return said


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


def nights_status(run: Run) -> NightsStatus | None:
    """Return the status of the nights of the machines in scope; None where the lake has none."""
    newest = newest_night(run)
    if newest is None:
        return None
    judged = newest_judged(run.under("assumed_normal"))
    return NightsStatus(arrival_of(newest, run.settings.ingest, run.now), judged)


def machine_statuses(run: Run, judged: NightState | None = None) -> list[MachineStatus]:
    """Return the status of every machine in scope, in a fixed order, with its state of the night judged."""
    states = judged.of_machines if judged else {}
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
            state=states.get(machine.label, (None, None))[0],
            state_reason=states.get(machine.label, (None, None))[1],
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
    table.add_column("state")
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
            status.state,
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
