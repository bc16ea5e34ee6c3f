"""Flows about models and figures, without a night: fit, retrain behind a gate, roll back, evaluate."""

from __future__ import annotations

from collections.abc import Sequence

from flows.fleet_flow import SettingsBySection, Uri, fleet_flow
from flows.nightly import night_work
from flows.pipeline import run_stages, running, timed
from flows.settings import PresetName, load
from flows.summary import RunSummary
from tasks.detectors.task import retrain_models, roll_back_models
from tasks.work import Work


@fleet_flow("ingest")
def ingest(
    lake: Uri, sources: Sequence[Uri], preset: PresetName = "default", settings: SettingsBySection | None = None
) -> RunSummary:
    """Take in sources up to their features, so that nights and training find everything ready.

    Args:
        lake: Root URI of the lake, a path or such as s3://bucket/lake.
        sources: Archives or folders to look into, paths or URIs.
        preset: Base settings.
        settings: Settings by section above the preset, such as {"fit": {"detectors": ["knn"]}}.
    """
    work = Work(lake, load(preset, None, settings))
    with running(work, "ingest") as summary:
        run_stages(summary, work, sources, ("ingest", "spectrograms", "features"))
    return summary


@fleet_flow("evaluate")
def evaluate(lake: Uri, preset: PresetName = "default", settings: SettingsBySection | None = None) -> RunSummary:
    """Fit and score what is missing under labels, evaluate, publish the evaluation report.

    Args:
        lake: Root URI of the lake, a path or such as s3://bucket/lake.
        preset: Base settings.
        settings: Settings by section above the preset, such as {"fit": {"detectors": ["knn"]}}.
    """
    work = Work(lake, load(preset, None, settings))
    with running(work, "evaluate") as summary:
        run_stages(summary, work, (), ("spectrograms", "features", "fit", "score", "evaluate", "report"))
    return summary


@fleet_flow("train")
def train(
    lake: Uri, machines: str | None = None, preset: PresetName = "default", settings: SettingsBySection | None = None
) -> RunSummary:
    """Retrain every machine in scope; a candidate replaces the current model only when its gate passes.

    `summary.models_fitted` counts candidates; what was decided is in `summary.retrained` and beside the models.

    Args:
        lake: Root URI of the lake, a path or such as s3://bucket/lake.
        machines: Pattern on TYPE/ID (SITE/TYPE/ID) such as fan/*; unset: all machines.
        preset: Base settings.
        settings: Settings by section above the preset, such as {"fit": {"detectors": ["knn"]}}.
    """
    work = night_work(lake, None, machines, preset, settings)
    with running(work, "retrain") as summary, timed(summary, "retrain"):
        summary.retrained = retrain_models(work)
        summary.models_fitted = len(summary.retrained)
    return summary


@fleet_flow("rollback")
def rollback(
    lake: Uri, machines: str | None = None, preset: PresetName = "default", settings: SettingsBySection | None = None
) -> RunSummary:
    """Make the previous model of every machine in scope current again.

    Args:
        lake: Root URI of the lake, a path or such as s3://bucket/lake.
        machines: Pattern on TYPE/ID (SITE/TYPE/ID) such as fan/*; unset: all machines.
        preset: Base settings.
        settings: Settings by section above the preset, such as {"fit": {"detectors": ["knn"]}}.
    """
    work = night_work(lake, None, machines, preset, settings)
    with running(work, "rollback") as summary, timed(summary, "rollback"):
        summary.rolled_back = roll_back_models(work)
    return summary
