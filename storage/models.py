"""Models and their passports: one folder a version, one pointer to the current version of each machine and key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from humwatch.storage.errors import ModelIncompatible, SourceNotFound
from humwatch.storage.lake import Lake, map_concurrently
from humwatch.storage.naming import path_component
from humwatch.storage.records import Gate, Passport, Pointer, Record, read_record

R = TypeVar("R", bound=Record)


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
    def name(self) -> str:
        """What patterns and commands name it: `TYPE/ID`, with a site `SITE/TYPE/ID`."""
        return "/".join(part for part in (self.site, self.machine_type, self.machine_id) if part)

    @property
    def label(self) -> str:
        """How tables and messages name it."""
        return " ".join(part for part in (self.site, self.machine_type, self.machine_id, self.condition) if part)


@dataclass(frozen=True)
class StoredModel:
    """A model's bytes and its passport."""

    version: str
    model: bytes
    passport: Passport


def passport_path(key: str, machine: Machine, version: str) -> str:
    """Return where a version's passport is; it is written after the model, so with it the version is whole."""
    return f"{_folder(key, machine)}/{version}/passport.json"


def put_model(lake: Lake, key: str, machine: Machine, version: str, model: bytes, passport: Passport) -> None:
    """Keep a version, its passport with the model's `model_sha256`; one that is there already is left as it is."""
    path = f"{_folder(key, machine)}/{version}/model.skops"
    if not lake.create(path, model):
        model = lake.read(path)  # another writer's, who has not come to the passport
    kept = passport.model_copy(update={"model_sha256": hashlib.sha256(model).hexdigest()})
    lake.create(passport_path(key, machine, version), kept.encode())


def get_model(lake: Lake, key: str, machine: Machine, version: str) -> StoredModel:
    """Return a version.

    Raises:
        SourceNotFound: it is not there.
        LakeDamaged: its passport cannot be read.
        ModelIncompatible: its model is not the file its passport was written for.
    """
    passport = get_passport(lake, key, machine, version)
    path = f"{_folder(key, machine)}/{version}/model.skops"
    model = lake.read(path)
    if passport.model_sha256 != hashlib.sha256(model).hexdigest():
        raise ModelIncompatible(
            f"{lake.uri_of(path)} is not the model of its passport: delete its folder and fit again"
        )
    return StoredModel(version, model, passport)


def get_passport(lake: Lake, key: str, machine: Machine, version: str) -> Passport:
    """Return a version's passport alone."""
    return read_record(lake, passport_path(key, machine, version), Passport)


def set_current(lake: Lake, key: str, machine: Machine, version: str) -> None:
    """Make a version the one that scores new recordings; the one it replaces is remembered for `roll_back`."""
    replaced = current_version(lake, key, machine)
    if replaced != version:
        _write_pointer(lake, key, machine, Pointer(version=version, previous=replaced))


def roll_back(lake: Lake, key: str, machine: Machine) -> str | None:
    """Make the previous version current again and return it; None, and nothing changed, when there is none."""
    pointer = get_pointer(lake, key, machine)
    if pointer is None or pointer.previous is None:
        return None
    _write_pointer(lake, key, machine, Pointer(version=pointer.previous, previous=pointer.version))
    return pointer.previous


def current_version(lake: Lake, key: str, machine: Machine) -> str | None:
    """Return the current version, None when the machine has no model."""
    pointer = get_pointer(lake, key, machine)
    return None if pointer is None else pointer.version


def current_versions(lake: Lake, key: str, machines: Iterable[Machine]) -> dict[Machine, str]:
    """Return the current version of every machine that has a model."""
    named = list(machines)
    versions = map_concurrently(lambda machine: current_version(lake, key, machine), named)
    return {machine: version for machine, version in zip(named, versions, strict=True) if version}


def put_gate(lake: Lake, key: str, machine: Machine, gate: Gate) -> None:
    """Keep the outcome of a machine's last retraining, accepted or refused."""
    lake.write(f"{_folder(key, machine)}/gate.json", gate.encode())


def get_gate(lake: Lake, key: str, machine: Machine) -> Gate | None:
    """Return the outcome of a machine's last retraining, None when it was never retrained."""
    return _read(lake, f"{_folder(key, machine)}/gate.json", Gate)


def get_pointer(lake: Lake, key: str, machine: Machine) -> Pointer | None:
    """Return which version is current and which was before, None when the machine has no model."""
    return _read(lake, f"{_folder(key, machine)}/current.json", Pointer)


def _write_pointer(lake: Lake, key: str, machine: Machine, pointer: Pointer) -> None:
    lake.write(f"{_folder(key, machine)}/current.json", pointer.encode())


def _read(lake: Lake, path: str, kind: type[R]) -> R | None:
    try:
        return read_record(lake, path, kind)
    except SourceNotFound:
        return None


def _folder(key: str, machine: Machine) -> str:
    return f"models/{key}/{machine.path}"
