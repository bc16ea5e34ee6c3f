"""Which stores of spectrograms and features should be in a lake: one a part, and a part and representation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from humwatch.storage.parts import Part, PartStore
from humwatch.tasks.plan.presence import present
from humwatch.tasks.plan.representations import Representation
from humwatch.tasks.plan.run import Run


@dataclass(frozen=True)
class SpectrogramStore:
    """The spectrograms of a part."""

    part: Part
    key: str

    @property
    def store(self) -> PartStore:
        """Its names in the lake."""
        return self.part.store("spectrograms", self.key)

    @property
    def mark_path(self) -> str:
        """The mark of the store."""
        return self.store.mark_path


@dataclass(frozen=True)
class FeatureStore:
    """One representation of a part."""

    part: Part
    representation: Representation
    key: str

    @property
    def store(self) -> PartStore:
        """Its names in the lake."""
        return self.part.store("features", self.key)

    @property
    def mark_path(self) -> str:
        """The mark of the store."""
        return self.store.mark_path


def expected_spectrograms(run: Run) -> list[SpectrogramStore]:
    """Return the stores of the parts in scope that hold a current recording."""
    return [SpectrogramStore(part, run.spectrogram_key) for part in _parts(run)]


def expected_features(run: Run) -> list[FeatureStore]:
    """Return the stores of the parts in scope whose spectrograms are complete; parts in order, then representations."""
    spectrograms = expected_spectrograms(run)
    decoded = present(run.lake, [store.mark_path for store in spectrograms])
    return features_of(run, [store.part for store, done in zip(spectrograms, decoded, strict=True) if done])


def features_of(run: Run, parts: Iterable[Part]) -> list[FeatureStore]:
    """Return the stores of some parts, decoded or not; parts in order, then representations."""
    representations = [(representation, run.embedding.key(representation)) for representation in run.representations]
    return [FeatureStore(part, representation, key) for part in parts for representation, key in representations]


def _parts(run: Run) -> list[Part]:
    history = run.history_in_scope()
    held = set(history.rows["part_id"])
    return [part for part in run.scope.parts(history.parts.values()) if part.part_id in held]
