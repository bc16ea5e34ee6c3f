"""Which nights a run without a date is about: the newest, and those with something left to do."""

from __future__ import annotations

import pandas as pd

from storage.lake import Lake, side_by_side
from storage.models import current_versions
from tasks.catalog import Catalog, by_machine
from tasks.detectors.fit import variants
from tasks.features.representations import parse
from tasks.scope import Scope
from tasks.work import Work


def newest_night(lake: Lake, work: Work) -> str | None:
    """Return the newest batch with recordings of machines in scope, None without any."""
    batches = _history(lake, work)[1]["batch"]
    return None if batches.empty else str(batches.max())


def open_nights(lake: Lake, work: Work) -> frozenset[str]:
    """Return the newest batch, and every other with a part that has no scores and could have.

    That is one that is not embedded (it arrived late, or a run was killed), or that holds a machine which has a model
    by now. A newer model opens no night again: for that, name the night.
    """
    catalog, history = _history(lake, work)
    nights = set(history["batch"][history["batch"] == history["batch"].max()])
    embedding, backbones = work.embedding, work.settings.features.backbones
    features = sorted({embedding.key(found) for text in backbones for found in parse(text)})
    unscored = {
        key: _unscored(lake, key, history)
        for key in (variant.key(embedding, work.settings.fit) for variant in variants(backbones, work.settings.fit))
    }
    part_ids = sorted({part_id for rows in unscored.values() for part_id in rows["part_id"]})
    parts = [catalog.parts[part_id] for part_id in part_ids]
    embedded = side_by_side(lambda part: all(part.store("features", key).is_complete(lake) for key in features), parts)
    nights |= {part.batch for part, done in zip(parts, embedded, strict=True) if not done}
    for key, rows in unscored.items():
        machines = by_machine(rows)
        for machine in current_versions(lake, key, machines):
            nights |= set(machines[machine]["batch"])
    return frozenset(nights)


def _history(lake: Lake, work: Work) -> tuple[Catalog, pd.DataFrame]:
    catalog = work.history(lake)
    return catalog, Scope(machines=work.scope.machines).recordings(catalog.history)


def _unscored(lake: Lake, key: str, history: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that can be scored, or may prove so, in parts without any scores under a key."""
    scored = {path.rpartition("/")[2].partition("-")[0] for path in lake.list(f"scores/{key}", ".parquet")}
    return history[(history["status"] != "rejected") & ~history["part_id"].isin(scored)]
