"""One part's scores by the current models of its machines."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from humwatch.storage.lake import Lake
from humwatch.storage.models import Machine, StoredModel
from humwatch.storage.records import Passport
from humwatch.storage.tables import SCORES, create_table
from humwatch.tasks.detectors.fit import load_model
from humwatch.tasks.features.gather import gather_in_pieces
from humwatch.tasks.plan.catalog import by_machine
from humwatch.tasks.plan.representations import parse
from humwatch.tasks.plan.scores import ScoreUnit
from humwatch.tasks.scoring.rows import score_rows

if TYPE_CHECKING:
    from humwatch.tasks.detectors.machine_model import MachineModel


def score_unit(unit: ScoreUnit) -> frozenset[str]:
    """Score one part with one variant and keep the table; return the ids of the recordings scored."""
    lake, key = Lake(unit.lake_uri), unit.key
    machines = [rows for machine, rows in by_machine(unit.recordings).items() if machine in unit.versions]
    recordings = pd.concat(machines)
    parts, representations = {unit.part.part_id: unit.part}, parse(unit.variant.backbone)

    @lru_cache(maxsize=1)  # a machine's recordings follow each other
    def model_of(machine: Machine) -> tuple[MachineModel, StoredModel]:
        return load_model(lake, key, machine, unit.versions[machine])

    tables = []
    for piece, windows in gather_in_pieces(lake, parts, recordings, representations, unit.embedding):
        stop = 0
        for machine, rows in by_machine(recordings.iloc[piece]).items():
            start, stop = stop, stop + len(rows)
            model, stored = model_of(machine)
            own = [values[start:stop] for values in windows]
            window_scores, recording_scores = model.scores(own)
            held_out = rows["recording_id"].map(_held_out(stored.passport)).to_numpy(np.float64)
            tables.append(
                score_rows(
                    rows.assign(in_training=rows["recording_id"].isin(stored.passport.training_recordings)),
                    window_scores,
                    np.where(np.isnan(held_out), recording_scores, held_out),
                    model.drift(own),
                    np.array(stored.passport.calibration_scores, dtype=np.float64),
                    stored.passport.calibration_domains,
                    threshold=stored.passport.threshold,
                    model_version=stored.version,
                    detector=unit.variant.detector,
                    backbone=unit.variant.backbone,
                    seed=unit.variant.seed,
                )
            )
    table = pd.concat(tables, ignore_index=True)
    create_table(lake, unit.path, pa.Table.from_pandas(table, schema=SCORES, preserve_index=False))
    return frozenset(table["recording_id"])


def _held_out(passport: Passport) -> dict[str, float]:
    """Return what each training recording got of the fit that had not heard it; nothing where some got none."""
    named, scores = passport.training_recordings, passport.calibration_scores
    return dict(zip(named, scores, strict=True)) if len(named) == len(scores) else {}
