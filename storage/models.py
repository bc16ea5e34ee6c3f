"""Models and their passports: one folder a version, one pointer to the current version of each machine and key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from storage.errors import ModelIncompatible, SourceNotFound
from storage.keys import path_component
from storage.lake import Lake, side_by_side


@dataclass(frozen=True, order=True)
class Machine:
    """What one model is for: a machine, under one condition where its archive names conditions."""

    machine_type: str
    machine_id: str
    site: str | None = None
    condition: str | None = None

    @property
    def path(self) -> str:
        """Its folder below `models/<key>/`."""
        # `@` parts a machine from its site, so one that belongs to a name is quoted.
        names = [path_component(name).replace("@", "%40") for name in (self.machine_id, self.site) if name is not None]
        condition = [path_component(self.condition)] if self.condition else []
        return "/".join([path_component(self.machine_type), "@".join(names), *condition])

    @property
    def label(self) -> str:
        """How tables and messages name it."""
        return " ".join(part for part in (self.site, self.machine_type, self.machine_id, self.condition) if part)


@dataclass(frozen=True)
class StoredModel:
    """A model's bytes and its passport."""

    version: str
    model: bytes
    passport: dict[str, Any]


def has_model(lake: Lake, key: str, machine: Machine, version: str) -> bool:
    """Whether this version is whole: the passport is written after the model."""
    return lake.exists(f"{_folder(key, machine)}/{version}/passport.json")


def put_model(lake: Lake, key: str, machine: Machine, version: str, model: bytes, passport: Mapping[str, Any]) -> None:
    """Keep a version, its passport with the model's `model_sha256`; one that is there already is left as it is."""
    folder = f"{_folder(key, machine)}/{version}"
    if not lake.create(f"{folder}/model.skops", model):
        model = lake.read(f"{folder}/model.skops")  # another writer's, who has not come to the passport
    kept = {**passport, "model_sha256": hashlib.sha256(model).hexdigest()}
    lake.create(f"{folder}/passport.json", json.dumps(kept, sort_keys=True, indent=1).encode())


def get_model(lake: Lake, key: str, machine: Machine, version: str) -> StoredModel:
    """Return a version.

    Raises:
        SourceNotFound: it is not there.
        ModelIncompatible: its model is not the file its passport was written for.
    """
    passport = get_passport(lake, key, machine, version)
    path = f"{_folder(key, machine)}/{version}/model.skops"
    model = lake.read(path)
    if passport.get("model_sha256") != hashlib.sha256(model).hexdigest():
        raise ModelIncompatible(
            f"{lake.uri_of(path)} is not the model of its passport: delete its folder and fit again"
        )
    return StoredModel(version, model, passport)


def get_passport(lake: Lake, key: str, machine: Machine, version: str) -> dict[str, Any]:
    """Return a version's passport alone."""
    passport: dict[str, Any] = lake.read_json(f"{_folder(key, machine)}/{version}/passport.json")
    return passport


def set_current(lake: Lake, key: str, machine: Machine, version: str) -> None:
    """Make a version the one that scores new recordings; the one it replaces is remembered for `roll_back`."""
    replaced = current_version(lake, key, machine)
    if replaced != version:
        _write_pointer(lake, key, machine, {"version": version, "previous": replaced})


def roll_back(lake: Lake, key: str, machine: Machine) -> str | None:
    """Make the previous version current again and return it; None, and nothing changed, when there is none."""
    pointer = _read_pointer(lake, key, machine)
    previous = pointer.get("previous")
    if previous is not None:
        _write_pointer(lake, key, machine, {"version": previous, "previous": pointer["version"]})
    return previous


def current_version(lake: Lake, key: str, machine: Machine) -> str | None:
    """Return the current version, None when the machine has no model."""
    return _read_pointer(lake, key, machine).get("version")


def current_versions(lake: Lake, key: str, machines: Iterable[Machine]) -> dict[Machine, str]:
    """Return the current version of every machine that has a model."""
    wanted = list(machines)
    versions = side_by_side(lambda machine: current_version(lake, key, machine), wanted)
    return {machine: version for machine, version in zip(wanted, versions, strict=True) if version}


def put_gate(lake: Lake, key: str, machine: Machine, result: Mapping[str, Any]) -> None:
    """Keep the outcome of a machine's last retraining, accepted or refused."""
    lake.write(f"{_folder(key, machine)}/gate.json", json.dumps(dict(result), sort_keys=True, indent=1).encode())


def get_gate(lake: Lake, key: str, machine: Machine) -> dict[str, Any] | None:
    """Return the outcome of a machine's last retraining, None when it was never retrained."""
    try:
        gate: dict[str, Any] = lake.read_json(f"{_folder(key, machine)}/gate.json")
    except SourceNotFound:
        return None
    return gate


def _read_pointer(lake: Lake, key: str, machine: Machine) -> dict[str, str | None]:
    try:
        pointer: dict[str, str | None] = lake.read_json(f"{_folder(key, machine)}/current.json")
    except SourceNotFound:
        return {}
    return pointer


def _write_pointer(lake: Lake, key: str, machine: Machine, pointer: Mapping[str, str | None]) -> None:
    lake.write(f"{_folder(key, machine)}/current.json", json.dumps(dict(pointer)).encode())


def _folder(key: str, machine: Machine) -> str:
    return f"models/{key}/{machine.path}"
