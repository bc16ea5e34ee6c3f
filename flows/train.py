"""Flows about models and figures, without a night: fit, retrain behind a gate, roll back, evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect import flow

from flows.nightly import night_work
from flows.pipeline import run_stages, running, timed
from flows.settings import PresetName, load
from flows.summary import RunSummary
from tasks.detectors.task import retrain_models, roll_back_models
from tasks.work import Work

SettingsBySection = dict[str, dict[str, Any]]


@flow(name="ingest")
def ingest(
    lake: str, sources: Sequence[str], preset: PresetName = "default", settings: SettingsBySection | None = None
) -> RunSummary:
    """Take in sources up to their features, so that nights and training find everything ready."""
    work = Work(lake, load(preset, None, settings))
    with running(work, "ingest") as summary:
        run_stages(summary, work, sources, ("ingest", "spectrograms", "features"))
    return summary


@flow(name="evaluate")
def evaluate(lake: str, preset: PresetName = "default", settings: SettingsBySection | None = None) -> RunSummary:
    """Fit and score what is missing under labels, evaluate, publish the evaluation report."""
    work = Work(lake, load(preset, None, settings))
    with running(work, "evaluate") as summary:
        run_stages(summary, work, (), ("spectrograms", "features", "fit", "score", "evaluate", "report"))
    return summary


@flow(name="train")
def train(
    lake: str, machines: str | None = None, preset: PresetName = "default", settings: SettingsBySection | None = None
) -> RunSummary:
    """Retrain every machine in scope; a candidate replaces the current model only when its gate passes.

    `summary.models_fitted` counts candidates; what was decided is in `summary.retrained` and beside the models.
    """
    work = night_work(lake, None, machines, preset, settings)
    with running(work, "retrain") as summary, timed(summary, "retrain"):
        summary.retrained = retrain_models(work)
        summary.models_fitted = len(summary.retrained)
    return summary


@flow(name="rollback")
def rollback(
    lake: str, machines: str | None = None, preset: PresetName = "default", settings: SettingsBySection | None = None
) -> RunSummary:
    """Make the previous model of every machine in scope current again."""
    work = night_work(lake, None, machines, preset, settings)
    with running(work, "rollback") as summary, timed(summary, "rollback"):
        summary.rolled_back = roll_back_models(work)
    return summary
