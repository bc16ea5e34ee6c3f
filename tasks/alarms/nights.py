"""The nights of a fleet in the lake: judged, kept, read again.

A night's rows are kept once, as `nights/<key>/<night>/<number>-<hash of what they rest on>.parquet`. When that changes
(late recordings, labels, another model) a table with the next number counts. Later nights read earlier ones from these
small tables, never from their scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import pandas as pd
import pyarrow as pa

from storage.errors import NotComplete
from storage.keys import digest, settings_key
from storage.lake import Lake, side_by_side
from storage.models import Machine, get_passport
from storage.tables import MACHINE_NIGHTS, SCORES, create_table, read_table, read_tables
from tasks.alarms.facts import Passports, label_of, night_facts
from tasks.alarms.night_scores import calibration_of
from tasks.alarms.replay import Verdict, replay
from tasks.alarms.rows import FleetNights, model_name
from tasks.catalog import MACHINE, Catalog, machine_of
from tasks.detectors.fit import Variant, variants
from tasks.scope import Scope
from tasks.scoring.score import plan_scores
from tasks.work import Work

# All of a score but what its windows say.
_SCORES = pa.schema([field for field in SCORES if field.name != "window_scores"])
_KNOWN = (*MACHINE, "night", "n_scored", "night_score", "model_version")
_HISTORY = pa.schema([MACHINE_NIGHTS.field(name) for name in _KNOWN])
_THREADS = 16  # passports and nights are small objects: on a remote store reading them is waiting


def night_of(scope: Scope) -> str | None:
    """Return the one night that a scope is about; None when it is none, or several, or has no date."""
    if scope.batches is None or len(scope.batches) != 1:
        return None
    (batch,) = scope.batches
    return batch if _is_date(batch) else None


def nights_key(work: Work, variant: Variant) -> str:
    """Return the key of a variant's nights: its models and the settings of alarms."""
    shaping = {
        "models": variant.key(work.embedding, work.settings.fit),
        "alarms": work.settings.alarms.model_dump(mode="json"),
    }
    return settings_key((variant.detector, variant.backbone, f"s{variant.seed}"), shaping)


def variants_of(work: Work) -> list[Variant]:
    """Return the variants of a run's settings."""
    return variants(work.embedding.features.backbones, work.settings.fit)


def newest_tables(lake: Lake, key: str) -> dict[str, str]:
    """Return the path of the table that counts for each night."""
    return {path.split("/")[2]: path for path in lake.list(f"nights/{key}", ".parquet")}  # sorted: the last stays


def read_night(lake: Lake, work: Work) -> pd.DataFrame | None:
    """Return the rows of the night in scope as it was judged last, of all variants; None when it never was."""
    night = night_of(work.scope)
    tables = [newest_tables(lake, nights_key(work, variant)) for variant in variants_of(work)]
    paths = [table[night] for table in tables if night in table]
    if not paths:
        return None
    return Scope(machines=work.scope.machines).recordings(read_tables(lake, paths, MACHINE_NIGHTS).to_pandas())


def read_nights(lake: Lake, work: Work, most: int) -> pd.DataFrame:
    """Return the rows of the night in scope and of up to `most` - 1 nights before it, of all variants."""
    night = night_of(work.scope)
    tables = [newest_tables(lake, nights_key(work, variant)) for variant in variants_of(work)]
    kept = [sorted(name for name in table if night is not None and name <= night)[-most:] for table in tables]
    paths = [table[name] for table, names in zip(tables, kept, strict=True) for name in names]
    rows = pd.concat(side_by_side(lambda path: read_table(lake, path, MACHINE_NIGHTS).to_pandas(), paths))
    return Scope(machines=work.scope.machines).recordings(rows)


def judge_night(lake: Lake, work: Work, catalog: Catalog, variant: Variant, tonight: str) -> list[str]:
    """Judge a night, and each earlier one that is scored and was not judged; return the tables made.

    Raises:
        NotComplete: a part of tonight has not been scored by the current models.
    """
    return _Judge(lake, work, catalog, variant).judge(tonight)


@dataclass(frozen=True)
class _Judge:
    lake: Lake
    work: Work
    catalog: Catalog
    variant: Variant

    def judge(self, tonight: str) -> list[str]:
        key = nights_key(self.work, self.variant)
        kept = {night: path for night, path in newest_tables(self.lake, key).items() if night <= tonight}
        scores = self._scores(kept, tonight)
        passports = self._passports(
            {(machine_of(values), version) for table in scores.values()
             for *values, version in table[[*MACHINE, "model_version"]].drop_duplicates().itertuples(index=False)}
        )  # fmt: skip
        settings = self.work.settings.alarms
        fresh = {night: night_facts(night, self._dated, table, passports, settings) for night, table in scores.items()}
        paths = self._names(key, kept, fresh)
        if all(kept.get(night) == paths[night] for night in fresh):
            return []
        known = [path for night, path in kept.items() if night not in fresh]
        with ThreadPoolExecutor(_THREADS) as threads:
            history = list(threads.map(lambda path: read_table(self.lake, path, _HISTORY).to_pandas(), known))
        fleet = FleetNights(pd.concat([*history, *fresh.values()], ignore_index=True), self._labels)
        verdicts = {verdict.date: verdict for verdict in self._replay(fleet, passports)}
        for night in fresh:
            self._keep(paths[night], fleet.rows(night, verdicts[night]))
        return [paths[night] for night in fresh if kept.get(night) != paths[night]]

    def _scores(self, kept: Mapping[str, str], tonight: str) -> dict[str, pd.DataFrame]:
        """Return the scores of tonight and of every night before it that is scored and was not judged, in order."""
        nights = {night for night in self._dated["batch"].unique() if night <= tonight}
        wanted = Scope(frozenset(nights - kept.keys() | {tonight}))
        units = [
            unit
            for unit in plan_scores(self.lake, Work(self.lake.uri, self.work.settings, wanted))
            if unit.variant == self.variant
        ]
        paths: dict[str, list[str]] = {night: [] for night in sorted(wanted.batches or ())}
        for unit in units:
            paths[unit.part.batch].append(unit.path)
        there = set(self.lake.list(f"scores/{self.variant.key(self.work.embedding, self.work.settings.fit)}"))
        missing = set(paths[tonight]) - there
        if missing:
            raise NotComplete(f"{len(missing)} score tables of {tonight} are missing: run `humwatch score` first")
        return {
            night: read_tables(self.lake, tables, _SCORES).to_pandas()
            for night, tables in paths.items()
            if there.issuperset(tables)
        }

    def _passports(self, models: Iterable[tuple[Machine, str]]) -> Passports:
        wanted, key = sorted(set(models)), self.variant.key(self.work.embedding, self.work.settings.fit)
        with ThreadPoolExecutor(_THREADS) as threads:
            found = threads.map(lambda model: get_passport(self.lake, key, *model), wanted)
            return dict(zip(wanted, found, strict=True))

    @cached_property
    def _dated(self) -> pd.DataFrame:
        """The recordings of batches that are nights."""
        recordings = self.catalog.recordings
        return recordings[recordings["batch"].map(_is_date).astype(bool)]

    @cached_property
    def _labels(self) -> dict[tuple[str, Machine], str]:
        """The label of every machine's night that has one."""
        found = {}
        groups = self._dated.groupby(["batch", *MACHINE], dropna=False, sort=False)["label"]
        for (night, *machine), labels in groups:
            if label := label_of(labels):
                found[str(night), machine_of(machine)] = label
        return found

    def _names(self, key: str, kept: Mapping[str, str], fresh: Mapping[str, pd.DataFrame]) -> dict[str, str]:
        """Return the table of each fresh night; one that is kept already where it rests on the same."""
        labels = sorted((night, machine.path, label) for (night, machine), label in self._labels.items())
        paths: dict[str, str] = {}
        for night in sorted({*kept, *fresh}):
            if night not in fresh:
                paths[night] = kept[night]
                continue
            contents = {
                "facts": fresh[night].to_json(orient="values", double_precision=15),
                "labels": [label for label in labels if label[0] <= night],
                "nights": list(paths.values()),
            }
            number, _, name = kept.get(night, "").rpartition("/")[2].removesuffix(".parquet").partition("-")
            found = digest(contents, 12)
            if name != found:
                number = f"{int(number) + 1:03d}" if number else "000"
            paths[night] = f"nights/{key}/{night}/{number}-{found}.parquet"
        return paths

    def _replay(self, fleet: FleetNights, passports: Passports) -> Iterator[Verdict]:
        models = fleet.models()
        every = {**self._passports(models - passports.keys()), **passports}
        abnormal: dict[Machine, set[str]] = {}
        for (night, machine), label in self._labels.items():
            if label == "abnormal":
                abnormal.setdefault(machine, set()).add(night)
        calibrations = {
            model_name(*model): calibration_of(every[model], abnormal.get(model[0], set())) for model in models
        }
        types = [machine.machine_type for machine in fleet.machines]
        return replay(types, fleet.as_nights(), calibrations, self.work.settings.alarms)

    def _keep(self, path: str, rows: pd.DataFrame) -> None:
        rows = rows.assign(backbone=self.variant.backbone, detector=self.variant.detector, seed=self.variant.seed)
        table = pa.Table.from_pandas(rows[MACHINE_NIGHTS.names], schema=MACHINE_NIGHTS, preserve_index=False)
        # what pandas adds tells of the frame's making, and the same rows shall be the same bytes
        create_table(self.lake, path, table.replace_schema_metadata())


def _is_date(batch: str) -> bool:
    try:
        return date.fromisoformat(batch).isoformat() == batch
    except ValueError:
        return False
