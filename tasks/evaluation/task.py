"""The evaluation stage."""

from __future__ import annotations

from humwatch.tasks.evaluation.store import evaluate
from humwatch.tasks.execution.stage import stage
from humwatch.tasks.plan.run import Run


@stage("evaluate")
def evaluate_scores(run: Run) -> str:
    """Evaluate the current scores unless that is done already; return the evaluation's id (tables stay in the lake)."""
    return evaluate(run)
