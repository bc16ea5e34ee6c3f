"""Replacing a machine's model: train on recent nights, prove on later ones, then switch, or keep the old one."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

import numpy as np

from humwatch.storage.lake import Lake
from humwatch.storage.models import put_gate, set_current
from humwatch.storage.records import Gate
from humwatch.tasks.detectors.fit import fit_version, load_model
from humwatch.tasks.detectors.gate import judge_candidate
from humwatch.tasks.features.gather import gather_in_pieces
from humwatch.tasks.plan.presence import missing
from humwatch.tasks.plan.representations import parse
from humwatch.tasks.plan.training import RetrainUnit


def retrain_unit(unit: RetrainUnit) -> Gate:
    """Fit a candidate, put it through the gate, make it current if it passes; keep and return what was decided."""
    candidate = unit.candidate
    lake, key, machine = Lake(candidate.lake_uri), candidate.key, candidate.machine
    if missing(lake, [candidate]):
        fit_version(lake, candidate)
    model, stored = load_model(lake, key, machine, candidate.version)
    pieces = gather_in_pieces(lake, unit.gate_parts, unit.gate, parse(candidate.variant.backbone), candidate.embedding)
    result = judge_candidate(
        np.concatenate([model.recording_scores(features) for _, features in pieces]),
        stored.passport.threshold,
        candidate.fit.false_alarm_rate,
        unit.settings.min_gate_recordings,
        unit.settings.confidence,
        stored.passport.threshold_reason,
    )
    if result.accepted:
        set_current(lake, key, machine, candidate.version)
    gate = Gate(
        machine=machine.label,
        backbone=candidate.variant.backbone,
        detector=candidate.variant.detector,
        seed=candidate.variant.seed,
        version=candidate.version,
        decided_at=datetime.now(UTC).isoformat(timespec="seconds"),
        **asdict(result),
    )
    put_gate(lake, key, machine, gate)
    return gate
