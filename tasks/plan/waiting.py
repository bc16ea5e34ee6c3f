"""What is missing of the recordings in scope, stage by stage: what `status` counts and a backfill's plan prints."""

from __future__ import annotations

from typing import Any

import pandas as pd

from humwatch.tasks.plan.catalog import by_machine
from humwatch.tasks.plan.presence import missing
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scores import expected_scores
from humwatch.tasks.plan.stores import expected_spectrograms, features_of


def waiting(run: Run) -> dict[str, pd.Index[Any]]:
    """Return for each stage before models the index, in the catalog, of the recordings in scope that wait for it.

    `spectrograms`: not decoded yet. `features`: not rejected, and not embedded in every representation.
    """
    recordings = run.scope.recordings(run.catalog().recordings)
    good = recordings[recordings["status"] != "rejected"]
    stores = missing(run.lake, features_of(run, [store.part for store in expected_spectrograms(run)]))
    unembedded = good[good["part_id"].isin({store.part.part_id for store in stores})]
    return {
        "spectrograms": recordings.index[recordings["status"] == "pending"],
        "features": unembedded.index,
    }


def waiting_for_scores(run: Run) -> pd.Index[Any]:
    """Return the index of the recordings in scope, of machines with a model, that its current one has not scored."""
    unembedded = run.catalog().recordings.loc[waiting(run)["features"]]
    machines = by_machine(unembedded)
    unscored = {
        index
        for variant in run.variants
        for machine in run.current_versions(run.model_key(variant), machines)
        for index in machines[machine].index
    }
    for unit in missing(run.lake, expected_scores(run)):
        of_machine = by_machine(unit.recordings)
        unscored.update(index for machine in unit.versions for index in of_machine[machine].index)
    index: pd.Index[Any] = pd.Index(sorted(unscored))
    return index


def waiting_by_night(run: Run) -> dict[str, dict[str, int]]:
    """Return how many recordings of each night in scope wait for each stage."""
    batch = run.catalog().recordings["batch"]
    indices = {**waiting(run), "score": waiting_for_scores(run)}
    counts = {stage: batch[index].value_counts() for stage, index in indices.items()}
    nights = sorted(run.scope.batches or batch.unique())
    return {night: {stage: int(count.get(night, 0)) for stage, count in counts.items()} for night in nights}
