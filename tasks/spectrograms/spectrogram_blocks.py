"""Blocks of a part: fetch the bytes, decode each recording once, keep its health and its log-mel spectrogram."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from humwatch.storage.arrays import (
    FRAMES_PER_SHARD,
    ArraySchema,
    StoredArray,
    create_store,
    finish_store,
    write_block,
)
from humwatch.storage.errors import NotComplete, SourceNotFound, StorageFull, TerminalError
from humwatch.storage.lake import Lake, map_concurrently
from humwatch.storage.parts import Part, PartStore, read_part
from humwatch.storage.reasons import Reason
from humwatch.storage.records import Mark
from humwatch.storage.sources import is_stream
from humwatch.storage.tables import HEALTH, create_table, decode, encode, read_table
from humwatch.tasks.plan.keys import spectrogram_key
from humwatch.tasks.plan.presence import present
from humwatch.tasks.settings import HealthSettings, SpectrogramSettings, StoreSettings
from humwatch.tasks.sound.decode import Audio, resample
from humwatch.tasks.sound.rejected import Rejected
from humwatch.tasks.spectrograms.health import Health, measure, told_of, worst_of
from humwatch.tasks.spectrograms.sounds import Sound, goes_on, heard, sounds_of

if TYPE_CHECKING:
    from humwatch.tasks.spectrograms.logmel import LogMel

ARRAY = "logmel"
GONE = str(Reason.SOURCE_GONE)
_EXTENTS = pa.schema([HEALTH.field("n_frames"), HEALTH.field("channels_heard")])


@dataclass(frozen=True)
class SpectrogramBlock:
    """What a worker needs to fill one block; `array` is that of the part's store, as `begin_store` found it."""

    lake_uri: str
    part: Part
    array: StoredArray
    rows: range
    skipped_rows: frozenset[int]
    max_member_bytes: int
    spectrogram: SpectrogramSettings
    health: HealthSettings

    @property
    def store(self) -> PartStore:
        """The store the block belongs to."""
        return self.part.store("spectrograms", spectrogram_key(self.spectrogram))


@dataclass(frozen=True)
class SpectrogramUnit:
    """Blocks of one part that are filled together: in one pass over the archive that they share, or just one."""

    blocks: tuple[SpectrogramBlock, ...]

    def __str__(self) -> str:
        return f"spectrograms of {self.part}, rows {self.blocks[0].rows.start}:{self.blocks[-1].rows.stop}"

    @property
    def part(self) -> Part:
        """The part that the blocks belong to."""
        return self.blocks[0].part


@dataclass(frozen=True)
class Filled:
    """What became of a unit: how many recordings were decoded, and the sources (URIs) that are gone."""

    decoded: int
    gone: frozenset[str]


def begin_store(
    lake: Lake, part: Part, table: pa.Table, spectrogram: SpectrogramSettings, layout: StoreSettings
) -> StoredArray:
    """Write the schema of a part's spectrograms: (recording, mel, frame) in dB, NaN where there is nothing.

    Returns it as it is in the lake. Of a recording of which several channels are heard the frames of one channel come
    after those of the other.
    """
    key = spectrogram_key(spectrogram)
    schema = ArraySchema(
        name=ARRAY,
        dimensions=("recording", "mel", "frame"),
        shape=(table.num_rows, spectrogram.n_mels, FRAMES_PER_SHARD),
        block=(layout.block_of(table.num_rows), spectrogram.n_mels, FRAMES_PER_SHARD),
        chunk_recordings=layout.chunk_recordings,
        dtype=spectrogram.dtype,
        attributes={
            "units": "dB",
            "long_name": "log-mel spectrogram",
            "frame_s": spectrogram.hop_samples / spectrogram.sample_rate_hz,
        },
    )
    coordinates = {name: table[name].to_pylist() for name in ("recording_id", "machine_id")}
    path = part.store("spectrograms", key).zarr_path
    return create_store(lake, path, schema, coordinates, spectrogram.model_dump())


def units_of(blocks: Iterable[SpectrogramBlock], table: pa.Table) -> list[SpectrogramUnit]:
    """Return the units of work that blocks of a part make: each block, or those whose bytes come in one pass.

    A compressed archive can only be streamed from its start, and clips of a packed file are decoded one after another.
    """
    units: list[list[SpectrogramBlock]] = []
    for block in blocks:
        if units and _goes_on(units[-1][-1], block, table):
            units[-1].append(block)
        else:
            units.append([block])
    return [SpectrogramUnit(tuple(unit)) for unit in units]


def fill_blocks(unit: SpectrogramUnit) -> Filled:
    """Decode the recordings of a unit of work; write each block's shard, then its receipt.

    A recording that cannot be decoded is a row with a reason; the others go on.

    Raises:
        SourceForbidden, StorageUnavailable: no bytes can be read at all.
    """
    wanted = [_wanted(block) for block in unit.blocks]
    sounds = sounds_of([row for rows in wanted for row in rows.values()], unit.blocks[0].max_member_bytes)
    filled = [
        _fill_block(block, rows, islice(sounds, len(rows))) for block, rows in zip(unit.blocks, wanted, strict=True)
    ]
    return Filled(sum(one.decoded for one in filled), frozenset().union(*(one.gone for one in filled)))


def try_blocks(unit: SpectrogramUnit) -> tuple[Part, Filled | TerminalError]:
    """Fill a unit of work; an error in reading its bytes is returned, so that other parts go on."""
    try:
        return unit.part, fill_blocks(unit)
    except StorageFull:
        raise  # nothing that follows could be kept either
    except TerminalError as error:
        return unit.part, error


def _rows(block: SpectrogramBlock) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (
        _part_of(block.lake_uri, block.part).slice(block.rows.start, len(block.rows)).to_pylist()
    )
    return rows


def _goes_on(before: SpectrogramBlock, block: SpectrogramBlock, table: pa.Table) -> bool:
    """Whether a block's bytes are best read in one pass with those of the block before it."""
    archive = _stream_of(block, table)
    if archive is not None and archive == _stream_of(before, table):
        return True
    last, first = (table.slice(at, 1).to_pylist()[0] for at in (before.rows.stop - 1, block.rows.start))
    return goes_on(last, first)


def _stream_of(block: SpectrogramBlock, table: pa.Table) -> str | None:
    """Return the compressed archive in which all recordings of a block lie; None where there is no such one."""
    rows = table.slice(block.rows.start, len(block.rows))
    archives = set(zip(rows["source_uri"].to_pylist(), rows["compression"].to_pylist(), strict=True))
    uri, compression = archives.pop()
    return uri if not archives and is_stream(compression) else None


def _wanted(block: SpectrogramBlock) -> dict[int, dict[str, Any]]:
    """Return the rows to decode by their place in the block.

    Rows rejected while listing or superseded since have no bytes worth fetching; their reason stands in the part.
    """
    return {
        index: row
        for index, row in enumerate(_rows(block))
        if row["reason"] is None and block.rows.start + index not in block.skipped_rows
    }


def _fill_block(block: SpectrogramBlock, wanted: Mapping[int, Mapping[str, Any]], sounds: Iterable[Sound]) -> Filled:
    lake, rows = Lake(block.lake_uri), _rows(block)
    health = [_nothing(row["recording_id"]) for row in rows]
    spectrograms: dict[int, np.ndarray] = {}
    for (index, row), sound in zip(wanted.items(), sounds, strict=True):
        try:
            if isinstance(sound, Rejected):
                raise sound  # noqa: TRY301 - one way out for all rejections
            facts, values = _analyse(sound, row["channel"], block.spectrogram, block.health)
        except Rejected as rejected:
            health[index] |= {"status": "rejected", "reason": str(rejected.reason), "detail": rejected.detail}
            continue
        except Exception as error:
            error.add_note(f"at recording {row['recording_id']}: {row['path']}")
            raise
        health[index] |= facts
        if values is not None:
            spectrograms[index] = values
    length = max((values.shape[1] for values in spectrograms.values()), default=0)
    shard = np.full((len(rows), block.spectrogram.n_mels, length), np.nan, dtype=block.spectrogram.dtype)
    for index, values in spectrograms.items():
        shard[index, :, : values.shape[1]] = values
    if length:
        write_block(lake, block.array, block.rows, shard)
    lake.create(block.store.receipt_path(block.rows.start), encode(pa.Table.from_pylist(health, schema=HEALTH)))
    gone = [row["source_uri"] for row, facts in zip(rows, health, strict=True) if facts.get("reason") == GONE]
    return Filled(len(wanted) - len(gone), frozenset(gone))


def finish_part(lake: Lake, part: Part, table: pa.Table, spectrogram: SpectrogramSettings, array: StoredArray) -> bool:
    """Join the receipts into the part's health table, finish its store and mark it; False when another writer did.

    Raises:
        NotComplete: a block has left no receipt.
    """
    key = spectrogram_key(spectrogram)
    store = part.store("spectrograms", key)
    health = _read_receipts(lake, store)
    if present(lake, [store.mark_path])[0]:
        # Another run was first and has dropped the receipts; this one may have touched the store since.
        health = read_health(lake, part, key)
    if health["recording_id"].to_pylist() != table["recording_id"].to_pylist():
        raise NotComplete(f"{lake.uri_of(store.zarr_path)} has blocks without a receipt")
    create_table(lake, part.health_path(key), health)
    extents = _extents(health)
    length = int((extents.n_frames * extents.channels).max(initial=1))
    finished = finish_store(lake, array, extents.n_frames, length)
    mark = Mark(part=part.part_id, recordings=table.num_rows, key=key, array=dict(finished.metadata))
    return store.mark(lake, mark, array.blocks)


def read_health(lake: Lake, part: Part, key: str) -> pa.Table:
    """Return a complete part's health in row order."""
    return read_table(lake, part.health_path(key), HEALTH)


@dataclass(frozen=True)
class Extents:
    """How much of a store's last axis each recording has: int64 (recording,) both.

    Attributes:
        n_frames: frames of one channel.
        channels: how many channels follow each other; 1 where nothing was decoded.
    """

    n_frames: npt.NDArray[np.int64]
    channels: npt.NDArray[np.int64]

    def of(self, rows: range) -> Extents:
        """Return those of some rows."""
        return Extents(self.n_frames[rows.start : rows.stop], self.channels[rows.start : rows.stop])


def read_extents(lake: Lake, part: Part, spectrogram: SpectrogramSettings) -> Extents:
    """Return the extents of a complete part's spectrograms, in row order."""
    return _extents(read_table(lake, part.health_path(spectrogram_key(spectrogram)), _EXTENTS))


def _extents(health: pa.Table) -> Extents:
    # Null as well in tables of versions that heard one channel only.
    return Extents(health["n_frames"].to_numpy(), health["channels_heard"].fill_null(1).to_numpy())


def _read_receipts(lake: Lake, store: PartStore) -> pa.Table:
    try:
        receipts = map_concurrently(lake.read, store.list_receipts(lake))
    except SourceNotFound:
        return HEALTH.empty_table()
    return pa.concat_tables([HEALTH.empty_table(), *(decode(receipt, HEALTH) for receipt in receipts)])


@functools.lru_cache(maxsize=4)
def _part_of(lake_uri: str, part: Part) -> pa.Table:
    """Return a part's recordings; a worker takes many blocks of one part, which never changes."""
    return read_part(Lake(lake_uri), part)


def _nothing(recording_id: str) -> dict[str, object]:
    return {"recording_id": recording_id, "status": "accepted", "n_frames": 0}


def _analyse(
    audio: Audio, channel: int | None, settings: SpectrogramSettings, health: HealthSettings
) -> tuple[dict[str, object], np.ndarray | None]:
    measured: list[Health] = []
    spectrograms: list[np.ndarray] = []
    for signal in heard(audio, channel, settings):
        measured.append(measure(audio, signal, health))
        if not measured[-1].nonfinite_fraction:
            spectrograms.append(_log_mel(settings)(resample(signal, audio.sample_rate_hz, settings.sample_rate_hz)))
    facts: dict[str, object] = asdict(worst_of(measured))
    facts["resampled"] = audio.sample_rate_hz != settings.sample_rate_hz
    facts["detail"] = "; ".join(filter(None, [audio.note, told_of(measured)])) or None
    if len(spectrograms) < len(measured):
        return facts | {"status": "rejected", "reason": str(Reason.NOT_FINITE)}, None
    return facts | {"n_frames": spectrograms[0].shape[1]}, np.concatenate(spectrograms, axis=1)


@functools.lru_cache(maxsize=2)
def _log_mel(settings: SpectrogramSettings) -> LogMel:
    # It imports torch, which takes seconds that only workers should pay.
    from humwatch.tasks.spectrograms.logmel import LogMel  # noqa: PLC0415

    return LogMel(settings)
