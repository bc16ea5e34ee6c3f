"""Which score tables should be in a lake: one a part and variant, named by the models and recordings behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from humwatch.storage.errors import NotComplete
from humwatch.storage.models import Machine
from humwatch.storage.naming import digest
from humwatch.storage.parts import Part
from humwatch.storage.tables import MACHINE
from humwatch.tasks.frames import python_values
from humwatch.tasks.plan.catalog import by_machine
from humwatch.tasks.plan.keys import EmbeddingSettings
from humwatch.tasks.plan.presence import missing
from humwatch.tasks.plan.roles import assign_roles
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.variants import Variant

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
    "clip_start_s",
    "role",
]


@dataclass(frozen=True)
class ScoreUnit:
    """What a worker needs to score one part with one variant; `recordings` has its rows and their `role`."""

    lake_uri: str
    part: Part
    variant: Variant
    key: str
    recordings: pd.DataFrame
    versions: Mapping[Machine, str]
    embedding: EmbeddingSettings

    def __str__(self) -> str:
        return f"{self.variant.detector} on {self.variant.backbone}, {self.part}, {len(self.recordings)} rows"

    @property
    def path(self) -> str:
        """Where its scores are kept; named by the models and by what is known of the recordings."""
        contents = {
            "models": sorted((machine.path, version) for machine, version in self.versions.items()),
            "recordings": python_values(self.recordings[["recording_id", "role", "label"]]).to_numpy().tolist(),
        }
        return self.part.scores_path(self.key, digest(contents, 12))

    @property
    def mark_path(self) -> str:
        """The table itself."""
        return self.path


def expected_scores(run: Run) -> Iterator[ScoreUnit]:
    """Yield a table for every variant and part in scope that has recordings of machines with a current model."""
    catalog, fit = run.catalog(), run.settings.fit
    for seed in fit.seeds:
        roles = assign_roles(catalog.accepted, fit, seed, catalog.history.nights)
        recordings = run.scope.recordings(catalog.accepted.assign(role=roles))[_SENT]
        machines = by_machine(recordings)
        for variant in (variant for variant in run.variants if variant.seed == seed):
            key = run.model_key(variant)
            current = run.current_versions(key, machines)
            for part_id, rows in recordings.groupby("part_id", sort=False):
                versions = {machine: current[machine] for machine in by_machine(rows) if machine in current}
                if versions:
                    part = catalog.parts[str(part_id)]
                    yield ScoreUnit(run.lake_uri, part, variant, key, rows, versions, run.embedding)


def score_paths(run: Run) -> list[str]:
    """Return the score tables of the current models.

    Raises:
        NotComplete: one of them is not there.
    """
    expected = list(expected_scores(run))
    if absent := missing(run.lake, expected):
        raise NotComplete(f"{len(absent)} of {len(expected)} score tables are missing: run `humwatch score` first")
    return [unit.path for unit in expected]


def scored_parts(run: Run, variant: Variant) -> frozenset[str]:
    """Return the ids of the parts that have scores of a variant, by whatever version of its models."""
    tables = run.lake.list(f"scores/{run.model_key(variant)}", ".parquet")
    return frozenset(path.rpartition("/")[2].partition("-")[0] for path in tables)
