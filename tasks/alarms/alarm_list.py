"""What a night's report publishes of the alarms."""

from __future__ import annotations

import json

import pandas as pd

from humwatch.storage.tables import MACHINE_NIGHTS
from humwatch.tasks.frames import rows_of


def alarms_of(machines: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a night whose alarm stands, new alarms first, then by evidence and p-value."""
    standing = machines[machines["alarm_since"].notna()]
    order = ["new_alarm", "alarm_since", "p_value"]
    return standing.sort_values(order, ascending=[False, False, True], kind="stable", ignore_index=True)


def alarms_json(alarms: pd.DataFrame) -> bytes:
    """Return alarms as a JSON list of objects; what is empty is null."""
    return json.dumps(rows_of(alarms[MACHINE_NIGHTS.names]), indent=1).encode()
