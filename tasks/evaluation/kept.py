"""The tables of an evaluation: made from the current scores, kept under a hash of what they were made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import NotComplete
from storage.keys import digest
from storage.lake import Lake, side_by_side
from storage.tables import SCORES, encode, read_tables
from tasks.catalog import Catalog
from tasks.detectors.roles import assign_roles
from tasks.evaluation.auc_table import auc_table
from tasks.evaluation.summary_table import summary_table
from tasks.scoring.score import plan_scores
from tasks.work import Work


@dataclass(frozen=True)
class Evaluation:
    """A kept evaluation: `auc.csv` and `summary.csv` as tables."""

    auc: pd.DataFrame
    summary: pd.DataFrame


def evaluate(lake: Lake, work: Work) -> str:
    """Evaluate the current scores of every machine in scope unless that is done already; return the evaluation's id.

    Raises:
        NotComplete: a part has not been scored by the current models.
    """
    settings = work.settings
    backbones, fit, evaluation = settings.features.backbones, settings.fit, settings.evaluation
    paths = score_paths(lake, work)
    assignments = _assignments(work.catalog(lake), work)
    known = assignments[["recording_id", "seed", "role", "label"]].astype(object)
    contents = {
        "scores": paths,
        "recordings": known.where(known.notna(), None).to_numpy().tolist(),
        "grid": [backbones, fit.detectors, fit.seeds],
        "settings": evaluation.model_dump(mode="json"),
    }
    evaluation_id = digest(contents, 12)
    if not lake.exists(_path(evaluation_id, "summary")):
        scores = read_scores(lake, paths)
        # After a rollback a test recording may be one its model was trained on: that score says nothing.
        scores.loc[scores["in_training"], "score"] = float("nan")
        auc = auc_table(
            assignments,
            scores,
            evaluation,
            backbones=backbones,
            detectors=fit.detectors,
            seeds=fit.seeds,
        )
        lake.create(_path(evaluation_id, "auc"), encode(pa.Table.from_pandas(auc, preserve_index=False)))
        summary = pa.Table.from_pandas(summary_table(auc), preserve_index=False)
        lake.create(_path(evaluation_id, "summary"), encode(summary))
    return evaluation_id


def read_evaluation(lake: Lake, evaluation_id: str) -> Evaluation:
    """Return a kept evaluation."""
    return Evaluation(*(_read(lake, _path(evaluation_id, name)) for name in ("auc", "summary")))


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


def _assignments(catalog: Catalog, work: Work) -> pd.DataFrame:
    accepted, fit = catalog.accepted, work.settings.fit
    roles = [accepted.assign(seed=seed).join(assign_roles(catalog.roled, fit, seed)) for seed in fit.seeds]
    return work.scope.recordings(pd.concat(roles, ignore_index=True))


def _path(evaluation_id: str, name: str) -> str:
    return f"evaluations/{evaluation_id}/{name}.parquet"


def _read(lake: Lake, path: str) -> pd.DataFrame:
    table: pd.DataFrame = pq.read_table(pa.BufferReader(lake.read(path))).to_pandas()
    return table
