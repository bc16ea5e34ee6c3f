"""The feature stage: the missing blocks of every part and representation, on Dask workers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import chain

from storage.arrays import block_rows
from storage.lake import side_by_side
from storage.parts import Part, list_parts, read_part
from tasks.features.blocks import ARRAY, FeatureBlock, begin_store, feature_sizes, fill_block, finish_part
from tasks.features.representations import Representation, parse
from tasks.task import run_on_worker, run_on_workers, stage
from tasks.work import Work

GPU = "GPU"
"""The resource of Dask workers that shall embed; where no worker has it, all do."""


@dataclass(frozen=True)
class FeatureSummary:
    """What the stage did: windows that went through a backbone (or the log-mel statistics) in this run."""

    windows_embedded: int


@stage("features")
def compute_features(work: Work) -> FeatureSummary:
    """Embed what no marked part holds yet; one pass of a backbone serves all its layers that are missing."""
    lake, settings = work.open_lake(), work.embedding
    wanted = sorted({found for text in settings.features.backbones for found in parse(text)}, key=str)
    keys = [settings.key(representation) for representation in wanted]

    def absent(part: Part) -> list[tuple[Part, Representation]]:
        if not part.store("spectrograms", work.spectrogram_key).is_complete(lake):
            return []
        complete = [part.store("features", key).is_complete(lake) for key in keys]
        return [(part, found) for found, done in zip(wanted, complete, strict=True) if not done]

    missing = list(chain.from_iterable(side_by_side(absent, work.scope.parts(list_parts(lake)))))
    if not missing:
        return FeatureSummary(0)
    representations = tuple(dict.fromkeys(representation for _, representation in missing))
    resource = None if settings.features.device == "cpu" else GPU
    # Networks are the workers' business: torch takes seconds to import.
    sizes = run_on_worker(feature_sizes, (representations, settings), resource)
    size_of = dict(zip(representations, sizes, strict=True))
    blocks: dict[tuple[Part, int, int], list[Representation]] = defaultdict(list)
    for part, representation in missing:
        store = part.store("features", settings.key(representation))
        begin_store(
            lake, part, read_part(lake, part), representation, settings, work.settings.store, size_of[representation]
        )
        done = set(store.list_receipts(lake))
        for rows in block_rows(lake, store.zarr_path, ARRAY):
            if store.receipt_path(rows.start) not in done:
                blocks[part, rows.start, rows.stop].append(representation)
    units = [
        FeatureBlock(work.lake_uri, part, range(start, stop), tuple(found), settings)
        for (part, start, stop), found in blocks.items()
    ]
    in_flight = work.settings.dask.blocks_in_flight
    windows = sum(run_on_workers("features", fill_block, units, len(units), in_flight, resource))
    for part, representation in missing:
        finish_part(lake, part, read_part(lake, part), representation, settings)
    return FeatureSummary(windows)
