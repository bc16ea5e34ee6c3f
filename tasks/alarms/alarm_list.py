"""What a night says of alarms: whom to tell of, and what its report publishes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from humwatch.storage.tables import MACHINE, MACHINE_NIGHTS
from humwatch.tasks.frames import rows_of
from humwatch.tasks.plan.actions import ACTION_COLUMNS, Actions
from humwatch.tasks.plan.catalog import machine_of


def is_news(row: Mapping[str, Any], actions: Actions) -> bool:
    """Whether people are to be told of a machine's alarm on a night (a row of `MACHINE_NIGHTS`), once.

    Of a new alarm, unless the machine is muted; when that is over, of an alarm that was raised meanwhile, still stands
    and was acknowledged by nobody.
    """
    machine, night, since = machine_of(row[name] for name in MACHINE), row["night"], row["alarm_since"]
    if since is None or actions.mute(machine, night):
        return False
    untold = actions.was_muted(machine, since) and not actions.acknowledgement(machine, since, night)
    return bool(row["new_alarm"]) or untold


def alarms_of(machines: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a night whose alarm stands: those that nobody has acknowledged before the others, in each new
    alarms first, then by evidence and p-value.

    Args:
        machines: columns of `MACHINE_NIGHTS` and `ACTION_COLUMNS`.
    """
    standing = machines[machines["alarm_since"].notna()]
    standing = standing.assign(known=standing["acknowledged_by"].notna())
    order = ["known", "new_alarm", "alarm_since", "p_value"]
    ordered = standing.sort_values(order, ascending=[True, False, False, True], kind="stable", ignore_index=True)
    return ordered.drop(columns="known")


def alarms_json(alarms: pd.DataFrame) -> bytes:
    """Return alarms as a JSON list of objects; what is empty is null."""
    return json.dumps(rows_of(alarms[[*MACHINE_NIGHTS.names, *ACTION_COLUMNS]]), indent=1).encode()
