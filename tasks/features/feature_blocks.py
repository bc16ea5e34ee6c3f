"""One block of a part: its spectrograms through the backbones, its features kept."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from humwatch.storage.arrays import (
    ArraySchema,
    StoredArray,
    create_store,
    finish_store,
    read_rows,
    write_block,
)
from humwatch.storage.lake import Lake, map_concurrently
from humwatch.storage.parts import Part
from humwatch.storage.records import Mark
from humwatch.storage.tables import encode
from humwatch.tasks.execution.worker import count_bytes
from humwatch.tasks.features.channels import channels_apart, channels_together
from humwatch.tasks.plan.keys import EmbeddingSettings, spectrogram_key
from humwatch.tasks.plan.representations import Representation
from humwatch.tasks.settings import StoreSettings
from humwatch.tasks.spectrograms.spectrogram_blocks import ARRAY as SPECTROGRAM_ARRAY
from humwatch.tasks.spectrograms.spectrogram_blocks import Extents, read_extents

if TYPE_CHECKING:
    from humwatch.tasks.features.embed import Embedder

ARRAY = "features"
# An empty table: the receipt of a block says only that its shard is written.
_RECEIPT = encode(pa.table({"recording_id": pa.array([], pa.string())}))


@dataclass(frozen=True)
class FeatureBlock:
    """What a worker needs to fill one block of one or several representations.

    `extents` are those of its rows; the `arrays` of the representations are as begun.
    """

    lake_uri: str
    part: Part
    rows: range
    extents: Extents
    representations: tuple[Representation, ...]
    arrays: tuple[StoredArray, ...]
    settings: EmbeddingSettings

    def __str__(self) -> str:
        names = ", ".join(map(str, self.representations))
        return f"features {names} of {self.part}, rows {self.rows.start}:{self.rows.stop}"


@dataclass(frozen=True)
class SizeUnit:
    """What a worker needs to tell how long the vectors of representations are."""

    representations: tuple[Representation, ...]
    settings: EmbeddingSettings

    def __str__(self) -> str:
        return f"feature sizes of {', '.join(map(str, self.representations))}"


def feature_sizes(unit: SizeUnit) -> list[int]:
    """Return the length of each representation's vectors, which takes its network (without weights) to know.

    Raises:
        BadConfiguration: see `embed.feature_size`.
    """
    from humwatch.tasks.features.embed import feature_size  # noqa: PLC0415 - as in `embedder`

    settings = unit.settings
    return [feature_size(each, settings.images, settings.spectrogram) for each in unit.representations]


def begin_store(
    lake: Lake,
    part: Part,
    table: pa.Table,
    representation: Representation,
    settings: EmbeddingSettings,
    layout: StoreSettings,
    feature_size: int,
) -> StoredArray:
    """Write the schema of a part's features: (recording, window, feature), NaN where a recording has no such window.

    Returns it as it is in the lake. The windows of one channel come after those of the other; at recording level each
    channel has one vector.
    """
    extents = read_extents(lake, part, settings.spectrogram)
    vectors = extents.channels
    if representation.level == "window":
        vectors = vectors * np.array([settings.images.n_windows(int(count)) for count in extents.n_frames])
    windows = int(vectors.max(initial=1))
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
    return create_store(lake, part.store("features", key).zarr_path, schema, coordinates, attributes)


def fill_block(block: FeatureBlock) -> int:
    """Embed a block's windows, write its shards, then its receipts; return how many windows there were."""
    lake, settings = Lake(block.lake_uri), block.settings
    spectrograms = block.part.store("spectrograms", spectrogram_key(settings.spectrogram))
    n_frames, channels = block.extents.n_frames, block.extents.channels
    values = read_rows(lake, spectrograms.complete_array(lake, SPECTROGRAM_ARRAY), block.rows)
    count_bytes(values.nbytes)
    of_channels = embedder(block.representations, settings).embed(
        channels_apart(values, n_frames, channels), np.repeat(n_frames, channels)
    )

    def keep(item: tuple[Representation, StoredArray]) -> None:
        representation, array = item
        features = channels_together(of_channels[representation], channels)
        if features.shape[1]:
            _, windows, size = array.shape
            padded = np.full((len(block.rows), windows, size), np.nan, dtype=np.float32)
            padded[:, : features.shape[1]] = features
            write_block(lake, array, block.rows, padded)
        receipt = block.part.store("features", settings.key(representation)).receipt_path(block.rows.start)
        lake.create(receipt, _RECEIPT)

    map_concurrently(keep, zip(block.representations, block.arrays, strict=True))
    return sum(settings.images.n_windows(int(count)) for count in np.repeat(n_frames, channels))


def finish_part(
    lake: Lake, part: Part, representation: Representation, settings: EmbeddingSettings, array: StoredArray
) -> bool:
    """Finish a representation's store of a part and mark it; False when another writer did."""
    key = settings.key(representation)
    store = part.store("features", key)
    recordings, _, feature_size = array.shape
    n_frames = read_extents(lake, part, settings.spectrogram).n_frames
    finished = finish_store(lake, array, n_frames, feature_size)
    mark = Mark(part=part.part_id, recordings=recordings, key=key, array=dict(finished.metadata))
    return store.mark(lake, mark, array.blocks)


@functools.lru_cache(maxsize=1)
def embedder(representations: tuple[Representation, ...], settings: EmbeddingSettings) -> Embedder:
    """Return this process's embedder: weights are loaded once, and one thread makes the same bits everywhere."""
    # torch takes seconds to import, which only workers should pay.
    import torch  # noqa: PLC0415

    from humwatch.tasks.features.embed import Embedder  # noqa: PLC0415

    torch.set_num_threads(1)
    return Embedder(representations, settings.features, settings.images, settings.spectrogram)
