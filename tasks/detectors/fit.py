"""One machine's model: fitted to its training recordings, calibrated, kept with its passport."""

from __future__ import annotations

import functools
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from humwatch.storage.errors import ModelIncompatible
from humwatch.storage.lake import Lake
from humwatch.storage.models import Machine, StoredModel, get_model, put_model, set_current
from humwatch.storage.records import Passport
from humwatch.tasks.features.gather import gather_each
from humwatch.tasks.plan.representations import parse
from humwatch.tasks.plan.training import FitUnit

if TYPE_CHECKING:
    from humwatch.tasks.detectors.machine_model import MachineModel

LIBRARIES = ("humwatch", "numpy", "scipy", "scikit-learn", "skops", "torch", "torchvision")


def fit_unit(unit: FitUnit) -> None:
    """Fit a model, keep it and make it current."""
    lake = Lake(unit.lake_uri)
    fit_version(lake, unit)
    set_current(lake, unit.key, unit.machine, unit.version)


def fit_version(lake: Lake, unit: FitUnit) -> None:
    """Fit a model, calibrate it on out-of-fold recordings and keep it as a version that nothing uses yet."""
    from humwatch.tasks.detectors.calibration import (  # noqa: PLC0415 - a second and a half to import, for workers
        domain_notes,
        make_folds,
        threshold,
    )
    from humwatch.tasks.detectors.machine_model import fit_machine_model  # noqa: PLC0415 - as above
    from humwatch.tasks.detectors.serialization import dumps  # noqa: PLC0415 - as above

    windows = gather_each(lake, unit.parts, unit.training, parse(unit.variant.backbone), unit.embedding)
    clips = list(zip(unit.training["path"], unit.training["clip_start_s"].fillna(0.0), strict=True))
    folds = make_folds(list(unit.training["batch"]), unit.fit.calibration_folds, unit.variant.seed, clips)
    fitted = fit_machine_model(unit.variant.detector, windows, unit.fit, unit.variant.seed, folds)
    finite = np.isfinite(fitted.calibration_scores)
    scores, rate = fitted.calibration_scores[finite], unit.fit.false_alarm_rate
    domains = [domain if isinstance(domain, str) else None for domain in unit.training["domain"][finite]]
    limit, reason = threshold(scores, rate, domains)
    unsure = [] if limit is None else domain_notes(scores, rate, domains)
    used = len(unit.training)
    sampled = [] if used == unit.available else [f"a random {used} of {unit.available} training recordings are used"]
    passport = Passport(
        machine=unit.machine.label,
        backbone=unit.variant.backbone,
        detector=unit.variant.detector,
        seed=unit.variant.seed,
        settings={"fit": unit.fit.model_dump(mode="json"), **unit.embedding.model_dump(mode="json")},
        training=unit.fit.training,
        training_recordings=list(unit.training["recording_id"]),
        calibration_scores=scores.tolist(),
        calibration_batches=unit.training["batch"][finite].tolist(),
        calibration_domains=domains,
        false_alarm_rate=rate,
        threshold=limit,
        threshold_reason=reason,
        notes=[*sampled, *fitted.notes, *unsure],
        versions=versions(),
    )
    put_model(lake, unit.key, unit.machine, unit.version, dumps(fitted.model), passport)


def load_model(lake: Lake, key: str, machine: Machine, model_version: str) -> tuple[MachineModel, StoredModel]:
    """Return a stored model, checked against this installation.

    Raises:
        ModelIncompatible: a library whose objects are inside the file differs in its major or minor version.
    """
    from humwatch.tasks.detectors.serialization import loads  # noqa: PLC0415 - as above

    stored = get_model(lake, key, machine, model_version)
    differing = {
        name: (kept, versions()[name])
        for name, kept in stored.passport.versions.items()
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
    return {"python": platform.python_version(), **{name: _version(name) for name in LIBRARIES}}


@functools.cache
def _version(library: str) -> str:
    """Return what is installed, looked up once a process: every model that is loaded asks."""
    return version(library)
