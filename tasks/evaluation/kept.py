"""The tables of an evaluation: made from the current scores, kept under a hash of what they were made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import NotComplete
from storage.keys import digest
from storage.lake import Lake, side_by_side
from storage.tables import SCORES, encode, read_tables
from tasks.detectors.roles import assign_roles
from tasks.evaluation import auc_table, calibration_table, comparisons_table, published, summary_table
from tasks.scoring.score import plan_scores
from tasks.work import Work


@dataclass(frozen=True)
class Evaluation:
    """A kept evaluation: the tables that a report publishes under these names."""

    auc: pd.DataFrame
    comparisons: pd.DataFrame
    calibration: pd.DataFrame
    published: pd.DataFrame
    summary: pd.DataFrame


_COLUMNS = {
    "auc": auc_table.COLUMNS,
    "comparisons": comparisons_table.COLUMNS,
    "calibration": calibration_table.COLUMNS,
    "published": published.COLUMNS,
    "summary": summary_table.COLUMNS,  # last: an evaluation is complete when its summary is there
}


def evaluate(lake: Lake, work: Work) -> str:
    """Evaluate the current scores of every machine in scope unless that is done already; return the evaluation's id.

    Raises:
        NotComplete: a part has not been scored by the current models.
    """
    settings = work.settings
    backbones, fit, evaluation = settings.features.backbones, settings.fit, settings.evaluation
    paths = score_paths(lake, work)
    assignments = assigned(lake, work)
    known = assignments[["recording_id", "seed", "role", "label"]].astype(object)
    contents = {
        "scores": paths,
        "recordings": known.where(known.notna(), None).to_numpy().tolist(),
        "grid": [backbones, fit.detectors, fit.seeds],
        "settings": evaluation.model_dump(mode="json"),
        "columns": {name: list(columns) for name, columns in _COLUMNS.items()},
    }
    evaluation_id = digest(contents, 12)
    if not lake.exists(_path(evaluation_id, "summary")):
        scores = _unheard(read_scores(lake, paths))
        models = {"backbones": backbones, "detectors": fit.detectors}
        auc = auc_table.auc_table(assignments, scores, evaluation, **models, seeds=fit.seeds)
        made = Evaluation(
            auc=auc,
            comparisons=comparisons_table.comparisons_table(
                assignments, scores, evaluation, list(product(backbones, fit.detectors))
            ),
            calibration=calibration_table.calibration_table(auc, fit.false_alarm_rate, evaluation.confidence),
            published=published.published_table(auc),
            summary=summary_table.summary_table(auc),
        )
        for name in _COLUMNS:
            table = pa.Table.from_pandas(getattr(made, name), preserve_index=False)
            lake.create(_path(evaluation_id, name), encode(table))
    return evaluation_id


def read_evaluation(lake: Lake, evaluation_id: str) -> Evaluation:
    """Return a kept evaluation."""
    return Evaluation(**{name: read_evaluated(lake, evaluation_id, name) for name in _COLUMNS})


def read_evaluated(lake: Lake, evaluation_id: str, name: str) -> pd.DataFrame:
    """Return one table of a kept evaluation, such as `auc`: those of earlier versions have not all of them."""
    table: pd.DataFrame = pq.read_table(pa.BufferReader(lake.read(_path(evaluation_id, name)))).to_pandas()
    return table


def score_paths(lake: Lake, work: Work) -> list[str]:
    """Return the score tables of the current models.

    Raises:
        NotComplete: one of them is not there.
    """
    paths = [unit.path for unit in plan_scores(lake, work)]
    missing = [path for path, there in zip(paths, side_by_side(lake.exists, paths), strict=True) if not there]
    if missing:
        raise NotComplete(f"{len(missing)} of {len(paths)} score tables are missing: run `humwatch score` first")
    return paths


def read_scores(lake: Lake, paths: Sequence[str]) -> pd.DataFrame:
    """Return score tables as one frame."""
    scores: pd.DataFrame = read_tables(lake, paths, SCORES).to_pandas()
    return scores


def compare(lake: Lake, works: Sequence[Work]) -> pd.DataFrame:
    """Compare the models of several evaluations of the same recordings, splits and seeds, as one evaluation its own.

    Raises:
        NotComplete: a part has not been scored by the current models.
    """
    scores: dict[comparisons_table.Model, pd.DataFrame] = {}
    for work in works:
        of_work = _unheard(read_scores(lake, score_paths(lake, work)))
        for (backbone, detector), rows in of_work.groupby(["backbone", "detector"]):
            scores.setdefault((str(backbone), str(detector)), rows)  # what two of them name is that of the first
    assignments, settings = assigned(lake, works[0]), works[0].settings.evaluation
    return comparisons_table.comparisons_table(
        assignments, pd.concat(scores.values(), ignore_index=True), settings, list(scores)
    )


def assigned(lake: Lake, work: Work) -> pd.DataFrame:
    """Return every accepted recording in scope with its role under every seed."""
    catalog, fit = work.catalog(lake), work.settings.fit
    roles = [catalog.accepted.assign(seed=seed).join(assign_roles(catalog.roled, fit, seed)) for seed in fit.seeds]
    return work.scope.recordings(pd.concat(roles, ignore_index=True))


def _unheard(scores: pd.DataFrame) -> pd.DataFrame:
    """After a rollback a test recording may be one its model was trained on: that score says nothing."""
    scores.loc[scores["in_training"], "score"] = float("nan")
    return scores


def _path(evaluation_id: str, name: str) -> str:
    return f"evaluations/{evaluation_id}/{name}.parquet"
