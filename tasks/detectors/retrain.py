"""Replacing a machine's model: train on recent nights, prove on later ones, then switch, or keep the old one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from storage.lake import Lake
from storage.models import has_model, put_gate, set_current
from storage.parts import Part
from tasks.catalog import MACHINE, by_machine
from tasks.detectors.fit import TRAINING, FitUnit, fit_version, load_model, plan_fit, variants
from tasks.detectors.gate import judge_candidate
from tasks.features.gather import gather_in_pieces
from tasks.features.representations import parse
from tasks.scope import Scope
from tasks.settings import RetrainSettings
from tasks.work import Work


@dataclass(frozen=True)
class RetrainUnit:
    """A candidate to fit, and the later recordings (recording_id, part_id, row), with their parts, it must pass on."""

    candidate: FitUnit
    gate: pd.DataFrame
    gate_parts: Mapping[str, Part]
    settings: RetrainSettings


def plan_retraining(lake: Lake, work: Work) -> Iterator[RetrainUnit]:
    """Yield a unit for every machine in scope with nights to train on and later ones for the gate, for every variant.

    Recordings labelled abnormal are in neither. Machines with too few nights have no unit.
    """
    embedding, retrain = work.embedding, work.settings.retrain
    fit = work.settings.fit.model_copy(update={"training": "assumed_normal"})
    history = work.scope.recordings(work.history(lake).roled)
    nights_of = history[history["label"] != "abnormal"].groupby(MACHINE, dropna=False)["batch"]
    newest = [sorted(nights.unique())[-(retrain.training_nights + retrain.gate_nights) :] for _, nights in nights_of]
    catalog = replace(work, scope=Scope(frozenset(chain(*newest)), work.scope.machines)).catalog(lake)
    accepted = work.scope.recordings(catalog.accepted).sort_values("recording_id")  # as in the fit stage
    for machine, rows in by_machine(accepted[accepted["label"] != "abnormal"]).items():
        nights = sorted(rows["batch"].unique())
        before, held_back = nights[: -retrain.gate_nights], nights[-retrain.gate_nights :]
        training = rows[rows["batch"].isin(before[-retrain.training_nights :])]
        if len(training) < fit.min_training_recordings:
            continue
        gate = rows[rows["batch"].isin(held_back)][TRAINING]
        parts = {part_id: catalog.parts[part_id] for part_id in gate["part_id"].unique()}
        for variant in variants(embedding.features.backbones, fit):
            candidate = plan_fit(lake, machine, variant, training, catalog.parts, embedding, fit)
            yield RetrainUnit(candidate, gate, parts, retrain)


def retrain_unit(unit: RetrainUnit) -> dict[str, Any]:
    """Fit a candidate, put it through the gate, make it current if it passes; keep and return what was decided."""
    candidate = unit.candidate
    lake, key, machine = Lake(candidate.lake_uri), candidate.key, candidate.machine
    if not has_model(lake, key, machine, candidate.version):
        fit_version(lake, candidate)
    model, stored = load_model(lake, key, machine, candidate.version)
    pieces = gather_in_pieces(lake, unit.gate_parts, unit.gate, parse(candidate.variant.backbone), candidate.embedding)
    result = judge_candidate(
        np.concatenate([model.recording_scores(features) for _, features in pieces]),
        stored.passport["threshold"],
        candidate.fit.false_alarm_rate,
        unit.settings.min_gate_recordings,
        unit.settings.confidence,
    )
    if result.accepted:
        set_current(lake, key, machine, candidate.version)
    outcome = {
        "machine": machine.label,
        "backbone": candidate.variant.backbone,
        "detector": candidate.variant.detector,
        "seed": candidate.variant.seed,
        "version": candidate.version,
        "decided_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **asdict(result),
    }
    put_gate(lake, key, machine, outcome)
    return outcome
