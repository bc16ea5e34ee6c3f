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
        """Return what the lake knows of every recording, in scope or not, under this run's settings."""
        return load_catalog(lake, self.spectrogram_key, self.settings.health, self.settings.images.window_frames)
