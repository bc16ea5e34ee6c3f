"""Which evaluation should be in a lake: named by the scores, the recordings' roles and the settings it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from humwatch.storage.naming import digest
from humwatch.tasks.frames import python_values
from humwatch.tasks.plan.roles import assign_roles
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scores import score_paths

LAST_TABLE = "summary"
"""An evaluation is complete when this table is there."""


@dataclass(frozen=True)
class ExpectedEvaluation:
    """What an evaluation rests on: `score_paths`, and every accepted recording in scope with its role by seed."""

    evaluation_id: str
    score_paths: list[str]
    assignments: pd.DataFrame

    @property
    def mark_path(self) -> str:
        """The table that is written last."""
        return table_path(self.evaluation_id, LAST_TABLE)


def expected_evaluation(run: Run, columns: Mapping[str, Iterable[str]]) -> ExpectedEvaluation:
    """Return the evaluation of the current scores of every machine in scope.

    Args:
        run: the settings and the scope.
        columns: the columns of each table, by its name: other columns are another evaluation.

    Raises:
        NotComplete: a part has not been scored by the current models.
    """
    settings, paths, assignments = run.settings, score_paths(run), assigned(run)
    contents = {
        "scores": paths,
        "recordings": python_values(assignments[["recording_id", "seed", "role", "label"]]).to_numpy().tolist(),
        "grid": [settings.features.backbones, settings.fit.detectors, settings.fit.seeds],
        "settings": settings.evaluation.model_dump(mode="json"),
        "columns": {name: list(names) for name, names in columns.items()},
    }
    return ExpectedEvaluation(digest(contents, 12), paths, assignments)


def assigned(run: Run) -> pd.DataFrame:
    """Return every accepted recording in scope with its role under every seed."""
    catalog, fit = run.catalog(), run.settings.fit
    roles = [
        catalog.accepted.assign(seed=seed, role=assign_roles(catalog.accepted, fit, seed, catalog.history.nights))
        for seed in fit.seeds
    ]
    return run.scope.recordings(pd.concat(roles, ignore_index=True))


def table_path(evaluation_id: str, name: str) -> str:
    """Return where a table of an evaluation is."""
    return f"evaluations/{evaluation_id}/{name}.parquet"
