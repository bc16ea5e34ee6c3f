"""What must stay in a lake: what the settings, the standing reports and the models in use need."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import pyarrow as pa
from pydantic import ValidationError

from humwatch.storage.errors import BadConfiguration, LakeDamaged
from humwatch.storage.inventory import StoredObject, below
from humwatch.storage.lake import Lake
from humwatch.storage.records import Passport, read_record
from humwatch.storage.reports import read_latest, read_summary
from humwatch.storage.tables import MACHINE, SCORES, read_tables
from humwatch.tasks.plan.catalog import machine_of
from humwatch.tasks.plan.keys import EmbeddingSettings, spectrogram_key
from humwatch.tasks.plan.provisional import provisional
from humwatch.tasks.plan.representations import parse
from humwatch.tasks.plan.run import Run

_MODEL_OF_SCORE = pa.schema([SCORES.field(name) for name in (*MACHINE, "model_version")])
_SHARED_KEYS = {"health": "spectrograms", "scores": "models"}


@dataclass(frozen=True)
class Needs:
    """What must stay in a lake.

    Attributes:
        lake: the lake.
        runs: the settings under each `fit.training`; they differ in nothing else.
        objects: the lake's inventory.
        since: reports published and models used from then on stand.
    """

    lake: Lake
    runs: list[Run]
    objects: Sequence[StoredObject]
    since: datetime

    @cached_property
    def paths(self) -> frozenset[str]:
        """Every object's path."""
        return frozenset(item.path for item in self.objects)

    def existing_keys(self, kind: str) -> set[str]:
        """Names of the folders below `kind`."""
        return {item.path.split("/")[1] for item in below(self.objects, kind)}

    @cached_property
    def versions(self) -> Mapping[tuple[str, str], set[str]]:
        """Versions of whole models by (key, path of the machine)."""
        versions = defaultdict(set)
        for item in below(self.objects, "models"):
            _, key, *machine, name = item.path.split("/")
            if name == "passport.json":
                versions[key, "/".join(machine[:-1])].add(machine[-1])
        return versions

    @cached_property
    def reports(self) -> list[str]:
        """Standing reports."""
        latest = read_latest(self.lake)
        published = [path.split("/")[1] for path in self.lake.list("reports", "/summary.json")]
        return [
            report
            for report in published
            if (latest is not None and report == latest.report_id)
            or datetime.fromisoformat(read_summary(self.lake, report).created_at) >= self.since
        ]

    @cached_property
    def reported(self) -> set[tuple[str, str]]:
        """(path of the machine, version) of the models that standing reports name."""
        paths = {f"reports/{report}/scores.parquet" for report in self.reports} & self.paths
        return self.models_in(sorted(paths))

    def models_in(self, score_tables: Iterable[str]) -> set[tuple[str, str]]:
        """(path of the machine, version) of the models that made these scores."""
        rows = read_tables(self.lake, score_tables, _MODEL_OF_SCORE).to_pandas().drop_duplicates()
        return {(machine_of(place).path, version) for *place, version in rows.itertuples(index=False, name=None)}

    @cached_property
    def own_keys(self) -> dict[str, set[str]]:
        """Keys of the settings, by the kind of folder.

        Raises:
            BadConfiguration: they have left nothing in a lake that is not empty, so they are not those of its runs.
        """
        first = self.runs[0]
        with_models = [*self.runs, *filter(None, map(provisional, self.runs))]
        own = {
            "spectrograms": {first.spectrogram_key},
            "features": {first.embedding.key(representation) for representation in first.representations},
            "models": {run.model_key(variant) for run in with_models for variant in run.variants},
        }
        for kind, keys in own.items():
            existing = self.existing_keys(kind)
            if existing and not existing & keys:
                raise BadConfiguration(
                    f"{self.lake.uri} holds no {kind} of these settings, but others "
                    f"({', '.join(sorted(existing)[:3])}): "
                    "give the --preset, --config, --set, --backbone and --detector of its runs; nothing was deleted"
                )
        return own

    @cached_property
    def keys(self) -> dict[str, set[str]]:
        """Keys that stay, by the kind of folder."""
        kept = {kind: set(keys) for kind, keys in self.own_keys.items()}
        reported = {
            key
            for (key, machine), versions in self.versions.items()
            if any((machine, version) in self.reported for version in versions)
        }
        in_use = {item.path.split("/")[1] for kind in ("models", "scores") for item in below(self.objects, kind)
                  if not item.is_older_than(self.since)}  # fmt: skip
        for key in (reported | in_use) - kept["models"]:
            kept["models"].add(key)
            for kind, needed in self._inputs(key).items():
                kept[kind] |= needed
        return kept | {"nights": self._nights} | {kind: kept[other] for kind, other in _SHARED_KEYS.items()}

    @cached_property
    def _nights(self) -> set[str]:
        """Keys of judged nights: those of the settings, and those under which one was judged lately."""
        own = {run.nights_key(variant) for run in self.runs for variant in run.variants}
        return own | {item.path.split("/")[1] for item in below(self.objects, "nights")
                      if not item.is_older_than(self.since)}  # fmt: skip

    def _inputs(self, model_key: str) -> dict[str, set[str]]:
        """Keys that a key's models are made from; all that are there when a passport does not say it clearly."""
        everything = {kind: self.existing_keys(kind) for kind in ("features", "spectrograms")}
        passports = [
            item.path for item in below(self.objects, f"models/{model_key}") if item.path.endswith("/passport.json")
        ]
        if not passports:
            return everything
        try:
            passport = read_record(self.lake, passports[0], Passport)
            settings = {name: value for name, value in passport.settings.items() if name != "fit"}
            embedding = EmbeddingSettings.model_validate(settings)
            features = {embedding.key(representation) for representation in parse(passport.backbone)}
        except (ValidationError, BadConfiguration, LakeDamaged):
            return everything
        needed = {"features": features, "spectrograms": {spectrogram_key(embedding.spectrogram)}}
        # Another version of Humwatch may have named the keys otherwise.
        return needed if all(needed[kind] <= everything[kind] for kind in needed) else everything
