"""The feature stage: the missing blocks of every part and representation, on Dask workers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from humwatch.storage.arrays import StoredArray
from humwatch.storage.lake import map_concurrently
from humwatch.storage.parts import Part, read_part
from humwatch.tasks.execution.stage import run_on_worker, run_on_workers, stage
from humwatch.tasks.features.feature_blocks import (
    FeatureBlock,
    SizeUnit,
    begin_store,
    feature_sizes,
    fill_block,
    finish_part,
)
from humwatch.tasks.plan.presence import missing, missing_blocks
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.stores import FeatureStore, expected_features
from humwatch.tasks.spectrograms.spectrogram_blocks import read_extents

GPU = "GPU"
"""The resource of Dask workers that shall embed; where no worker has it, all do."""


@dataclass(frozen=True)
class FeatureSummary:
    """What the stage did: windows that went through a backbone (or the log-mel statistics) in this run."""

    windows_embedded: int


@stage("features")
def compute_features(run: Run) -> FeatureSummary:
    """Embed what no marked part holds yet; one pass of a backbone serves all its layers that are missing."""
    lake, settings = run.lake, run.embedding
    stores = missing(lake, expected_features(run))
    if not stores:
        return FeatureSummary(0)
    representations = tuple(dict.fromkeys(store.representation for store in stores))
    resource = None if settings.features.device == "cpu" else GPU
    # Networks are the workers' business: torch takes seconds to import.
    sizes = run_on_worker(feature_sizes, SizeUnit(representations, settings), resource)
    size_of = dict(zip(representations, sizes, strict=True))

    def begin(store: FeatureStore) -> tuple[StoredArray, list[range]]:
        part, representation = store.part, store.representation
        table, size = read_part(lake, part), size_of[representation]
        array = begin_store(lake, part, table, representation, settings, run.settings.store, size)
        return array, missing_blocks(lake, store.store, array)

    begun = dict(zip(stores, map_concurrently(begin, stores), strict=True))
    blocks: dict[tuple[Part, range], list[FeatureStore]] = defaultdict(list)
    for store, (_, missing_rows) in begun.items():
        for rows in missing_rows:
            blocks[store.part, rows].append(store)
    extents = {part: read_extents(lake, part, settings.spectrogram) for part in {part for part, _ in blocks}}
    units = [
        FeatureBlock(
            run.lake_uri,
            part,
            rows,
            extents[part].of(rows),
            tuple(store.representation for store in together),
            tuple(begun[store][0] for store in together),
            settings,
        )
        for (part, rows), together in blocks.items()
    ]
    in_flight = run.settings.dask.blocks_in_flight
    windows = sum(run_on_workers("features", fill_block, units, len(units), in_flight, resource))
    map_concurrently(
        lambda store: finish_part(lake, store.part, store.representation, settings, begun[store][0]), stores
    )
    return FeatureSummary(windows)
