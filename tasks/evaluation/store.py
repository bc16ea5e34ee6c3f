"""The tables of an evaluation: made from the current scores, kept under a hash of what they were made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import pandas as pd
import pyarrow as pa

from humwatch.storage.lake import Lake, map_concurrently
from humwatch.storage.tables import SCORES, create_table, read_table, read_tables
from humwatch.tasks.evaluation import auc_table, calibration_table, comparisons_table, published, summary_table
from humwatch.tasks.plan.evaluations import assigned, expected_evaluation, table_path
from humwatch.tasks.plan.presence import missing
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scores import score_paths


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
    "summary": summary_table.COLUMNS,  # written last, see `LAST_TABLE`
}


def evaluate(run: Run) -> str:
    """Evaluate the current scores of every machine in scope unless that is done already; return the evaluation's id.

    Raises:
        NotComplete: a part has not been scored by the current models.
    """
    lake, settings = run.lake, run.settings
    backbones, fit, evaluation = settings.features.backbones, settings.fit, settings.evaluation
    expected = expected_evaluation(run, _COLUMNS)
    assignments = expected.assignments
    if missing(lake, [expected]):
        lake.about_to_write()
        scores = _without_training_scores(read_scores(lake, expected.score_paths))
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
        *first, last = _COLUMNS

        def keep(name: str) -> None:
            table = pa.Table.from_pandas(getattr(made, name), preserve_index=False)
            create_table(lake, table_path(expected.evaluation_id, name), table)

        map_concurrently(keep, first)
        keep(last)
    return expected.evaluation_id


def read_evaluation(lake: Lake, evaluation_id: str) -> Evaluation:
    """Return a kept evaluation."""
    tables = map_concurrently(lambda name: read_evaluated(lake, evaluation_id, name), _COLUMNS)
    return Evaluation(**dict(zip(_COLUMNS, tables, strict=True)))


def read_evaluated(lake: Lake, evaluation_id: str, name: str) -> pd.DataFrame:
    """Return one table of a kept evaluation, such as `auc`: those of earlier versions have not all of them."""
    table: pd.DataFrame = read_table(lake, table_path(evaluation_id, name)).to_pandas()
    return table


def read_scores(lake: Lake, paths: Sequence[str]) -> pd.DataFrame:
    """Return score tables as one frame."""
    scores: pd.DataFrame = read_tables(lake, paths, SCORES).to_pandas()
    return scores


def compare(runs: Sequence[Run]) -> pd.DataFrame:
    """Compare the models of several evaluations of the same recordings, splits and seeds, as one evaluation its own.

    Raises:
        NotComplete: a part has not been scored by the current models.
    """
    scores: dict[comparisons_table.Model, pd.DataFrame] = {}
    for run in runs:
        of_run = _without_training_scores(read_scores(run.lake, score_paths(run)))
        for (backbone, detector), rows in of_run.groupby(["backbone", "detector"]):
            scores.setdefault((str(backbone), str(detector)), rows)  # what two of them name is that of the first
    assignments, settings = assigned(runs[0]), runs[0].settings.evaluation
    return comparisons_table.comparisons_table(
        assignments, pd.concat(scores.values(), ignore_index=True), settings, list(scores)
    )


def _without_training_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Blank the scores of recordings that their model was trained on, as after a rollback: they say nothing."""
    scores.loc[scores["in_training"], "score"] = float("nan")
    return scores
