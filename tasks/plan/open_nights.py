"""Which nights a run without a date is about: the newest, and those with something left to do."""

from __future__ import annotations

import pandas as pd

from humwatch.storage.parts import list_parts
from humwatch.tasks.plan.catalog import by_machine
from humwatch.tasks.plan.presence import missing
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scope import Scope
from humwatch.tasks.plan.scores import scored_parts
from humwatch.tasks.plan.stores import features_of
from humwatch.tasks.plan.tonight import of_nights


def newest_night(run: Run) -> str | None:
    """Return the newest night with recordings of machines in scope, None without any."""
    batches = of_nights(_batches(run), run.now)["batch"]
    for night in sorted(batches, reverse=True):
        if len(_rows(run, frozenset({night}))):
            return str(night)
    return None


def open_nights(run: Run) -> frozenset[str]:
    """Return the newest night, and every other with a part that has no scores and could have.

    That is one that is not embedded (it arrived late, or a run was killed), or that holds a machine which has a model
    by now. A newer model opens no night again: for that, name the night. What is `set_apart` opens none.
    """
    newest = newest_night(run)
    nights = {newest} if newest else set()
    scored = {variant: scored_parts(run, variant) for variant in run.variants}
    history = run.history_of(
        frozenset(
            part.batch for part in list_parts(run.lake) if any(part.part_id not in done for done in scored.values())
        )
    )
    rows = of_nights(Scope(machines=run.scope.machines).recordings(history.rows), run.now)
    unscored = {
        variant: rows[(rows["status"] != "rejected") & ~rows["part_id"].isin(done)] for variant, done in scored.items()
    }
    part_ids = sorted({part_id for left in unscored.values() for part_id in left["part_id"]})
    features = features_of(run, [history.parts[part_id] for part_id in part_ids])
    nights |= {store.part.batch for store in missing(run.lake, features)}
    for variant, left in unscored.items():
        machines = by_machine(left)
        for machine in run.current_versions(run.model_key(variant), machines):
            nights |= set(machines[machine]["batch"])
    return frozenset(nights)


def set_apart(run: Run) -> dict[str, int]:
    """Return the batches of machines in scope that are no nights, or of nights to come, and their good recordings."""
    batches = _batches(run)
    apart_from = batches["batch"][~batches["batch"].isin(of_nights(batches, run.now)["batch"])]
    if apart_from.empty:
        return {}
    rows = _rows(run, frozenset(apart_from))
    apart = rows[rows["status"] != "rejected"]
    return {str(batch): int(n) for batch, n in apart["batch"].value_counts().sort_index().items()}


def _batches(run: Run) -> pd.DataFrame:
    """Return the batches that the lake has parts of: column batch."""
    return pd.DataFrame({"batch": sorted({part.batch for part in list_parts(run.lake)})}, dtype=object)


def _rows(run: Run, batches: frozenset[str]) -> pd.DataFrame:
    """Rows of the history: recordings of machines in scope of some batches."""
    return Scope(batches, run.scope.machines).recordings(run.history_of(batches).rows)
