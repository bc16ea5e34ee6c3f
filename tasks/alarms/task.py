"""The alarms stage: judge the night, keep its rows, tell Prefect of each new alarm that is not muted once."""

from __future__ import annotations

import uuid
from typing import Any

from humwatch.storage.lake import Lake
from humwatch.storage.naming import digest, path_component
from humwatch.storage.tables import MACHINE, MACHINE_NIGHTS, read_tables
from humwatch.tasks.alarms.alarm_list import is_news
from humwatch.tasks.alarms.judge import judge_night
from humwatch.tasks.execution.stage import stage
from humwatch.tasks.frames import rows_of
from humwatch.tasks.plan.actions import Actions
from humwatch.tasks.plan.catalog import machine_of
from humwatch.tasks.plan.night_tables import newest_tables, night_of
from humwatch.tasks.plan.run import Run

EVENT = "humwatch.alarm.raised"
_PAYLOAD = (
    "site", "machine_type", "machine_id", "condition", "backbone", "detector", "night", "alarm_since", "onset",
    "statistic", "p_value", "evidence", "level_alarm", "model_version",
)  # fmt: skip


@stage("alarms")
def judge_nights(run: Run) -> int:
    """Judge the night in scope and those before it that were not; return how many new alarms Prefect was told of.

    A run on a part of the machines judges nothing: an alarm is a matter of the whole fleet.
    """
    night = night_of(run.scope)
    if night is None or run.scope.machines is not None:
        return 0
    lake = run.lake
    actions = Actions.read(lake)
    raised = 0
    for variant in run.variants:
        key = run.nights_key(variant)
        made = judge_night(run, variant, night)
        # also a table that is there: a run that was killed may have kept it and said nothing
        tables = {*made, newest_tables(lake, key)[night]}
        rows = read_tables(lake, sorted(tables), MACHINE_NIGHTS).to_pandas()
        raised += sum(_tell(lake, key, row) for row in rows_of(rows) if is_news(row, actions))
    return raised


def _tell(lake: Lake, key: str, row: dict[str, Any]) -> bool:
    """Emit the event of an alarm unless that was done."""
    machine = machine_of(row[name] for name in MACHINE)
    mark = f"nights/{key}/raised/{row['alarm_since']}-{digest(machine.path)}.json"
    resource = {
        "prefect.resource.id": f"humwatch.machine.{machine.path.replace('/', '.')}",
        "prefect.resource.name": machine.label,
    }
    return emit_once(lake, mark, EVENT, resource, {name: row[name] for name in _PAYLOAD})


def emit_once(lake: Lake, mark: str, event: str, resource: dict[str, str], payload: dict[str, Any]) -> bool:
    """Emit an event unless its mark is in the lake; its id is the same should two runs do it at once."""
    if lake.exists(mark):
        return False
    lake.about_to_write()
    from prefect.events import emit_event  # noqa: PLC0415 - a look into a lake with nothing to tell needs no Prefect

    event_id = uuid.uuid5(uuid.NAMESPACE_URL, f"{path_component(lake.uri)}/{mark}")
    emitted = emit_event(event, resource=resource, payload=payload, id=event_id)
    return emitted is not None and lake.create(mark, b"{}")  # without the mark a later run tries again
