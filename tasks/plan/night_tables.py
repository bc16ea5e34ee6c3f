"""The nights of a fleet in the lake: which were judged, and where their rows are.

A night's rows are kept once, as `nights/<key>/<night>/<number>-<hash of what they rest on>.parquet`. When that changes
(late recordings, labels, another model) a table with the next number counts. Later nights read earlier ones from these
small tables, never from their scores.
"""

from __future__ import annotations

import pandas as pd

from humwatch.storage.lake import Lake, map_concurrently
from humwatch.storage.naming import digest
from humwatch.storage.tables import MACHINE_NIGHTS, read_table, read_tables
from humwatch.tasks.plan.actions import Actions
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scope import Scope, is_date


def night_of(scope: Scope) -> str | None:
    """Return the one night that a scope is about; None when it is none, or several, or has no date."""
    if scope.batches is None or len(scope.batches) != 1:
        return None
    (batch,) = scope.batches
    return batch if is_date(batch) else None


def newest_tables(lake: Lake, key: str) -> dict[str, str]:
    """Return the path of the table that counts for each night."""
    return {path.split("/")[2]: path for path in lake.list(f"nights/{key}", ".parquet")}  # sorted: the last stays


def table_path(key: str, night: str, kept: str | None, contents: object) -> str:
    """Return the table of a night that rests on `contents`: the one `kept` if it rests on the same, else the next."""
    name = digest(contents, 12)
    if kept is not None and kept.endswith(f"-{name}.parquet"):
        return kept
    number = 0 if kept is None else int(kept.rpartition("/")[2].partition("-")[0]) + 1
    return f"nights/{key}/{night}/{number:03d}-{name}.parquet"


def read_night(run: Run) -> pd.DataFrame | None:
    """Return the rows of the night in scope as it was judged last, of all variants; None when it never was.

    Rows are those of `MACHINE_NIGHTS` with what people say of them now (`humwatch.tasks.plan.actions.ACTION_COLUMNS`).
    """
    night = night_of(run.scope)
    tables = [newest_tables(run.lake, run.nights_key(variant)) for variant in run.variants]
    paths = [table[night] for table in tables if night in table]
    if not paths:
        return None
    rows = Scope(machines=run.scope.machines).recordings(read_tables(run.lake, paths, MACHINE_NIGHTS).to_pandas())
    return Actions.read(run.lake).beside(rows)


def read_nights(run: Run, most: int) -> pd.DataFrame:
    """Return the rows of the night in scope and of up to `most` - 1 nights before it, of all variants.

    As those of `read_night`.
    """
    night = night_of(run.scope)
    tables = [newest_tables(run.lake, run.nights_key(variant)) for variant in run.variants]
    kept = [sorted(name for name in table if night is not None and name <= night)[-most:] for table in tables]
    paths = [table[name] for table, names in zip(tables, kept, strict=True) for name in names]
    rows = pd.concat(map_concurrently(lambda path: read_table(run.lake, path, MACHINE_NIGHTS).to_pandas(), paths))
    return Actions.read(run.lake).beside(Scope(machines=run.scope.machines).recordings(rows))
