"""The fit stage: the missing models of every machine, on Dask workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from storage.lake import Lake
from storage.models import current_version, has_model, roll_back, set_current
from tasks.catalog import by_machine
from tasks.detectors.fit import FitUnit, bounded, fit_unit, variants
from tasks.detectors.retrain import plan_retraining, retrain_unit
from tasks.detectors.roles import assign_roles
from tasks.features.representations import parse
from tasks.features.windows import n_windows
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
        for machine in by_machine(work.scope.recordings(work.catalog(lake).accepted))
        for variant in variants(embedding.features.backbones, fit)
        if roll_back(lake, variant.key(embedding, fit), machine)
    ]


def _missing(lake: Lake, work: Work) -> Iterator[FitUnit]:
    catalog = work.catalog(lake)
    embedding, fit = work.embedding, work.settings.fit
    columns = ["recording_id", "content_tag", "batch", "part_id", "row"]
    for seed in fit.seeds:
        roles = assign_roles(catalog.accepted, fit, seed)
        wanted = Scope(machines=work.scope.machines).recordings(catalog.accepted[roles == "train"])
        # Bits depend on the order of rows, and nothing shall depend on how recordings were grouped into parts.
        wanted = wanted.sort_values("recording_id")
        for variant in (variant for variant in variants(embedding.features.backbones, fit) if variant.seed == seed):
            windowed = any(representation.level == "window" for representation in parse(variant.backbone))
            for machine, rows in by_machine(wanted).items():
                counts = np.array([n_windows(int(n), embedding.images) if windowed else 1 for n in rows["n_frames"]])
                training = bounded(rows[columns], counts, fit.max_windows, seed)
                parts = {part_id: catalog.parts[part_id] for part_id in training["part_id"].unique()}
                unit = FitUnit(lake.uri, machine, variant, training, parts, embedding, fit)
                if fit.training == "assumed_normal" and current_version(lake, unit.key, machine):
                    continue
                if has_model(lake, unit.key, machine, unit.version):
                    set_current(lake, unit.key, machine, unit.version)
                else:
                    yield unit
