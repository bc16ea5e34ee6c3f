"""What every stage is given: the lake, the settings, and which part of the lake the run is about."""

from __future__ import annotations

from dataclasses import dataclass

from storage.lake import Lake
from tasks.catalog import Catalog, load_catalog
from tasks.features.blocks import EmbeddingSettings, embedding_settings
from tasks.scope import EVERYTHING, Scope
from tasks.settings import Settings
from tasks.spectrograms.blocks import spectrogram_key


@dataclass(frozen=True)
class Work:
    """One run's view of a lake."""

    lake_uri: str
    settings: Settings
    scope: Scope = EVERYTHING

    def open_lake(self) -> Lake:
        """Return the lake, begun if it is new."""
        return Lake.open(self.lake_uri)

    @property
    def spectrogram_key(self) -> str:
        """The key of this run's spectrograms and health."""
        return spectrogram_key(self.settings.spectrogram)

    @property
    def embedding(self) -> EmbeddingSettings:
        """Everything that shapes this run's features."""
        return embedding_settings(self.settings.spectrogram, self.settings.images, self.settings.features)

    def catalog(self, lake: Lake) -> Catalog:
        """Return what the lake knows of the recordings of the batches in scope, under this run's settings.

        Labelled recordings are split by facts that only their rows have, so then it is of every recording.
        """
        labelled = self.settings.fit.training == "labelled"
        return self._catalog(lake, None if labelled else self.scope.batches)

    def history(self, lake: Lake) -> Catalog:
        """Return the catalog of no batch: the history alone, of every recording in scope or not."""
        return self._catalog(lake, frozenset())

    def _catalog(self, lake: Lake, batches: frozenset[str] | None) -> Catalog:
        settings = self.settings
        return load_catalog(lake, self.spectrogram_key, settings.health, settings.images.window_frames, batches)
