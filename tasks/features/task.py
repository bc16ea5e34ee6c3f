"""The feature stage: the missing blocks of every part and representation, on Dask workers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from storage.arrays import block_rows
from storage.lake import Lake
from storage.parts import Part, list_parts, read_part
from tasks.features.blocks import ARRAY, EmbeddingSettings, FeatureBlock, begin_store, fill_block, finish_part
from tasks.features.representations import Representation, parse
from tasks.settings import DaskSettings, StoreSettings
from tasks.spectrograms.blocks import spectrogram_key
from tasks.task import run_on_workers, stage


@dataclass(frozen=True)
class FeatureSummary:
    """What the stage did: windows that went through a backbone (or the log-mel statistics) in this run."""

    windows_embedded: int


@stage("features")
def compute_features(
    lake_uri: str, settings: EmbeddingSettings, layout: StoreSettings, dask: DaskSettings
) -> FeatureSummary:
    """Embed what no marked part holds yet; one pass of a backbone serves all its layers that are missing."""
    lake = Lake.open(lake_uri)
    wanted = sorted({found for text in settings.features.backbones for found in parse(text)}, key=str)
    missing = [
        (part, representation)
        for part in list_parts(lake)
        if part.store("spectrograms", spectrogram_key(settings.spectrogram)).is_complete(lake)
        for representation in wanted
        if not part.store("features", settings.key(representation)).is_complete(lake)
    ]
    blocks: dict[tuple[Part, int, int], list[Representation]] = defaultdict(list)
    for part, representation in missing:
        store = part.store("features", settings.key(representation))
        begin_store(lake, part, read_part(lake, part), representation, settings, layout)
        done = set(lake.list(f"{store.stem}.blocks", ".parquet"))
        for rows in block_rows(lake, store.zarr_path, ARRAY):
            if store.receipt_path(rows.start) not in done:
                blocks[part, rows.start, rows.stop].append(representation)
    units = [
        FeatureBlock(lake_uri, part, range(start, stop), tuple(representations), settings)
        for (part, start, stop), representations in blocks.items()
    ]
    windows = sum(run_on_workers("features", fill_block, units, len(units), dask.blocks_in_flight))
    for part, representation in missing:
        finish_part(lake, part, read_part(lake, part), representation, settings)
    return FeatureSummary(windows)
