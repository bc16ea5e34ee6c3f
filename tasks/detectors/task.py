"""The fit stage: the missing models of every machine, on Dask workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from storage.lake import Lake, side_by_side
from storage.models import current_versions, roll_back
from tasks.catalog import MACHINE, by_machine
from tasks.detectors.fit import FitUnit, fit_unit, plan_fit, use_version, variants
from tasks.detectors.retrain import plan_retraining, retrain_unit
from tasks.detectors.roles import assign_roles
from tasks.scope import Scope
from tasks.task import run_on_workers, stage
from tasks.work import Work


@dataclass(frozen=True)
class FitSummary:
    """What the stage did: models fitted in this run."""

    models_fitted: int


@stage("fit")
def fit_models(work: Work) -> FitSummary:
    """Fit a model for every machine with training recordings and every variant that has none for this training set.

    Under `assumed_normal` a machine that has a model keeps it: only `retrain` replaces it, behind its gate.
    """
    lake = work.open_lake()
    units = list(_missing(lake, work))
    in_flight = work.settings.dask.blocks_in_flight
    return FitSummary(sum(1 for _ in run_on_workers("fit", fit_unit, units, len(units), in_flight)))


@stage("retrain")
def retrain_models(work: Work) -> list[dict[str, Any]]:
    """Fit a candidate for every machine in scope and let it replace the current model if its gate passes.

    Returns what was decided for each, as `tasks.detectors.retrain.retrain_unit` keeps it beside the models.
    """
    units = list(plan_retraining(work.open_lake(), work))
    in_flight = work.settings.dask.blocks_in_flight
    outcomes = list(run_on_workers("retrain", retrain_unit, units, len(units), in_flight))
    return sorted(outcomes, key=lambda outcome: (outcome["machine"], outcome["backbone"], outcome["detector"]))


@stage("rollback")
def roll_back_models(work: Work) -> list[str]:
    """Make the previous model of every machine in scope current again; return the machines that had one."""
    lake = work.open_lake()
    embedding, fit = work.embedding, work.settings.fit
    fit = fit.model_copy(update={"training": "assumed_normal"})
    return [
        machine.label
        for machine in by_machine(work.scope.recordings(work.history(lake).roled))
        for variant in variants(embedding.features.backbones, fit)
        if roll_back(lake, variant.key(embedding, fit), machine)
    ]


def _missing(lake: Lake, work: Work) -> Iterator[FitUnit]:
    embedding, fit = work.embedding, work.settings.fit
    keeps_models = fit.training == "assumed_normal"
    machines = Scope(_commissioned(lake, work) if keeps_models else None, work.scope.machines)
    catalog = replace(work, scope=machines).catalog(lake)
    for seed in fit.seeds:
        accepted = catalog.accepted.join(assign_roles(catalog.roled, fit, seed))
        wanted = machines.recordings(accepted[accepted["role"] == "train"])
        # Bits depend on the order of rows, and nothing shall depend on how recordings were grouped into parts.
        wanted = wanted.sort_values("recording_id")
        for variant in (variant for variant in variants(embedding.features.backbones, fit) if variant.seed == seed):
            training = by_machine(wanted)
            kept = current_versions(lake, variant.key(embedding, fit), training) if keeps_models else {}
            units = [
                plan_fit(lake, machine, variant, rows, catalog.parts, embedding, fit)
                for machine, rows in training.items()
                if machine not in kept
            ]
            there = side_by_side(lambda unit: use_version(lake, unit), units)
            yield from (unit for unit, done in zip(units, there, strict=True) if not done)


def _commissioned(lake: Lake, work: Work) -> frozenset[str]:
    """Return the batches of the commissioning windows of machines that lack a model."""
    embedding, fit = work.embedding, work.settings.fit
    history = work.history(lake).roled
    roles = assign_roles(history, fit, fit.seeds[0])  # a commissioning window has nothing random
    training = Scope(machines=work.scope.machines).recordings(history[roles == "train"])
    training = training[[*MACHINE, "batch"]].drop_duplicates()
    machines = by_machine(training)
    keys = [variant.key(embedding, fit) for variant in variants(embedding.features.backbones, fit)]
    fitted = [current_versions(lake, key, machines) for key in keys]
    lacking = [rows["batch"] for machine, rows in machines.items() if any(machine not in each for each in fitted)]
    return frozenset(chain.from_iterable(lacking))
