"""Zarr stores of a part: schema first, then whole blocks of recordings, consolidated last.

A block is one shard along the recording axis and the unit of work; two workers never write one shard. Values that are
absent (padding, rejected recordings) are NaN. https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import zarr
import zarr.storage
from zarr.core.buffer import Buffer

from humwatch.storage.errors import Misaligned
from humwatch.storage.lake import Lake

# Frames of a shard: recordings of up to 33 s at the default hop are one object a block; longer ones are several.
FRAMES_PER_SHARD = 1024


@dataclass(frozen=True)
class ArraySchema:
    """One array whose first axis is the recordings of a part.

    Attributes:
        name: variable name in xarray.
        dimensions: dimension names, `recording` first.
        shape: full shape; the last axis may grow as longer recordings are written.
        block: shard shape; block[0] recordings are one unit of work.
        chunk_recordings: recordings of a chunk inside a shard.
        dtype: numpy dtype name of a float.
        attributes: units and the like, JSON values.
    """

    name: str
    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    block: tuple[int, ...]
    chunk_recordings: int
    dtype: str
    attributes: Mapping[str, Any]


def create_store(
    lake: Lake, path: str, schema: ArraySchema, coordinates: Mapping[str, Sequence[str]], attributes: Mapping[str, Any]
) -> None:
    """Write the schema of a store and its text coordinates along `recording`; what another writer began stays.

    It is made in memory and kept object by object, each only where there is none: a writer that comes late, or was held
    up, cannot undo what another has finished since.
    """
    objects: dict[str, Buffer] = {}
    group = zarr.create_group(zarr.storage.MemoryStore(objects), attributes=dict(attributes), zarr_format=3)
    recordings = schema.shape[0]
    for name, values in coordinates.items():
        _coordinate(group, name, recordings, "string")[:] = np.asarray(values, dtype=object)
    _coordinate(group, "n_frames", recordings, "int64")
    group.create_array(
        schema.name,
        shape=schema.shape,
        shards=schema.block,
        chunks=(schema.chunk_recordings, *schema.block[1:]),
        dtype=schema.dtype,
        fill_value=float("nan"),
        dimension_names=schema.dimensions,
        attributes={**schema.attributes, "coordinates": " ".join([*coordinates, "n_frames"])},
    )
    for key, value in objects.items():
        lake.create(f"{path}/{key}", value.to_bytes())


def block_rows(lake: Lake, path: str, name: str) -> list[range]:
    """Return the rows of each block of a store, as it was created."""
    array = _array(lake, path, name)
    size = cast("tuple[int, ...]", array.shards)[0]
    return [range(start, min(start + size, array.shape[0])) for start in range(0, array.shape[0], size)]


def write_block(lake: Lake, path: str, name: str, rows: range, values: np.ndarray) -> None:
    """Write one whole block; `values` has shape (len(rows), ...) and may be longer or shorter on the last axis.

    Raises:
        Misaligned: `rows` is not exactly one block, or another axis has the wrong length.
    """
    array = _array(lake, path, name)
    shards = cast("tuple[int, ...]", array.shards)
    whole = rows.start % shards[0] == 0 and rows.stop == min(rows.start + shards[0], array.shape[0])
    if not whole or values.shape[:-1] != (len(rows), *array.shape[1:-1]):
        raise Misaligned(
            f"{path}: rows {rows.start}:{rows.stop} with shape {values.shape} are no block of {array.shape}"
        )
    length = -(-values.shape[-1] // shards[-1]) * shards[-1]
    if values.shape[-1] > array.shape[-1]:
        # Other writers may do the same at once; the last word on the length is finish_store's.
        array.resize((*array.shape[:-1], length))
    padded = np.full((*values.shape[:-1], min(length, array.shape[-1])), np.nan, dtype=array.dtype)
    padded[..., : values.shape[-1]] = values
    array[rows.start : rows.stop, ..., : padded.shape[-1]] = padded


def finish_store(lake: Lake, path: str, name: str, n_frames: np.ndarray, length: int) -> None:
    """Write the `n_frames` coordinate (recording,), set the last axis to `length` and consolidate the metadata."""
    group = zarr.open_group(lake.zarr_store(path), mode="a")
    array = cast("zarr.Array[Any]", group[name])
    if array.shape[-1] != length:
        array.resize((*array.shape[:-1], length))
    cast("zarr.Array[Any]", group["n_frames"])[:] = n_frames.astype(np.int64)
    with warnings.catch_warnings():
        # Consolidated metadata is not in the v3 spec yet; xarray reads it, others ignore it.
        warnings.simplefilter("ignore", UserWarning)
        zarr.consolidate_metadata(group.store)


def read_rows(lake: Lake, path: str, name: str, rows: range) -> np.ndarray:
    """Return `rows` of a store as float32, NaN where absent."""
    return np.asarray(_array(lake, path, name)[rows.start : rows.stop], dtype=np.float32)


def read_n_frames(lake: Lake, path: str) -> np.ndarray:
    """Return the `n_frames` coordinate of a finished store, int64 (recording,)."""
    return np.asarray(_array(lake, path, "n_frames")[:])


def shape_of(lake: Lake, path: str, name: str) -> tuple[int, ...]:
    """Return the shape of a store's array."""
    return _array(lake, path, name).shape


def _array(lake: Lake, path: str, name: str) -> zarr.Array[Any]:
    return zarr.open_array(lake.zarr_store(path), path=name, mode="r+", zarr_format=3)


def _coordinate(group: zarr.Group, name: str, recordings: int, dtype: str) -> zarr.Array[Any]:
    chunks = (max(recordings, 1),)
    return group.create_array(name, shape=(recordings,), chunks=chunks, dtype=dtype, dimension_names=("recording",))
