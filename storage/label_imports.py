"""Labels given after the fact (a maintenance log): one immutable table an import, `labels/<digest>.parquet`."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa

from humwatch.storage.lake import Lake
from humwatch.storage.naming import digest
from humwatch.storage.tables import create_table, read_tables

_TEXT = pa.string()
_TIME = pa.timestamp("us", tz="UTC")

LABEL_ROWS = pa.schema(
    [
        ("recording_id", _TEXT),  # of one recording; null where the row speaks of a span
        ("site", _TEXT),
        ("machine_type", _TEXT),
        ("machine_id", _TEXT),
        ("from", _TIME),  # a span is from <= time < until; null: open at that end
        ("until", _TIME),
        ("label", _TEXT),
        ("note", _TEXT),
    ]
)
LABELS = pa.schema([*LABEL_ROWS, ("import_id", _TEXT), ("imported_at", _TIME)])


def import_id(rows: pa.Table, after: str | None) -> str:
    """Return the name of an import of `rows` (schema `LABEL_ROWS`); `after` is the import that it must overrule."""
    contents = [[str(value) if isinstance(value, datetime) else value for value in row.values()]
                for row in rows.to_pylist()]  # fmt: skip
    return digest({"rows": contents, "after": after}, 16)


def put_labels(lake: Lake, name: str, rows: pa.Table, imported_at: datetime) -> bool:
    """Keep an import; False when another writer has kept it already."""
    size = rows.num_rows
    columns = [pa.array([name] * size, _TEXT), pa.array([imported_at] * size, _TIME)]
    return create_table(lake, labels_path(name), pa.table([*rows.columns, *columns], schema=LABELS))


def read_labels(lake: Lake) -> pa.Table:
    """Return the rows of every import, oldest import first, each import's in its own order."""
    tables = read_tables(lake, lake.list("labels", ".parquet"), LABELS)
    return tables.sort_by([("imported_at", "ascending"), ("import_id", "ascending")])  # stable


def labels_path(name: str) -> str:
    """Return where an import is kept."""
    return f"labels/{name}.parquet"
