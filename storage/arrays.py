"""Zarr stores of a part: schema first, then whole blocks of recordings, consolidated last.

A block is one shard along the recording axis and the unit of work; two workers never write one shard. Values that are
absent (padding, rejected recordings) are NaN. https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/

Zarr encodes in memory, and its objects travel as those of the lake: as many at once as there are, and nothing is read
to be written (Zarr 3.1 fetches a shard before it replaces it, also the whole of it).
"""

from __future__ import annotations

import asyncio
import json
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import zarr
import zarr.storage
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.codecs import ShardingCodecIndexLocation
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype

from humwatch.storage.errors import Misaligned, SourceNotFound
from humwatch.storage.lake import Lake, map_concurrently

# Frames of a shard: recordings of up to 33 s at the default hop are one object a block; longer ones are several.
FRAMES_PER_SHARD = 1024
# What is ignored is ignored in all threads, and no longer once one of them is through.
_SILENT = threading.Lock()


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


@dataclass(frozen=True)
class StoredArray:
    """An array of a store in a lake, with what was read of it: how it is laid out does not change while it is there.

    Attributes:
        path: of the store.
        name: of the array.
        metadata: what its `zarr.json` says. The last axis may have another length until the store is finished.
        others: the metadata of its group and coordinates by their keys, where this process has written them all.
    """

    path: str
    name: str
    metadata: Mapping[str, Any]
    others: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """The full shape."""
        return tuple(self.metadata["shape"])

    @property
    def block(self) -> tuple[int, ...]:
        """The shape of a shard."""
        return tuple(self.metadata["chunk_grid"]["configuration"]["chunk_shape"])

    @property
    def blocks(self) -> list[range]:
        """The rows of each block."""
        rows, size = self.shape[0], self.block[0]
        return [range(start, min(start + size, rows)) for start in range(0, rows, size)]


def create_store(
    lake: Lake, path: str, schema: ArraySchema, coordinates: Mapping[str, Sequence[str]], attributes: Mapping[str, Any]
) -> StoredArray:
    """Write the schema of a store and its text coordinates along `recording`; what another writer began stays.

    It is made in memory and kept object by object, each only where there is none: a writer that comes late, or was held
    up, cannot undo what another has finished since. Returns the array as it is in the lake.
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
        # The index stands before the chunks: before s3fs reads from the end of an object it asks for the size.
        shards={"shape": schema.block, "index_location": ShardingCodecIndexLocation.start},
        chunks=(schema.chunk_recordings, *schema.block[1:]),
        dtype=schema.dtype,
        fill_value=float("nan"),
        dimension_names=schema.dimensions,
        attributes={**schema.attributes, "coordinates": " ".join([*coordinates, "n_frames"])},
    )
    created = map_concurrently(
        lambda item: (item[0], lake.create(f"{path}/{item[0]}", item[1].to_bytes())), objects.items()
    )
    if not all(here for key, here in created if key.endswith("zarr.json")):
        return open_array(lake, path, schema.name)
    metadata = {key: data.to_bytes() for key, data in objects.items() if key.endswith("zarr.json")}
    return StoredArray(path, schema.name, json.loads(metadata.pop(_metadata_key(schema.name))), metadata)


def open_array(lake: Lake, path: str, name: str) -> StoredArray:
    """Return an array of a store.

    Raises:
        SourceNotFound: it is not there.
    """
    return StoredArray(path, name, lake.read_json(f"{path}/{_metadata_key(name)}"))


def write_block(lake: Lake, stored: StoredArray, rows: range, values: np.ndarray) -> None:
    """Write one whole block; `values` has shape (len(rows), ...) and may be longer or shorter on the last axis.

    Where it is longer than the array, `finish_store` has the last word on the length.

    Raises:
        Misaligned: `rows` is not exactly one block, or another axis has the wrong length.
    """
    shape, block = stored.shape, stored.block
    if rows not in stored.blocks or values.shape[:-1] != (len(rows), *shape[1:-1]):
        raise Misaligned(
            f"{stored.path}: rows {rows.start}:{rows.stop} with shape {values.shape} are no block of {shape}"
        )
    whole_shards = -(-values.shape[-1] // block[-1]) * block[-1]
    objects: dict[str, Buffer] = {}
    array = _in_memory(stored, objects)
    if values.shape[-1] > shape[-1]:
        array.resize((*shape[:-1], whole_shards))
    padded = np.full((*values.shape[:-1], min(whole_shards, array.shape[-1])), np.nan, dtype=array.dtype)
    padded[..., : values.shape[-1]] = values
    array[rows.start : rows.stop, ..., : padded.shape[-1]] = padded
    del objects[_metadata_key(stored.name)]
    _write_all(lake, stored.path, objects)


def finish_store(lake: Lake, stored: StoredArray, n_frames: np.ndarray, length: int) -> StoredArray:
    """Write the `n_frames` coordinate (recording,), set the last axis to `length` and consolidate the metadata.

    Returns the array as it is then.
    """
    before = stored.others or _read_others(lake, stored)
    objects = {key: _buffer(data) for key, data in before.items()}
    objects[_metadata_key(stored.name)] = _encoded(stored.metadata)
    group = zarr.open_group(zarr.storage.MemoryStore(objects), mode="r+", zarr_format=3, use_consolidated=False)
    if stored.shape[-1] != length:
        cast("zarr.Array[Any]", group[stored.name]).resize((*stored.shape[:-1], length))
    cast("zarr.Array[Any]", group["n_frames"])[:] = n_frames.astype(np.int64)
    with _SILENT, warnings.catch_warnings():
        # Consolidated metadata is not in the v3 spec yet; xarray reads it, others ignore it.
        warnings.simplefilter("ignore", UserWarning)
        zarr.consolidate_metadata(group.store)
    finished = StoredArray(stored.path, stored.name, json.loads(objects[_metadata_key(stored.name)].to_bytes()))
    if finished.metadata == stored.metadata:
        del objects[_metadata_key(stored.name)]
    _write_all(lake, stored.path, {key: data for key, data in objects.items() if data.to_bytes() != before.get(key)})
    return finished


def _read_others(lake: Lake, stored: StoredArray) -> dict[str, bytes]:
    """Return the metadata of a store's group and coordinates by their keys."""
    names = str(stored.metadata["attributes"]["coordinates"]).split()
    keys = ["zarr.json", *map(_metadata_key, names)]
    return dict(zip(keys, map_concurrently(lambda key: lake.read(f"{stored.path}/{key}"), keys), strict=True))


def read_rows(lake: Lake, stored: StoredArray, rows: range) -> np.ndarray:
    """Return `rows` of a store as float32, NaN where absent."""
    return np.asarray(_in_lake(lake, stored)[rows.start : rows.stop], dtype=np.float32)


def read_n_frames(lake: Lake, path: str) -> np.ndarray:
    """Return the `n_frames` coordinate of a finished store, int64 (recording,)."""
    return np.asarray(_in_lake(lake, open_array(lake, path, "n_frames"))[:])


def _in_memory(stored: StoredArray, objects: dict[str, Buffer]) -> zarr.Array[Any]:
    """Return the array in a store of its own, which has its metadata and nothing else."""
    objects[_metadata_key(stored.name)] = _encoded(stored.metadata)
    return zarr.open_array(zarr.storage.MemoryStore(objects), path=stored.name, mode="r+", zarr_format=3)


def _in_lake(lake: Lake, stored: StoredArray) -> zarr.Array[Any]:
    return zarr.open_array(_ReadFromLake(lake, stored), path=stored.name, mode="r", zarr_format=3)


class _ReadFromLake(zarr.storage.MemoryStore):
    """A store to read from: its metadata are known, its shards come with the lake's requests and errors."""

    def __init__(self, lake: Lake, stored: StoredArray) -> None:
        super().__init__({_metadata_key(stored.name): _encoded(stored.metadata)})
        self._lake, self._stored = lake, stored

    def with_read_only(self, read_only: bool = False) -> _ReadFromLake:  # noqa: FBT001, FBT002 - Zarr's signature
        store = _ReadFromLake(self._lake, self._stored)
        store._read_only = read_only
        return store

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        if key == _metadata_key(self._stored.name):
            return await super().get(key, prototype, byte_range)
        try:
            path = f"{self._stored.path}/{key}"
            return _buffer(await asyncio.to_thread(self._lake.read, path, *_limits(byte_range)))
        except SourceNotFound:
            return None  # nothing was written there: fill values


def _limits(byte_range: ByteRequest | None) -> tuple[int | None, int | None]:
    """Return where a range begins and ends; from the end where it begins below 0."""
    match byte_range:
        case None:
            return None, None
        case RangeByteRequest():
            return byte_range.start, byte_range.end
        case OffsetByteRequest():
            return byte_range.offset, None
        case SuffixByteRequest():
            return -byte_range.suffix, None


def _write_all(lake: Lake, path: str, objects: Mapping[str, Buffer]) -> None:
    map_concurrently(lambda key: lake.write(f"{path}/{key}", objects[key].to_bytes()), objects)


def _buffer(data: bytes) -> Buffer:
    return default_buffer_prototype().buffer.from_bytes(data)


def _encoded(metadata: Mapping[str, Any]) -> Buffer:
    return _buffer(json.dumps(metadata).encode())


def _metadata_key(name: str) -> str:
    return f"{name}/zarr.json"


def _coordinate(group: zarr.Group, name: str, recordings: int, dtype: str) -> zarr.Array[Any]:
    chunks = (max(recordings, 1),)
    return group.create_array(name, shape=(recordings,), chunks=chunks, dtype=dtype, dimension_names=("recording",))
