"""Which nights a run without a date is about: the newest, and those with something left to do."""

from __future__ import annotations

import pandas as pd

from humwatch.tasks.plan.catalog import by_machine
from humwatch.tasks.plan.presence import missing
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scope import Scope
from humwatch.tasks.plan.scores import scored_parts
from humwatch.tasks.plan.stores import features_of
from humwatch.tasks.plan.tonight import of_nights


def newest_night(run: Run) -> str | None:
    """Return the newest night with recordings of machines in scope, None without any."""
    nights = _rows(run)["batch"]
    return None if nights.empty else str(nights.max())


def open_nights(run: Run) -> frozenset[str]:
    """Return the newest night, and every other with a part that has no scores and could have.

    That is one that is not embedded (it arrived late, or a run was killed), or that holds a machine which has a model
    by now. A newer model opens no night again: for that, name the night. What is `set_apart` opens none.
    """
    history, rows = run.history(), _rows(run)
    nights = set(rows["batch"][rows["batch"] == rows["batch"].max()])
    unscored = {
        variant: rows[(rows["status"] != "rejected") & ~rows["part_id"].isin(scored_parts(run, variant))]
        for variant in run.variants
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
    rows = _of_machines(run)
    apart = rows[(rows["status"] != "rejected") & ~rows.index.isin(_rows(run).index)]
    return {str(batch): int(n) for batch, n in apart["batch"].value_counts().sort_index().items()}


def _rows(run: Run) -> pd.DataFrame:
    """Rows of the history: recordings of machines in scope on nights that have been."""
    return of_nights(_of_machines(run), run.now)


def _of_machines(run: Run) -> pd.DataFrame:
    return Scope(machines=run.scope.machines).recordings(run.history().rows)
