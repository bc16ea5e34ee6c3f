"""One machine's model: which recordings train it, what it is called, and its passport."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import pandas as pd

from storage.errors import ModelIncompatible
from storage.keys import digest, settings_key
from storage.lake import Lake
from storage.models import Machine, StoredModel, get_model, has_model, put_model, set_current
from storage.parts import Part
from tasks.detectors.calibration import domain_notes, make_folds, threshold
from tasks.detectors.machine_model import MachineModel, fit_machine_model
from tasks.detectors.serialization import dumps, loads
from tasks.features.blocks import EmbeddingSettings
from tasks.features.gather import gather
from tasks.features.representations import parse
from tasks.features.windows import n_windows
from tasks.settings import AUTOENCODER_NAMES, DetectorName, FitSettings

# Fields that only one family of detectors reads: a change of them must not refit the others.
_FIELDS_OF = {
    "gmm": "gmm_",
    "bayesian_gmm": "gmm_",
    "ocsvm": "ocsvm_",
    "isolation_forest": "isolation_forest_",
    "kde": "kde_",
    "knn": "knn_",
    **dict.fromkeys(AUTOENCODER_NAMES, "autoencoder_"),
}
TRAINING = ["recording_id", "content_tag", "batch", "domain", "part_id", "row"]
_NOT_SHAPING = {"detectors", "seeds", "autoencoder_device"}
LIBRARIES = ("humwatch", "numpy", "scipy", "scikit-learn", "skops", "torch", "torchvision")


@dataclass(frozen=True)
class Variant:
    """One column of the comparison: a representation (or several, fused), a detector and a seed."""

    backbone: str
    detector: DetectorName
    seed: int

    def key(self, embedding: EmbeddingSettings, fit: FitSettings) -> str:
        """Return the key of this variant's models and scores."""
        others = {prefix for prefix in _FIELDS_OF.values() if prefix != _FIELDS_OF.get(self.detector)}
        shaping = {
            name: value
            for name, value in fit.model_dump(mode="json").items()
            if name not in _NOT_SHAPING and not name.startswith(tuple(others))
        }
        features = [embedding.key(representation) for representation in parse(self.backbone)]
        settings = {"fit": shaping, "features": features, "detector": self.detector, "seed": self.seed}
        return settings_key((self.detector, self.backbone, f"s{self.seed}"), settings)


def variants(backbones: tuple[str, ...], fit: FitSettings) -> list[Variant]:
    """Return every combination that the settings ask for, in a fixed order."""
    return [
        Variant(backbone, detector, seed) for backbone in backbones for detector in fit.detectors for seed in fit.seeds
    ]


@dataclass(frozen=True)
class FitUnit:
    """What a worker needs to fit one model, as from `plan_fit`.

    `training` has the recordings fitted to: recording_id, content_tag, batch, domain, part_id and row. `available` is
    how many there were to choose from.
    """

    lake_uri: str
    machine: Machine
    variant: Variant
    training: pd.DataFrame
    available: int
    parts: Mapping[str, Part]
    embedding: EmbeddingSettings
    fit: FitSettings

    @property
    def key(self) -> str:
        """The models' key."""
        return self.variant.key(self.embedding, self.fit)

    @property
    def version(self) -> str:
        """The model's version: a hash of its training set and settings."""
        known = self.training[["recording_id", "content_tag", "domain"]].astype(object)
        contents = known.where(known.notna(), None).to_numpy().tolist()
        return digest({"key": self.key, "machine": self.machine.path, "training": contents}, 12)


def plan_fit(
    lake: Lake,
    machine: Machine,
    variant: Variant,
    recordings: pd.DataFrame,
    parts: Mapping[str, Part],
    embedding: EmbeddingSettings,
    fit: FitSettings,
) -> FitUnit:
    """Return the unit for a machine's training recordings (rows of the catalog), or for a seeded sample of too many."""
    windowed = any(representation.level == "window" for representation in parse(variant.backbone))
    windows = np.array([n_windows(int(n), embedding.images) if windowed else 1 for n in recordings["n_frames"]])
    training = bounded(recordings[TRAINING], windows, fit, variant.seed)
    needed = {part_id: parts[part_id] for part_id in training["part_id"].unique()}
    return FitUnit(lake.uri, machine, variant, training, len(recordings), needed, embedding, fit)


def bounded(training: pd.DataFrame, windows_of_each: np.ndarray, fit: FitSettings, seed: int) -> pd.DataFrame:
    """Return a seeded sample of `fit.max_recordings` with at most `fit.max_windows` windows in all, in their order."""
    if len(training) <= fit.max_recordings and windows_of_each.sum() <= fit.max_windows:
        return training
    order = np.random.default_rng(seed).permutation(len(training))[: fit.max_recordings]
    within = np.cumsum(windows_of_each[order]) <= fit.max_windows
    within[0] = True  # one recording always, however long
    return training.iloc[np.sort(order[within])]


def fit_unit(unit: FitUnit) -> None:
    """Fit a model, keep it and make it current."""
    lake = Lake(unit.lake_uri)
    fit_version(lake, unit)
    set_current(lake, unit.key, unit.machine, unit.version)


def use_version(lake: Lake, unit: FitUnit) -> bool:
    """Make a unit's model current if it was fitted before; return whether it was."""
    key, version = unit.key, unit.version
    fitted = has_model(lake, key, unit.machine, version)
    if fitted:
        set_current(lake, key, unit.machine, version)
    return fitted


def fit_version(lake: Lake, unit: FitUnit) -> None:
    """Fit a model, calibrate it on out-of-fold recordings and keep it as a version that nothing uses yet."""
    windows = [
        gather(lake, unit.parts, unit.training, representation, unit.embedding)
        for representation in parse(unit.variant.backbone)
    ]
    folds = make_folds(list(unit.training["batch"]), unit.fit.calibration_folds, unit.variant.seed)
    fitted = fit_machine_model(unit.variant.detector, windows, unit.fit, unit.variant.seed, folds)
    finite = np.isfinite(fitted.calibration_scores)
    scores, rate = fitted.calibration_scores[finite], unit.fit.false_alarm_rate
    domains = [domain if isinstance(domain, str) else None for domain in unit.training["domain"][finite]]
    limit, reason = threshold(scores, rate, domains)
    unsure = [] if limit is None else domain_notes(scores, rate, domains)
    used = len(unit.training)
    sampled = [] if used == unit.available else [f"a random {used} of {unit.available} training recordings are used"]
    passport = {
        "machine": unit.machine.label,
        "backbone": unit.variant.backbone,
        "detector": unit.variant.detector,
        "seed": unit.variant.seed,
        "settings": {"fit": unit.fit.model_dump(mode="json"), **unit.embedding.model_dump(mode="json")},
        "training": unit.fit.training,
        "training_recordings": list(unit.training["recording_id"]),
        "calibration_scores": scores.tolist(),
        "calibration_batches": unit.training["batch"][finite].tolist(),
        "calibration_domains": domains,
        "false_alarm_rate": rate,
        "threshold": limit,
        "threshold_reason": reason,
        "notes": [*sampled, *fitted.notes, *unsure],
        "versions": versions(),
    }
    put_model(lake, unit.key, unit.machine, unit.version, dumps(fitted.model), passport)


def load_model(lake: Lake, key: str, machine: Machine, model_version: str) -> tuple[MachineModel, StoredModel]:
    """Return a stored model, checked against this installation.

    Raises:
        ModelIncompatible: a library whose objects are inside the file differs in its major or minor version.
    """
    stored = get_model(lake, key, machine, model_version)
    differing = {
        name: (kept, versions()[name])
        for name, kept in stored.passport["versions"].items()
        if name == "scikit-learn" and kept.split(".")[:2] != versions()[name].split(".")[:2]
    }
    if differing:
        listed = ", ".join(f"{name} {kept} (here {here})" for name, (kept, here) in differing.items())
        raise ModelIncompatible(
            f"the model of {machine.label} was fitted with {listed}: fit it again or install that version"
        )
    return loads(stored.model), stored


def versions() -> dict[str, str]:
    """Return the versions that a passport and a report name."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
