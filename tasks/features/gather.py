"""Features of chosen recordings, wherever in the lake they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from humwatch.storage.arrays import read_rows
from humwatch.storage.lake import Lake, map_concurrently
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
        yield piece, gather_each(lake, parts, places.iloc[piece], representations, settings)


def gather_each(
    lake: Lake,
    parts: Mapping[str, Part],
    places: pd.DataFrame,
    representations: Sequence[Representation],
    settings: EmbeddingSettings,
) -> list[np.ndarray]:
    """Return what `gather` does of every representation; they are read at once.

    Raises:
        NotComplete: as `gather`.
    """
    gathered = map_concurrently(lambda one: gather(lake, parts, places, one, settings), representations)
    count_bytes(sum(values.nbytes for values in gathered))
    return gathered


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
    named = [str(part_id) for part_id in sorted(places["part_id"].unique())]
    key = settings.key(representation)
    arrays = map_concurrently(lambda part_id: parts[part_id].store("features", key).complete_array(lake, ARRAY), named)
    windows, size = (max(lengths) for lengths in zip(*(array.shape[1:] for array in arrays), strict=True))
    # Into its place at once: what a machine's fit takes in memory is mostly this.
    gathered = np.full((len(places), windows, size), np.nan, dtype=np.float32)
    order = places.assign(position=range(len(places)))
    for part_id, array in zip(named, arrays, strict=True):
        rows = order[order["part_id"] == part_id].sort_values("row")
        for run in _runs(rows["row"].to_numpy()):
            values = read_rows(lake, array, run)
            inside = rows[rows["row"].between(run.start, run.stop - 1)]
            gathered[inside["position"], : values.shape[1]] = values[inside["row"].to_numpy() - run.start]
    return gathered


def _runs(rows: np.ndarray) -> Sequence[range]:
    breaks = np.flatnonzero(np.diff(rows) > _LARGEST_GAP_ROWS) + 1
    return [range(int(run[0]), int(run[-1]) + 1) for run in np.split(rows, breaks)]
