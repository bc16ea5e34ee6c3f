"""The fit stage: the missing models of every machine, on Dask workers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from humwatch.storage.lake import map_concurrently
from humwatch.storage.models import Machine, current_versions, roll_back, set_current
from humwatch.storage.records import Gate
from humwatch.tasks.detectors.fit import fit_unit
from humwatch.tasks.execution.stage import run_on_workers, stage
from humwatch.tasks.plan.catalog import by_machine
from humwatch.tasks.plan.presence import present
from humwatch.tasks.plan.provisional import provisional_models
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.training import expected_models, plan_retraining


@dataclass(frozen=True)
class FitSummary:
    """What the stage did: models fitted in this run, but for provisional ones."""

    models_fitted: int


@stage("fit")
def fit_models(run: Run) -> FitSummary:
    """Fit a model for every machine with training recordings and every variant that has none for this training set.

    A version that was fitted before is made current again. Under `assumed_normal` a machine that has a model keeps it:
    only `retrain` replaces it, behind its gate. Before them come the provisional models of machines that have no other
    yet, so that a run that is killed leaves none out.
    """
    in_flight = run.settings.dask.blocks_in_flight
    first = list(provisional_models(run))
    for _ in run_on_workers("fit", fit_unit, first, len(first), in_flight):
        pass
    units = list(expected_models(run))
    fitted = present(run.lake, [unit.mark_path for unit in units])
    known = [unit for unit, done in zip(units, fitted, strict=True) if done]
    machines: dict[str, list[Machine]] = defaultdict(list)
    for unit in known:
        machines[unit.key].append(unit.machine)
    current = {key: run.current_versions(key, of_key) for key, of_key in machines.items()}
    other = [unit for unit in known if unit.version != current[unit.key].get(unit.machine)]
    map_concurrently(lambda unit: set_current(run.lake, unit.key, unit.machine, unit.version), other)
    unfitted = [unit for unit, done in zip(units, fitted, strict=True) if not done]
    n_fitted = sum(1 for _ in run_on_workers("fit", fit_unit, unfitted, len(unfitted), in_flight))
    if first or other or unfitted:
        run.forget_models()
    return FitSummary(n_fitted)


@stage("retrain")
def retrain_models(run: Run) -> list[Gate]:
    """Fit a candidate for every machine in scope and let it replace the current model if its gate passes.

    Returns what was decided for each, as `tasks.detectors.retrain.retrain_unit` keeps it beside the models.
    """
    from humwatch.tasks.detectors.retrain import retrain_unit  # noqa: PLC0415 - scikit-learn is for those that retrain

    units = list(plan_retraining(run))
    in_flight = run.settings.dask.blocks_in_flight
    outcomes = list(run_on_workers("retrain", retrain_unit, units, len(units), in_flight))
    run.forget_models()
    return sorted(outcomes, key=lambda outcome: (outcome.machine, outcome.backbone, outcome.detector))


@dataclass(frozen=True)
class RollbackSummary:
    """The machines whose previous model is current again, and those that had none, with the reason, by their labels."""

    rolled_back: list[str]
    unchanged: dict[str, str]


@stage("rollback")
def roll_back_models(run: Run) -> RollbackSummary:
    """Make the previous model of every machine in scope current again, of every variant."""
    run = run.under("assumed_normal")
    machines = by_machine(run.scope.recordings(run.history().eligible))
    rolled_back: list[str] = []
    unchanged: dict[str, str] = {}
    for variant in run.variants:
        key = run.model_key(variant)
        current = current_versions(run.lake, key, machines)
        for machine in machines:
            if machine not in current:
                unchanged[machine.label] = "it has no model under these settings"
            elif roll_back(run.lake, key, machine):
                rolled_back.append(machine.label)
            else:
                unchanged[machine.label] = "its model is its first: there is no previous one"
    run.forget_models()
    return RollbackSummary(
        sorted(rolled_back), {label: reason for label, reason in sorted(unchanged.items()) if label not in rolled_back}
    )
