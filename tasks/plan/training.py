"""Which models should be in a lake: for each machine the recordings that train it, and the name of what they make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pandas as pd

from humwatch.storage.models import Machine, passport_path
from humwatch.storage.naming import digest
from humwatch.storage.parts import Part
from humwatch.storage.tables import MACHINE
from humwatch.tasks.frames import python_values
from humwatch.tasks.plan.actions import Actions
from humwatch.tasks.plan.catalog import by_machine
from humwatch.tasks.plan.keys import EmbeddingSettings, model_key
from humwatch.tasks.plan.representations import parse
from humwatch.tasks.plan.roles import assign_roles, training_nights
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scope import Scope
from humwatch.tasks.plan.tonight import of_nights
from humwatch.tasks.plan.variants import Variant
from humwatch.tasks.settings import FitSettings, RetrainSettings

TRAINING = ["recording_id", "content_tag", "batch", "domain", "path", "clip_start_s", "part_id", "row"]


@dataclass(frozen=True)
class FitUnit:
    """What a worker needs to fit one model, as from `plan_fit`.

    `training` has the recordings fitted to, with the columns `TRAINING`. `available` is how many there were to choose
    from.
    """

    lake_uri: str
    machine: Machine
    variant: Variant
    training: pd.DataFrame
    available: int
    parts: Mapping[str, Part]
    embedding: EmbeddingSettings
    fit: FitSettings

    def __str__(self) -> str:
        return f"{self.variant.detector} on {self.variant.backbone} of {self.machine.label}, {len(self.training)} rows"

    @property
    def key(self) -> str:
        """The models' key."""
        return model_key(self.variant, self.embedding, self.fit)

    @property
    def version(self) -> str:
        """The model's version: a hash of its training set and settings."""
        contents = python_values(self.training[["recording_id", "content_tag", "domain"]]).to_numpy().tolist()
        return digest({"key": self.key, "machine": self.machine.path, "training": contents}, 12)

    @property
    def mark_path(self) -> str:
        """Its passport, which is written after the model."""
        return passport_path(self.key, self.machine, self.version)


@dataclass(frozen=True)
class RetrainUnit:
    """A candidate to fit, and the later recordings (recording_id, part_id, row), with their parts, it must pass on."""

    candidate: FitUnit
    gate: pd.DataFrame
    gate_parts: Mapping[str, Part]
    settings: RetrainSettings

    def __str__(self) -> str:
        return str(self.candidate)


def expected_models(run: Run) -> Iterator[FitUnit]:
    """Yield every model of the machines in scope that the settings ask for.

    Under `assumed_normal` a machine that has a model keeps it (only retraining replaces it), so it is not among them.
    """
    fit = run.settings.fit
    keeps_models = fit.training == "assumed_normal"
    machines = Scope(_commissioned(run) if keeps_models else None, run.scope.machines)
    catalog = run.scoped(machines).catalog()
    for seed in fit.seeds:
        accepted = catalog.accepted
        accepted = accepted.assign(role=assign_roles(accepted, fit, seed, catalog.history.nights))
        training = machines.recordings(accepted[accepted["role"] == "train"])
        # Bits depend on the order of rows, and nothing shall depend on how recordings were grouped into parts.
        of_machine = by_machine(training.sort_values("recording_id"))
        for variant in (variant for variant in run.variants if variant.seed == seed):
            kept = run.current_versions(run.model_key(variant), of_machine) if keeps_models else {}
            for machine, rows in of_machine.items():
                if machine not in kept:
                    yield plan_fit(run, machine, variant, rows, catalog.parts)


def plan_retraining(run: Run) -> Iterator[RetrainUnit]:
    """Yield a unit for every machine in scope with nights to train on and later ones for the gate, for every variant.

    Recordings labelled abnormal are in neither, nor nights before a machine's last repair. Machines with too few nights
    have no unit.
    """
    run, retrain, actions = run.under("assumed_normal"), run.settings.retrain, Actions.read(run.lake)
    heard = of_nights(run.scope.recordings(run.history().eligible), run.now)
    history = _since_repair(heard, actions)
    nights_of = history[history["label"] != "abnormal"].groupby(MACHINE, dropna=False)["batch"]
    newest = [sorted(nights.unique())[-(retrain.training_nights + retrain.gate_nights) :] for _, nights in nights_of]
    catalog = run.catalog_of(frozenset(chain(*newest)))
    accepted = run.scope.recordings(catalog.accepted).sort_values("recording_id")  # as for a first model
    accepted = _since_repair(accepted[accepted["batch"].isin({*chain(*newest)})], actions)
    for machine, rows in by_machine(accepted[accepted["label"] != "abnormal"]).items():
        nights = sorted(rows["batch"].unique())
        before, held_back = nights[: -retrain.gate_nights], nights[-retrain.gate_nights :]
        training = rows[rows["batch"].isin(before[-retrain.training_nights :])]
        if len(training) < run.settings.fit.min_training_recordings:
            continue
        gate = rows[rows["batch"].isin(held_back)][TRAINING]
        parts = {part_id: catalog.parts[part_id] for part_id in gate["part_id"].unique()}
        for variant in run.variants:
            yield RetrainUnit(plan_fit(run, machine, variant, training, catalog.parts), gate, parts, retrain)


def _since_repair(recordings: pd.DataFrame, actions: Actions) -> pd.DataFrame:
    """Return the recordings that were not made before the last repair of their machine."""
    newest = str(recordings["batch"].max())
    repaired = ((rows, actions.repaired(machine, newest)) for machine, rows in by_machine(recordings).items())
    before = [rows.index[rows["batch"] < first] for rows, first in repaired if first is not None]
    return recordings.drop(index=[*chain(*before)])


def why_no_candidate(run: Run) -> dict[Machine, str]:
    """Return the machines in scope for which `plan_retraining` has no unit, and in words what they lack."""
    run, retrain, wanted = run.under("assumed_normal"), run.settings.retrain, run.settings.fit.min_training_recordings
    lacking = {}
    heard = of_nights(run.scope.recordings(run.history().eligible), run.now)
    for machine, rows in by_machine(_since_repair(heard, Actions.read(run.lake))).items():
        usable = rows[rows["label"] != "abnormal"]["batch"]
        nights = sorted(usable.unique())
        training = usable.isin(nights[: -retrain.gate_nights][-retrain.training_nights :]).sum()
        if training < wanted:
            lacking[machine] = (
                f"{training} recordings on its {len(nights)} nights without the last {retrain.gate_nights}, which are "
                f"for the gate (retrain.gate_nights); {wanted} are needed (fit.min_training_recordings)"
            )
    return lacking


def plan_fit(
    run: Run, machine: Machine, variant: Variant, recordings: pd.DataFrame, parts: Mapping[str, Part]
) -> FitUnit:
    """Return the unit for a machine's training recordings (rows of the catalog), or for a seeded sample of too many."""
    embedding, fit = run.embedding, run.settings.fit
    windowed = any(representation.level == "window" for representation in parse(variant.backbone))
    of_one_channel = np.array([embedding.images.n_windows(int(n)) if windowed else 1 for n in recordings["n_frames"]])
    windows = of_one_channel * recordings["channels_heard"].fillna(1).to_numpy(dtype=int)
    training = bounded(recordings[TRAINING], windows, fit, variant.seed)
    needed = {part_id: parts[part_id] for part_id in training["part_id"].unique()}
    return FitUnit(run.lake_uri, machine, variant, training, len(recordings), needed, embedding, fit)


def bounded(training: pd.DataFrame, windows_of_each: np.ndarray, fit: FitSettings, seed: int) -> pd.DataFrame:
    """Return a seeded sample of `fit.max_recordings` with at most `fit.max_windows` windows in all, in their order."""
    if len(training) <= fit.max_recordings and windows_of_each.sum() <= fit.max_windows:
        return training
    order = np.random.default_rng(seed).permutation(len(training))[: fit.max_recordings]
    inside = np.cumsum(windows_of_each[order]) <= fit.max_windows
    inside[0] = True  # one recording always, however long
    return training.iloc[np.sort(order[inside])]


def _commissioned(run: Run) -> frozenset[str]:
    """Return the batches of the commissioning windows of machines that lack a model."""
    fit = run.settings.fit
    nights = training_nights(run.history_in_scope().nights, fit)
    machines = by_machine(Scope(machines=run.scope.machines).recordings(nights))
    fitted = [run.current_versions(run.model_key(variant), machines) for variant in run.variants]
    lacking = [rows["batch"] for machine, rows in machines.items() if any(machine not in each for each in fitted)]
    return frozenset(chain.from_iterable(lacking))
