"""Judging a night of a fleet, with each earlier one that is scored and was not judged yet.

How nights are kept is told in `humwatch.tasks.plan.night_tables`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa

from humwatch.storage.errors import NotComplete
from humwatch.storage.lake import map_concurrently
from humwatch.storage.models import Machine, get_passport
from humwatch.storage.parts import list_parts
from humwatch.storage.records import Passport
from humwatch.storage.tables import MACHINE, MACHINE_NIGHTS, SCORES, create_table, read_table, read_tables
from humwatch.tasks.alarms.facts import Passports, label_of, night_facts
from humwatch.tasks.alarms.fleet_nights import FleetNights, model_name
from humwatch.tasks.alarms.night_scores import calibration_of
from humwatch.tasks.alarms.provisional_nights import (
    Said,
    learned_all_the_same,
    provisional_verdicts,
    unlike_nights,
    with_provisional,
)
from humwatch.tasks.alarms.replay import Verdict, replay
from humwatch.tasks.plan.actions import Actions
from humwatch.tasks.plan.catalog import by_machine, machine_of
from humwatch.tasks.plan.night_tables import newest_tables, table_path
from humwatch.tasks.plan.presence import present
from humwatch.tasks.plan.provisional import provisional, provisional_scores
from humwatch.tasks.plan.roles import in_windows
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scope import Scope, is_date, is_dated
from humwatch.tasks.plan.scores import ScoreUnit, expected_scores
from humwatch.tasks.plan.variants import Variant

# All of a score but what its windows say.
_SCORES = pa.schema([field for field in SCORES if field.name != "window_scores"])
_KNOWN = (*MACHINE, "night", "n_scored", "night_score", "model_version", "state", "provisional", "onset")
_HISTORY = pa.schema([MACHINE_NIGHTS.field(name) for name in _KNOWN])


def judge_night(run: Run, variant: Variant, tonight: str) -> list[str]:
    """Judge a night, and each earlier one that is scored and was not judged; return the tables made.

    Raises:
        NotComplete: a part of tonight has not been scored by the current models.
    """
    return _Judge(run, variant).judge(tonight)


@dataclass(frozen=True)
class _Judge:
    run: Run
    variant: Variant

    def judge(self, tonight: str) -> list[str]:
        key = self.run.nights_key(self.variant)
        kept = {night: path for night, path in newest_tables(self.run.lake, key).items() if night <= tonight}
        scores = self._scores(kept, tonight)
        passports = self._passports(_models(scores.values()), self.run)
        fresh = self._facts(scores, passports)
        commissioning = self._commissioning(list(fresh), tonight)
        paths = self._names(key, kept, fresh, commissioning)
        if all(kept.get(night) == paths[night] for night in fresh):
            return []
        known = [path for night, path in kept.items() if night not in fresh]
        history = map_concurrently(lambda path: read_table(self.run.lake, path, _HISTORY).to_pandas(), known)
        facts = pd.concat([*history, *fresh.values()], ignore_index=True)
        fleet = FleetNights(facts, self._labels, self._actions.repaired)
        verdicts = {verdict.date: verdict for verdict in self._replay(fleet, passports)}
        judged = [*history]
        for night, tonight_facts in fresh.items():
            unlike = unlike_nights(rows for rows in judged if (rows["night"] < night).all())
            current = self._current(tonight_facts, passports)
            learned = learned_all_the_same(unlike, current, self._labels, self._actions, night)
            judged.append(with_provisional(fleet.rows(night, verdicts[night]), commissioning[night], learned))
            self._keep(paths[night], judged[-1])
        return [paths[night] for night in fresh if kept.get(night) != paths[night]]

    def _scores(self, kept: Mapping[str, str], tonight: str) -> dict[str, pd.DataFrame]:
        """Return the scores of tonight and of every night before it that is scored and was not judged, in order."""
        nights = {part.batch for part in list_parts(self.run.lake) if is_date(part.batch) and part.batch <= tonight}
        nights -= kept.keys() | {tonight}
        held = {*self.run.history_of(frozenset(nights)).rows["batch"]} if nights else set()
        unjudged = Scope(frozenset(nights & held | {tonight}))
        return self._complete(expected_scores(self.run.scoped(unjudged)), unjudged.batches or frozenset(), tonight)

    def _complete(self, expected: Iterable[ScoreUnit], nights: Iterable[str], tonight: str) -> dict[str, pd.DataFrame]:
        """Return the scores of the nights that have all of theirs, in order."""
        units = [unit for unit in expected if unit.variant == self.variant]
        done = present(self.run.lake, [unit.mark_path for unit in units])
        paths: dict[str, list[str]] = {night: [] for night in sorted(nights)}
        missing: dict[str, int] = dict.fromkeys(paths, 0)
        for unit, scored in zip(units, done, strict=True):
            paths[unit.part.batch].append(unit.path)
            missing[unit.part.batch] += not scored
        if missing.get(tonight):
            raise NotComplete(f"{missing[tonight]} score tables of {tonight} are missing: run `humwatch score` first")
        return {
            night: read_tables(self.run.lake, tables, _SCORES).to_pandas()
            for night, tables in paths.items()
            if not missing[night]
        }

    def _commissioning(self, fresh: list[str], tonight: str) -> dict[str, Said]:
        """Return what each of the nights says for the time being of machines that are commissioned."""
        nothing: dict[str, Said] = {night: {} for night in fresh}
        early = provisional(self.run)
        if early is None:
            return nothing
        window = in_windows(self.run.history_of(frozenset(fresh)).nights, self.run.settings.fit)
        learning = by_machine(window[window["batch"].isin(fresh)])
        nights = {
            night for machine, rows in by_machine(window).items() if machine in learning for night in rows["batch"]
        }
        if not learning:
            return nothing
        compared = Scope(frozenset(night for night in nights if is_date(night) and night <= tonight))
        scores = self._complete(provisional_scores(self.run.scoped(compared)), compared.batches or frozenset(), tonight)
        passports = self._passports(_models(scores.values()), early)
        scored = {night: table for night, table in scores.items() if len(table)}
        facts = self._facts(scored, passports, scored_alone=True)
        settings = self.run.settings
        return {
            night: provisional_verdicts(facts, night, passports, self._labels, self._actions, settings.alarms)
            for night in fresh
        }

    def _facts(
        self, scores: Mapping[str, pd.DataFrame], passports: Passports, *, scored_alone: bool = False
    ) -> dict[str, pd.DataFrame]:
        """Return the facts of some nights: of every machine heard up to each, or `scored_alone`."""
        settings, nights = self.run.settings, frozenset(scores)
        trained = {recording for passport in passports.values() for recording in passport.training_recordings}
        batches = {batch for passport in passports.values() for batch in passport.calibration_batches}
        recordings = self.run.catalog_of(nights | batches).recordings
        if not trained <= {*recordings["recording_id"]}:  # old passports, or recordings that are elsewhere now
            recordings = self.run.catalog_of(None).recordings
        recordings = recordings[is_dated(recordings["batch"])]
        known = self._known_nights(nights, passports)
        return {
            night: night_facts(
                night,
                _of_machines(recordings, table) if scored_alone else recordings,
                _of_machines(known, table) if scored_alone else known,
                table,
                passports,
                settings.alarms,
                settings.fit,
            )
            for night, table in scores.items()
        }

    def _known_nights(self, nights: frozenset[str], passports: Passports) -> pd.DataFrame:
        """Return the nights of every machine; of machines that learn for longer than their window lasts all of them."""
        told = self.run.history_of(nights).nights
        counts = told[told["accepted"] > 0].groupby(MACHINE, dropna=False, sort=False).size().rename("n").reset_index()
        have_models = {machine for machine, _ in passports}
        long = counts[counts["n"] >= self.run.settings.fit.commissioning_nights]
        trained = [machine_of(values) in have_models for values in long[MACHINE].itertuples(index=False, name=None)]
        told = self.run.history_with(nights, long[~np.array(trained, dtype=bool)][MACHINE]).nights
        return told[is_dated(told["batch"])]

    def _current(self, facts: pd.DataFrame, passports: Passports) -> dict[Machine, Passport]:
        """Return the passport of the model of each machine that has one."""
        scored = facts[facts["model_version"].notna()]
        versions = ((machine_of(values), str(version)) for *values, version in
                    scored[[*MACHINE, "model_version"]].itertuples(index=False, name=None))  # fmt: skip
        return {machine: passports[machine, version] for machine, version in versions}

    def _passports(self, models: Iterable[tuple[Machine, str]], run: Run) -> Passports:
        named, key = sorted(set(models)), run.model_key(self.variant)
        passports = map_concurrently(lambda model: get_passport(self.run.lake, key, *model), named)
        return dict(zip(named, passports, strict=True))

    @cached_property
    def _labels(self) -> dict[tuple[str, Machine], str]:
        """The label of every machine's night that has one."""
        labelled = {}
        if not self.run.history_in_scope().has_labels:
            return {}
        rows = self.run.history().rows  # which nights are labelled is told by none but their recordings
        rows = rows[is_dated(rows["batch"])]
        groups = rows.groupby(["batch", *MACHINE], dropna=False, sort=False)["label"]
        for (night, *machine), labels in groups:
            if label := label_of(labels):
                labelled[str(night), machine_of(machine)] = label
        return labelled

    @cached_property
    def _actions(self) -> Actions:
        return Actions.read(self.run.lake)

    def _names(
        self,
        key: str,
        kept: Mapping[str, str],
        fresh: Mapping[str, pd.DataFrame],
        commissioning: Mapping[str, Said],
    ) -> dict[str, str]:
        """Return the table of each fresh night; one that is kept already where it rests on the same."""
        labels = sorted((night, machine.path, label) for (night, machine), label in self._labels.items())
        paths: dict[str, str] = {}
        for night in sorted({*kept, *fresh}):
            if night not in fresh:
                paths[night] = kept[night]
                continue
            contents: dict[str, object] = {
                "facts": fresh[night].to_json(orient="values", double_precision=15),
                "labels": [label for label in labels if label[0] <= night],
                "nights": list(paths.values()),
            }
            if repairs := self._repairs(fresh[night], night):
                contents["repairs"] = repairs
            if said := commissioning[night]:
                contents["provisional"] = {machine.path: verdict for machine, verdict in said.items()}
            paths[night] = table_path(key, night, kept.get(night), contents)
        return paths

    def _repairs(self, facts: pd.DataFrame, night: str) -> list[tuple[str, str]]:
        """Return the machines that were repaired by a night, each with the night of its last repair."""
        known = (machine_of(values) for values in facts[MACHINE].itertuples(index=False, name=None))
        repairs = ((machine.path, self._actions.repaired(machine, night)) for machine in known)
        return sorted((path, first) for path, first in repairs if first is not None)

    def _replay(self, fleet: FleetNights, passports: Passports) -> Iterator[Verdict]:
        models = fleet.models()
        every = {**self._passports(models - passports.keys(), self.run), **passports}
        abnormal: dict[Machine, set[str]] = {}
        for (night, machine), label in self._labels.items():
            if label == "abnormal":
                abnormal.setdefault(machine, set()).add(night)
        calibrations = {
            model_name(*model): calibration_of(every[model], abnormal.get(model[0], set())) for model in models
        }
        types = [machine.machine_type for machine in fleet.machines]
        names = [machine.name for machine in fleet.machines]
        return replay(types, names, fleet.as_nights(), calibrations, self.run.settings.alarms)

    def _keep(self, path: str, rows: pd.DataFrame) -> None:
        rows = rows.assign(backbone=self.variant.backbone, detector=self.variant.detector, seed=self.variant.seed)
        table = pa.Table.from_pandas(rows[MACHINE_NIGHTS.names], schema=MACHINE_NIGHTS, preserve_index=False)
        # what pandas adds tells of the frame's making, and the same rows shall be the same bytes
        create_table(self.run.lake, path, table.replace_schema_metadata())


def _models(scores: Iterable[pd.DataFrame]) -> set[tuple[Machine, str]]:
    """Return machine and version of every model that made these scores."""
    named = (table[[*MACHINE, "model_version"]].drop_duplicates() for table in scores)
    return {(machine_of(values), version) for rows in named for *values, version in rows.itertuples(index=False)}


def _of_machines(recordings: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Return the recordings of the machines that have scores."""
    scored = pd.MultiIndex.from_frame(scores[MACHINE].drop_duplicates())
    return recordings[pd.MultiIndex.from_frame(recordings[MACHINE]).isin(scored)]
