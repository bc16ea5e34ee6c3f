"""The feature stage: the missing blocks of every part and representation, on Dask workers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from humwatch.storage.parts import Part, read_part
from humwatch.tasks.execution.stage import run_on_worker, run_on_workers, stage
from humwatch.tasks.features.feature_blocks import (
    ARRAY,
    FeatureBlock,
    SizeUnit,
    begin_store,
    feature_sizes,
    fill_block,
    finish_part,
)
from humwatch.tasks.plan.presence import missing, missing_blocks
from humwatch.tasks.plan.representations import Representation
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.stores import expected_features

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
    tables = {part: read_part(lake, part) for part in dict.fromkeys(store.part for store in stores)}
    blocks: dict[tuple[Part, range], list[Representation]] = defaultdict(list)
    for store in stores:
        part, representation = store.part, store.representation
        begin_store(lake, part, tables[part], representation, settings, run.settings.store, size_of[representation])
        for rows in missing_blocks(lake, store.store, ARRAY):
            blocks[part, rows].append(representation)
    units = [
        FeatureBlock(run.lake_uri, part, rows, tuple(together), settings) for (part, rows), together in blocks.items()
    ]
    in_flight = run.settings.dask.blocks_in_flight
    windows = sum(run_on_workers("features", fill_block, units, len(units), in_flight, resource))
    for store in stores:
        finish_part(lake, store.part, tables[store.part], store.representation, settings)
    return FeatureSummary(windows)
