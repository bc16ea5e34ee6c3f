"""What people did about alarms: one immutable table a command or import, `actions/<digest>.parquet`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from humwatch.storage.lake import Lake
from humwatch.storage.naming import digest
from humwatch.storage.tables import create_table, read_tables

_TEXT = pa.string()

ACTIONS = pa.schema(
    [
        ("action_id", _TEXT),
        ("action", _TEXT),  # ack, mute, note, repaired or undo
        ("site", _TEXT),
        ("machine_type", _TEXT),
        ("machine_id", _TEXT),
        ("condition", _TEXT),
        ("night", _TEXT),  # from which on it counts
        ("until", _TEXT),  # of a mute: its last night
        ("undoes", _TEXT),  # of an undo: the action_id that it withdraws
        ("text", _TEXT),
        ("by", _TEXT),
        ("at", pa.timestamp("us", tz="UTC")),
    ]
)


def put_actions(lake: Lake, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Keep rows of `ACTIONS`; False when another writer has kept the same already."""
    path = f"actions/{digest([row['action_id'] for row in rows], 16)}.parquet"
    return create_table(lake, path, pa.Table.from_pylist(list(rows), schema=ACTIONS))


def read_actions(lake: Lake) -> list[dict[str, Any]]:
    """Return every row kept, oldest first; of two writers of one row the first counts."""
    tables = read_tables(lake, lake.list("actions", ".parquet"), ACTIONS)
    rows = tables.sort_by([("at", "ascending"), ("action_id", "ascending")]).to_pylist()
    return list({row["action_id"]: row for row in reversed(rows)}.values())[::-1]
