"""One block of a part: its spectrograms through the backbones, its features kept."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from storage.arrays import ArraySchema, create_store, finish_store, read_n_frames, read_rows, shape_of, write_block
from storage.keys import settings_key
from storage.lake import Lake
from storage.parts import Part
from storage.tables import create_table
from tasks.features.representations import Representation, parse
from tasks.features.weights import WITHOUT_WEIGHTS, find
from tasks.features.windows import n_windows
from tasks.settings import FeatureSettings, ImageSettings, Section, SpectrogramSettings, StoreSettings
from tasks.spectrograms.blocks import ARRAY as SPECTROGRAM_ARRAY
from tasks.spectrograms.blocks import spectrogram_key

if TYPE_CHECKING:
    from tasks.features.embed import Embedder

ARRAY = "features"
# An empty table: the receipt of a block says only that its shard is written.
_RECEIPT = pa.table({"recording_id": pa.array([], pa.string())})


class EmbeddingSettings(Section):
    """Everything that shapes a feature; `weights` are (source, sha256) of the backbones."""

    spectrogram: SpectrogramSettings
    images: ImageSettings
    features: FeatureSettings
    weights: tuple[tuple[str, str], ...]

    def key(self, representation: Representation) -> str:
        """Return the key of a representation's features; device and batch size change no value."""
        shaping: dict[str, object] = {
            "spectrogram": spectrogram_key(self.spectrogram),
            "representation": str(representation),
            "images": self.images.model_dump(mode="json"),
            "precision": self.features.precision,
            "random_weights": self.features.random_weights,
            "weights": dict(self.weights).get(representation.source),
        }
        if self.features.fully_convolutional:
            shaping["fully_convolutional"] = True
        return settings_key((representation.source, representation.layer), shaping)


@functools.lru_cache(maxsize=8)
def embedding_settings(
    spectrogram: SpectrogramSettings, images: ImageSettings, features: FeatureSettings
) -> EmbeddingSettings:
    """Return the settings with the weights that are found here.

    Raises:
        StorageUnavailable, SourceForbidden: `features.weights_dir` cannot be listed.
    """
    sources = sorted({found.source for text in features.backbones for found in parse(text)})
    trained = [] if features.random_weights else [source for source in sources if source not in WITHOUT_WEIGHTS]
    weights = tuple((source, find(source, features).sha256[:8]) for source in trained)
    return EmbeddingSettings(spectrogram=spectrogram, images=images, features=features, weights=weights)


@dataclass(frozen=True)
class FeatureBlock:
    """What a worker needs to fill one block of one or several representations."""

    lake_uri: str
    part: Part
    rows: range
    representations: tuple[Representation, ...]
    settings: EmbeddingSettings


def feature_sizes(wanted: tuple[tuple[Representation, ...], EmbeddingSettings]) -> list[int]:
    """Return the length of each representation's vectors, which takes its network (without weights) to know.

    Raises:
        BadConfiguration: see `embed.feature_size`.
    """
    from tasks.features.embed import feature_size  # noqa: PLC0415 - as in `embedder`

    representations, settings = wanted
    return [feature_size(found, settings.images, settings.spectrogram) for found in representations]


def begin_store(
    lake: Lake,
    part: Part,
    table: pa.Table,
    representation: Representation,
    settings: EmbeddingSettings,
    layout: StoreSettings,
    feature_size: int,
) -> None:
    """Write the schema of a part's features: (recording, window, feature), NaN where a recording has no such window."""
    n_frames = read_n_frames(lake, part.store("spectrograms", spectrogram_key(settings.spectrogram)).zarr_path)
    windows = 1 if representation.level == "recording" else max(1, n_windows(int(n_frames.max()), settings.images))
    schema = ArraySchema(
        name=ARRAY,
        dimensions=("recording", "window", "feature"),
        shape=(table.num_rows, windows, feature_size),
        block=(layout.block_of(table.num_rows), windows, feature_size),
        chunk_recordings=layout.chunk_recordings,
        dtype="float32",
        attributes={"long_name": str(representation)},
    )
    key = settings.key(representation)
    coordinates = {name: table[name].to_pylist() for name in ("recording_id", "machine_id")}
    attributes = {"representation": str(representation), **settings.images.model_dump()}
    create_store(lake, part.store("features", key).zarr_path, schema, coordinates, attributes)


def fill_block(block: FeatureBlock) -> int:
    """Embed a block's windows, write its shards, then its receipts; return how many windows there were."""
    lake, settings = Lake(block.lake_uri), block.settings
    spectrograms = block.part.store("spectrograms", spectrogram_key(settings.spectrogram)).zarr_path
    n_frames = read_n_frames(lake, spectrograms)[block.rows.start : block.rows.stop]
    values = read_rows(lake, spectrograms, SPECTROGRAM_ARRAY, block.rows)
    embedded = embedder(block.representations, settings).embed(values, n_frames)
    for representation, features in embedded.items():
        store = block.part.store("features", settings.key(representation))
        if features.shape[1]:
            _, windows, size = shape_of(lake, store.zarr_path, ARRAY)
            padded = np.full((len(block.rows), windows, size), np.nan, dtype=np.float32)
            padded[:, : features.shape[1]] = features
            write_block(lake, store.zarr_path, ARRAY, block.rows, padded)
        create_table(lake, store.receipt_path(block.rows.start), _RECEIPT)
    return sum(n_windows(int(count), settings.images) for count in n_frames)


def finish_part(
    lake: Lake, part: Part, table: pa.Table, representation: Representation, settings: EmbeddingSettings
) -> bool:
    """Finish a representation's store of a part and mark it; False when another writer did."""
    key = settings.key(representation)
    store = part.store("features", key)
    spectrograms = part.store("spectrograms", spectrogram_key(settings.spectrogram))
    n_frames = read_n_frames(lake, spectrograms.zarr_path)
    *_, feature_size = shape_of(lake, store.zarr_path, ARRAY)
    finish_store(lake, store.zarr_path, ARRAY, n_frames, feature_size)
    return store.mark(lake, {"part": part.part_id, "recordings": table.num_rows, "key": key})


@functools.lru_cache(maxsize=1)
def embedder(representations: tuple[Representation, ...], settings: EmbeddingSettings) -> Embedder:
    """Return this process's embedder: weights are loaded once, and one thread makes the same bits everywhere."""
    # torch takes seconds to import, which only workers should pay.
    import torch  # noqa: PLC0415

    from tasks.features.embed import Embedder  # noqa: PLC0415

    torch.set_num_threads(1)
    return Embedder(representations, settings.features, settings.images, settings.spectrogram)
