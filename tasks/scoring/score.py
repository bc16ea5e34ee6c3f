"""One part's scores by the current models of its machines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import pyarrow as pa

from storage.keys import digest
from storage.lake import Lake
from storage.models import Machine, StoredModel, current_versions
from storage.parts import Part
from storage.tables import SCORES, create_table
from tasks.catalog import MACHINE, by_machine
from tasks.detectors.fit import Variant, load_model, variants
from tasks.detectors.machine_model import MachineModel
from tasks.detectors.roles import assign_roles
from tasks.features.blocks import EmbeddingSettings
from tasks.features.gather import gather_in_pieces
from tasks.features.representations import parse
from tasks.scoring.rows import score_rows
from tasks.settings import FitSettings
from tasks.work import Work

# Of the catalog's columns: an archive of 20,000 recordings is sent to a worker as one unit.
_SENT = [
    "recording_id",
    "part_id",
    "row",
    "member",
    "source_uri",
    *MACHINE,
    "batch",
    "domain",
    "label",
    "recorded_at",
    "role",
]


@dataclass(frozen=True)
class ScoreUnit:
    """What a worker needs to score one part with one variant; `recordings` has its rows and their `role`."""

    lake_uri: str
    part: Part
    variant: Variant
    recordings: pd.DataFrame
    versions: Mapping[Machine, str]
    embedding: EmbeddingSettings
    fit: FitSettings

    @property
    def path(self) -> str:
        """Where its scores are kept; named by the models and by what is known of the recordings."""
        known = self.recordings[["recording_id", "role", "label"]].astype(object)
        contents = {
            "models": sorted((machine.path, version) for machine, version in self.versions.items()),
            "recordings": known.where(known.notna(), None).to_numpy().tolist(),
        }
        return self.part.scores_path(self.variant.key(self.embedding, self.fit), digest(contents, 12))


def plan_scores(lake: Lake, work: Work) -> Iterator[ScoreUnit]:
    """Yield a unit for every part in scope with recordings of machines that have a current model, for every variant."""
    catalog, embedding, fit = work.catalog(lake), work.embedding, work.settings.fit
    for seed in fit.seeds:
        roles = assign_roles(catalog.roled, fit, seed)
        wanted = work.scope.recordings(catalog.accepted.join(roles))[_SENT]
        machines = by_machine(wanted)
        for variant in (variant for variant in variants(embedding.features.backbones, fit) if variant.seed == seed):
            key = variant.key(embedding, fit)
            current = current_versions(lake, key, machines)
            for part_id, rows in wanted.groupby("part_id", sort=False):
                versions = {machine: current[machine] for machine in by_machine(rows) if machine in current}
                if versions:
                    part = catalog.parts[str(part_id)]
                    yield ScoreUnit(lake.uri, part, variant, rows, versions, embedding, fit)


def score_unit(unit: ScoreUnit) -> frozenset[str]:
    """Score one part with one variant and keep the table; return the ids of the recordings scored."""
    lake = Lake(unit.lake_uri)
    key = unit.variant.key(unit.embedding, unit.fit)
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
            tables.append(
                score_rows(
                    rows.assign(in_training=rows["recording_id"].isin(stored.passport["training_recordings"])),
                    *model.scores(own),
                    model.drift(own),
                    np.array(stored.passport["calibration_scores"], dtype=np.float64),
                    stored.passport["calibration_domains"],
                    threshold=stored.passport["threshold"],
                    model_version=stored.version,
                    detector=unit.variant.detector,
                    backbone=unit.variant.backbone,
                    seed=unit.variant.seed,
                )
            )
    table = pd.concat(tables, ignore_index=True)
    create_table(lake, unit.path, pa.Table.from_pandas(table, schema=SCORES, preserve_index=False))
    return frozenset(table["recording_id"])
