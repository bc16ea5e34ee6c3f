"""The evaluation stage."""

from __future__ import annotations

from tasks.evaluation.kept import evaluate
from tasks.task import stage
from tasks.work import Work


@stage("evaluate")
def evaluate_scores(work: Work) -> str:
    """Evaluate the current scores unless that is done already; return the evaluation's id (tables stay in the lake)."""
    return evaluate(work.open_lake(), work)
