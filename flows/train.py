"""Flows about models and figures, without a night: fit, retrain behind a gate, roll back, evaluate."""

from __future__ import annotations

from collections.abc import Sequence

from humwatch.flows.fleet_flow import SettingsBySection, Uri, fleet_flow
from humwatch.flows.night import night_run
from humwatch.flows.pipeline import running
from humwatch.flows.presets import PresetName, load
from humwatch.flows.stages import run_stages, timed
from humwatch.flows.summary import RunSummary
from humwatch.tasks.detectors.task import retrain_models, roll_back_models
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.training import why_no_candidate


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
    run = Run(lake, load(preset, None, settings))
    with running(run, "ingest", sources) as summary:
        run_stages(summary, run, ("spectrograms", "features"))
    return summary


@fleet_flow("evaluate")
def evaluate(lake: Uri, preset: PresetName = "default", settings: SettingsBySection | None = None) -> RunSummary:
    """Fit and score what is missing under labels, evaluate, publish the evaluation report.

    Args:
        lake: Root URI of the lake, a path or such as s3://bucket/lake.
        preset: Base settings.
        settings: Settings by section above the preset, such as {"fit": {"detectors": ["knn"]}}.
    """
    run = Run(lake, load(preset, None, settings))
    with running(run, "evaluate") as summary:
        run_stages(summary, run, ("spectrograms", "features", "fit", "score", "evaluate", "report"))
    return summary


@fleet_flow("train")
def train(
    lake: Uri, machines: str | None = None, preset: PresetName = "default", settings: SettingsBySection | None = None
) -> RunSummary:
    """Retrain every machine in scope; a candidate replaces the current model only when its gate passes.

    `summary.models_fitted` counts candidates; what was decided is in `summary.retrained` and beside
    the models; machines without a candidate are in `summary.not_retrained`.

    Args:
        lake: Root URI of the lake, a path or such as s3://bucket/lake.
        machines: Pattern on TYPE/ID (SITE/TYPE/ID) such as fan/*; unset: all machines.
        preset: Base settings.
        settings: Settings by section above the preset, such as {"fit": {"detectors": ["knn"]}}.
    """
    run = night_run(lake, None, machines, preset, settings)
    with running(run, "retrain") as summary, timed(summary, "retrain"):
        summary.retrained = [gate.model_dump(exclude={"format_version"}) for gate in retrain_models(run)]
        summary.models_fitted = len(summary.retrained)
        summary.not_retrained = [
            {"machine": machine.label, "reason": reason} for machine, reason in why_no_candidate(run).items()
        ]
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
    run = night_run(lake, None, machines, preset, settings)
    with running(run, "rollback") as summary, timed(summary, "rollback"):
        done = roll_back_models(run)
        summary.rolled_back = done.rolled_back
        summary.not_rolled_back = [{"machine": label, "reason": reason} for label, reason in done.unchanged.items()]
    return summary
