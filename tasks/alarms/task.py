"""The alarms stage: judge the night, keep its rows, tell Prefect of each new alarm once."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

import pandas as pd
from prefect.events import emit_event

from storage.keys import digest, path_component
from storage.lake import Lake
from storage.tables import MACHINE_NIGHTS, read_tables
from tasks.alarms.nights import judge_night, newest_tables, night_of, nights_key, variants_of
from tasks.catalog import MACHINE, machine_of
from tasks.task import stage
from tasks.work import Work

EVENT = "humwatch.alarm.raised"
_PAYLOAD = (
    "site", "machine_type", "machine_id", "condition", "backbone", "detector", "night", "onset", "statistic", "p_value",
    "evidence", "level_alarm", "model_version",
)  # fmt: skip


@stage("alarms")
def judge_nights(work: Work) -> int:
    """Judge the night in scope and those before it that were not; return how many new alarms Prefect was told of.

    A run on a part of the machines judges nothing: an alarm is a matter of the whole fleet.
    """
    night = night_of(work.scope)
    if night is None or work.scope.machines is not None:
        return 0
    lake = work.open_lake()
    catalog = Work(work.lake_uri, work.settings).catalog(lake)  # the level of the nights that trained the models, too
    raised = 0
    for variant in variants_of(work):
        key = nights_key(work, variant)
        made = judge_night(lake, work, catalog, variant, night)
        # also a table that is there: a run that was killed may have kept it and said nothing
        tables = {*made, newest_tables(lake, key)[night]}
        rows = read_tables(lake, sorted(tables), MACHINE_NIGHTS).to_pandas()
        raised += sum(_tell(lake, key, row) for row in _records(rows[rows["new_alarm"]]))
    return raised


def _tell(lake: Lake, key: str, row: dict[str, Any]) -> bool:
    """Emit the event of a new alarm unless that was done; its id is the same should two runs do it at once."""
    machine = machine_of(row[name] for name in MACHINE)
    mark = f"nights/{key}/raised/{row['night']}-{digest(machine.path)}.json"
    if lake.exists(mark):
        return False
    emitted = emit_event(
        EVENT,
        resource={
            "prefect.resource.id": f"humwatch.machine.{machine.path.replace('/', '.')}",
            "prefect.resource.name": machine.label,
        },
        payload={name: row[name] for name in _PAYLOAD},
        id=uuid.uuid5(uuid.NAMESPACE_URL, f"{path_component(lake.uri)}/{mark}"),
    )
    return emitted is not None and lake.create(mark, b"{}")  # without the mark a later run of the night tries again


def _records(rows: pd.DataFrame) -> Iterable[dict[str, Any]]:
    return rows.astype(object).where(rows.notna(), None).to_dict("records")  # type: ignore[return-value]
