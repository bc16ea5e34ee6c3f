"""Features of chosen recordings, wherever in the lake they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from humwatch.storage.arrays import read_rows, shape_of
from humwatch.storage.lake import Lake
from humwatch.storage.parts import Part
from humwatch.tasks.execution.worker import count_bytes
from humwatch.tasks.features.feature_blocks import ARRAY
from humwatch.tasks.plan.keys import EmbeddingSettings
from humwatch.tasks.plan.representations import Representation

# Rows of one chunk are read together anyway.
_LARGEST_GAP_ROWS = 16
# Recordings whose features are read at once: few requests, and memory that does not grow with their number.
_READ_TOGETHER = 256


def gather_in_pieces(
    lake: Lake,
    parts: Mapping[str, Part],
    places: pd.DataFrame,
    representations: Sequence[Representation],
    settings: EmbeddingSettings,
) -> Iterator[tuple[slice, list[np.ndarray]]]:
    """Yield which rows of `places` come next and their features as from `gather`, an array a representation.

    Raises:
        NotComplete: as `gather`.
    """
    for start in range(0, len(places), _READ_TOGETHER):
        piece = slice(start, start + _READ_TOGETHER)
        yield (
            piece,
            [gather(lake, parts, places.iloc[piece], representation, settings) for representation in representations],
        )


def gather(
    lake: Lake,
    parts: Mapping[str, Part],
    places: pd.DataFrame,
    representation: Representation,
    settings: EmbeddingSettings,
) -> np.ndarray:
    """Return float32 (recording, window, feature) in the order of `places` (columns part_id, row), NaN-padded.

    Raises:
        NotComplete: a part's features are missing or still being written.
    """
    if places.empty:
        return np.empty((0, 0, 0), dtype=np.float32)
    stores = {
        str(part_id): parts[str(part_id)].store("features", settings.key(representation))
        for part_id in sorted(places["part_id"].unique())
    }
    shapes = {}
    for part_id, store in stores.items():
        store.read_mark(lake)
        shapes[part_id] = shape_of(lake, store.zarr_path, ARRAY)[1:]
    windows, size = (max(lengths) for lengths in zip(*shapes.values(), strict=True))
    # Into its place at once: what a machine's fit takes in memory is mostly this.
    gathered = np.full((len(places), windows, size), np.nan, dtype=np.float32)
    order = places.assign(position=range(len(places)))
    for part_id, store in stores.items():
        rows = order[order["part_id"] == part_id].sort_values("row")
        for run in _runs(rows["row"].to_numpy()):
            values = read_rows(lake, store.zarr_path, ARRAY, run)
            count_bytes(values.nbytes)
            inside = rows[rows["row"].between(run.start, run.stop - 1)]
            gathered[inside["position"], : values.shape[1]] = values[inside["row"].to_numpy() - run.start]
    return gathered


def _runs(rows: np.ndarray) -> Sequence[range]:
    breaks = np.flatnonzero(np.diff(rows) > _LARGEST_GAP_ROWS) + 1
    return [range(int(run[0]), int(run[-1]) + 1) for run in np.split(rows, breaks)]
