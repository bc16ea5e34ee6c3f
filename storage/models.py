"""Models and their passports: one folder a version, one pointer to the current version of each machine and key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from storage.errors import SourceNotFound
from storage.keys import path_component
from storage.lake import Lake


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
        name = f"{self.machine_id}@{self.site}" if self.site else self.machine_id
        parts = [self.machine_type, name, *([self.condition] if self.condition else [])]
        return "/".join(path_component(part) for part in parts)

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
    """Keep a version; a version that is there already is left as it is."""
    folder = f"{_folder(key, machine)}/{version}"
    lake.create(f"{folder}/model.skops", model)
    lake.create(f"{folder}/passport.json", json.dumps(dict(passport), sort_keys=True, indent=1).encode())


def get_model(lake: Lake, key: str, machine: Machine, version: str) -> StoredModel:
    """Return a version; `SourceNotFound` when it is not there."""
    folder = f"{_folder(key, machine)}/{version}"
    return StoredModel(version, lake.read(f"{folder}/model.skops"), lake.read_json(f"{folder}/passport.json"))


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
