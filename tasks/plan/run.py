"""One run's view of a lake: its settings, its scope, its keys, and what the lake holds, read once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, get_args

import pandas as pd

from humwatch.storage.lake import Lake
from humwatch.storage.looked_at import LakeLookedAt
from humwatch.storage.models import Machine, current_versions
from humwatch.storage.parts import Part
from humwatch.tasks.plan.catalog import Catalog, catalog_of, unfinished_parts
from humwatch.tasks.plan.history import History, HistoryReader
from humwatch.tasks.plan.keys import EmbeddingSettings, model_key, nights_key, spectrogram_key
from humwatch.tasks.plan.representations import Representation, parse_all
from humwatch.tasks.plan.scope import EVERYTHING, Scope
from humwatch.tasks.plan.tallies import Window
from humwatch.tasks.plan.variants import Variant, variants
from humwatch.tasks.settings import FitSettings, Settings, Training
from humwatch.tasks.weights.sources import WITHOUT_WEIGHTS
from humwatch.tasks.weights.weights import find, require_weights


class _Snapshot:
    """What was read of a lake; the runs of every scope that are made of one another share it."""

    def __init__(self) -> None:
        self.histories: dict[frozenset[str] | None, History] = {}
        self.holding: dict[frozenset[str], frozenset[str]] = {}
        self.unfinished: frozenset[Part] = frozenset()
        self.catalogs: dict[frozenset[str] | None, Catalog] = {}
        self.versions: dict[tuple[str, Machine], str | None] = {}

    def clear(self) -> None:
        self.histories.clear()
        self.holding.clear()
        self.unfinished = frozenset()
        self.catalogs.clear()
        self.versions.clear()


@dataclass(frozen=True)
class Run:
    """What every stage is given.

    The history, the catalogs and which models are current are read when they are first asked for, and kept: a stage
    that changes what they say calls `refresh` or `forget_models`. What other runs add meanwhile is theirs to work on.

    `now` is the clock of the whole run: when it began, with a zone. A run that `only_looks` ends with `SomethingToDo`
    where the lake would be changed.
    """

    lake_uri: str
    settings: Settings
    scope: Scope = EVERYTHING
    now: datetime = field(default_factory=lambda: datetime.now(UTC), compare=False)
    only_looks: bool = field(default=False, compare=False)

    @cached_property
    def lake(self) -> Lake:
        """The lake, begun if it is new.

        Raises:
            LakeTooNew, SourceForbidden, SourceNotFound, StorageUnavailable: see `Lake.open`.
        """
        return (LakeLookedAt if self.only_looks else Lake).open(self.lake_uri)

    # Not a field: Prefect looks into the fields of what a task is given.
    @cached_property
    def _snapshot(self) -> _Snapshot:
        return _Snapshot()

    def looking(self) -> Run:
        """Return the same run on a lake that it cannot change; what it reads of the lake is shared."""
        look = self._like(only_looks=True)
        vars(look).pop("lake", None)
        return look

    def scoped(self, scope: Scope) -> Run:
        """Return the same run about another part of the lake; what was read of the lake is shared."""
        return self._like(scope=scope)

    def under(self, training: Training) -> Run:
        """Return the same run under one kind of `fit.training`: nights and evaluations share a lake."""
        if self.settings.fit.training == training:
            return self
        return self.with_fit(self.settings.fit.model_copy(update={"training": training}))

    def with_fit(self, fit: FitSettings) -> Run:
        """Return the same run under other settings of models; what was read of the lake is shared.

        So its commissioning windows must be within those of this run.
        """
        _ = self._reader
        return self._like(settings=self.settings.model_copy(update={"fit": fit}))

    def under_each_training(self) -> list[Run]:
        """Return the run as it is, then as under the other `fit.training`."""
        trainings = sorted(get_args(Training), key=lambda training: training != self.settings.fit.training)
        return [self.under(training) for training in trainings]

    def refresh(self) -> None:
        """Forget what was read: something has changed it, or may have."""
        self._snapshot.clear()

    def forget_models(self) -> None:
        """Forget which models are current: something has changed it, or may have."""
        self._snapshot.versions.clear()

    def current_versions(self, key: str, machines: Iterable[Machine]) -> dict[Machine, str]:
        """Return the current version under a key of models, of every machine that has one."""
        wanted, known = list(machines), self._snapshot.versions
        unknown = [machine for machine in wanted if (key, machine) not in known]
        found = current_versions(self.lake, key, unknown)
        known.update({(key, machine): found.get(machine) for machine in unknown})
        return {machine: version for machine in wanted if (version := known[key, machine])}

    def history(self) -> History:
        """Return what the lake knows of every recording, in scope or not: of as many rows as there are recordings."""
        return self.history_of(None)

    def history_of(self, batches: frozenset[str] | None) -> History:
        """Return what the lake knows of the recordings of some batches, as among all of them; None: of every one.

        Labelled recordings are always read whole: see `catalog`.
        """
        kept, unfinished = self._snapshot.histories, self._snapshot.unfinished
        if None in kept or self._is_labelled:
            batches = None
        if batches not in kept:
            reader = self._reader
            kept[batches] = reader.whole(unfinished) if batches is None else reader.of(batches, unfinished)
        return kept[batches]

    def history_with(self, batches: frozenset[str], machines: pd.DataFrame) -> History:
        """Return as `history_of`, but all nights of some machines (columns `MACHINE`) in its nights."""
        if None in self._snapshot.histories or not len(machines):
            return self.history_of(batches)
        return self._reader.of(batches, self._snapshot.unfinished, machines)

    def history_holding(self, recording_ids: frozenset[str]) -> History:
        """Return what the lake knows of the batches that hold some recordings, superseded rows included."""
        holding = self._snapshot.holding
        if None in self._snapshot.histories or self._is_labelled:
            return self.history()
        if recording_ids not in holding:
            holding[recording_ids] = self._reader.batches_holding(recording_ids)
        return self.history_of(holding[recording_ids])

    def history_in_scope(self) -> History:
        """Return what the lake knows of the recordings of the batches in scope."""
        return self.history_of(self.scope.batches)

    def catalog(self) -> Catalog:
        """Return all that the lake knows of the recordings of the batches in scope.

        Labelled recordings are split by facts that only their whole rows have, so then it is of every recording.
        """
        return self.catalog_of(None if self._is_labelled else self.scope.batches)

    def catalog_of(self, batches: frozenset[str] | None) -> Catalog:
        """Return all that the lake knows of the recordings of some batches; None: of every recording."""
        kept = self._snapshot.catalogs
        if batches in kept:
            return kept[batches]
        if None in kept:
            return kept[None].restricted_to(Scope(batches))
        # What is worked on needs its marks; for what only counts a listing of facts will do.
        unfinished = unfinished_parts(self.lake, self.spectrogram_key, self.history_of(batches), batches)
        if unfinished:
            unfinished |= self._snapshot.unfinished
            self.refresh()
            self._snapshot.unfinished = unfinished
        kept[batches] = catalog_of(self.lake, self.history_of(batches), batches)
        return kept[batches]

    @property
    def _is_labelled(self) -> bool:
        return self.settings.fit.training == "labelled"

    @cached_property
    def _reader(self) -> HistoryReader:
        settings = self.settings
        return HistoryReader(
            self.lake,
            self.spectrogram_key,
            settings.health,
            settings.spectrogram,
            settings.images.window_frames,
            Window.of(settings.fit),
        )

    @property
    def spectrogram_key(self) -> str:
        """The key of this run's spectrograms and health."""
        return spectrogram_key(self.settings.spectrogram)

    @cached_property
    def embedding(self) -> EmbeddingSettings:
        """Everything that shapes this run's features, with the weights that are found here.

        Raises:
            StorageUnavailable, SourceForbidden: `features.weights_dir` cannot be listed.
        """
        features = self.settings.features
        trained = [] if features.random_weights else sorted(set(self._sources()) - set(WITHOUT_WEIGHTS))
        return EmbeddingSettings(
            spectrogram=self.settings.spectrogram,
            images=self.settings.images,
            features=features,
            weights=tuple((source, find(source, features).sha256[:8]) for source in trained),
        )

    @property
    def representations(self) -> list[Representation]:
        """Every representation of the settings, in a fixed order."""
        return parse_all(self.settings.features.backbones)

    @property
    def variants(self) -> list[Variant]:
        """Every model of the settings, in a fixed order."""
        return variants(self.settings.features.backbones, self.settings.fit)

    def model_key(self, variant: Variant) -> str:
        """Return the key of a variant's models and scores."""
        return model_key(variant, self.embedding, self.settings.fit)

    def nights_key(self, variant: Variant) -> str:
        """Return the key of a variant's judged nights."""
        return nights_key(variant, self.embedding, self.settings.fit, self.settings.alarms)

    def require_weights(self) -> None:
        """See to it that every backbone of the settings has weights here; download torchvision's where it has not.

        Raises:
            WeightsNotFound: they are in none of the places and cannot be downloaded.
        """
        require_weights(self._sources(), self.settings.features)

    def _like(self, **changed: Any) -> Run:
        """Return a run that differs in nothing of which something was read."""
        run = replace(self, **changed)
        shared = vars(self).keys() & {"lake", "embedding", "_reader"}
        vars(run).update({name: vars(self)[name] for name in shared}, _snapshot=self._snapshot)
        return run

    def _sources(self) -> Iterable[str]:
        return dict.fromkeys(representation.source for representation in self.representations)
