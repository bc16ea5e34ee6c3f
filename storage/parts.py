"""Parts: what one ingest brought for one machine type and batch, and which derived stores of it are complete.

A part is immutable and named by what is in it. A store derived from a part is complete when its mark exists; the mark
is created last and conditionally. While a store is being filled, every finished block leaves a receipt, so that a
killed run is continued and not begun again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from humwatch.storage.errors import NotComplete, SourceNotFound
from humwatch.storage.lake import Lake
from humwatch.storage.naming import component_text, digest, path_component
from humwatch.storage.records import Mark, read_record
from humwatch.storage.tables import RECORDINGS, create_table, read_table

if TYPE_CHECKING:
    from humwatch.storage.arrays import StoredArray


@dataclass(frozen=True, order=True)
class Part:
    """A part of the lake's recordings."""

    machine_type: str
    batch: str
    part_id: str

    def __str__(self) -> str:
        return f"part {self.machine_type}/{self.batch}/{self.part_id}"

    @property
    def table_path(self) -> str:
        """Where its recordings are listed."""
        return f"recordings/{self._partition}/{self.part_id}.parquet"

    def health_path(self, key: str) -> str:
        """Where the facts from decoding are."""
        return f"health/{key}/{self._partition}/{self.part_id}.parquet"

    def scores_path(self, key: str, models_hash: str) -> str:
        """Where its scores by one set of models are."""
        return f"scores/{key}/{self._partition}/{self.part_id}-{models_hash}.parquet"

    def store(self, kind: str, key: str) -> PartStore:
        """Return its store of `kind` (`spectrograms` or `features`) under `key`."""
        return PartStore(
            f"{kind}/{key}/{path_component(self.machine_type)}/{path_component(self.batch)}/{self.part_id}"
        )

    @property
    def _partition(self) -> str:
        return f"machine_type={path_component(self.machine_type)}/batch={path_component(self.batch)}"


@dataclass(frozen=True)
class PartStore:
    """Names of one derived store of a part."""

    stem: str

    @property
    def zarr_path(self) -> str:
        """The Zarr group."""
        return f"{self.stem}.zarr"

    @property
    def mark_path(self) -> str:
        """The completion mark."""
        return f"{self.stem}.json"

    def receipt_path(self, block: int) -> str:
        """What the writer of a block leaves behind when its shard is written."""
        return f"{self._receipts}/{block:06d}.parquet"

    def list_receipts(self, lake: Lake) -> list[str]:
        """Return the receipts that are there, in the order of their blocks."""
        return lake.list(self._receipts, ".parquet")

    def mark(self, lake: Lake, mark: Mark, blocks: Iterable[range]) -> bool:
        """Mark the store complete and drop the receipts of its blocks; False when another writer was first."""
        first = lake.create(self.mark_path, mark.encode())
        lake.delete_folder(self._receipts, [self.receipt_path(rows.start) for rows in blocks])
        return first

    def read_mark(self, lake: Lake) -> Mark:
        """Return what the mark says of the store's inputs.

        Raises:
            NotComplete: there is no mark.
            LakeDamaged: there is one that says nothing.
        """
        try:
            return read_record(lake, self.mark_path, Mark)
        except SourceNotFound as error:
            raise NotComplete(f"{lake.uri_of(self.zarr_path)} is not complete: it has no mark") from error

    def complete_array(self, lake: Lake, name: str) -> StoredArray:
        """Return the array of a complete store.

        Raises:
            NotComplete, LakeDamaged: as `read_mark`.
        """
        # Not above: zarr takes a third of a second to import, and a look into a lake does without.
        from humwatch.storage.arrays import StoredArray, open_array  # noqa: PLC0415

        metadata = self.read_mark(lake).array
        if metadata is None:
            return open_array(lake, self.zarr_path, name)
        return StoredArray(self.zarr_path, name, metadata)

    @property
    def _receipts(self) -> str:
        return f"{self.stem}.blocks"


def part_id(contents: Iterable[tuple[str, str, str]]) -> str:
    """Return the name of a part that holds these (recording_id, content_tag, replaces)."""
    return digest(sorted(contents), 16)


def list_parts(lake: Lake) -> list[Part]:
    """Return every part of the lake in a fixed order."""
    parts = []
    for path in lake.list("recordings", ".parquet"):
        _, machine_type, batch, name = path.split("/")
        parts.append(
            Part(
                component_text(machine_type.removeprefix("machine_type=")),
                component_text(batch.removeprefix("batch=")),
                name.removesuffix(".parquet"),
            )
        )
    return sorted(parts)


def create_part(lake: Lake, machine_type: str, batch: str, rows: pa.Table) -> Part:
    """Keep `rows` (schema `RECORDINGS`, in row order) as a part; the same contents are kept once."""
    contents = zip(*(rows[name].to_pylist() for name in ("recording_id", "content_tag", "replaces")), strict=True)
    part = Part(machine_type, batch, part_id((a, b, c or "") for a, b, c in contents))
    create_table(lake, part.table_path, rows)
    return part


def read_part(lake: Lake, part: Part) -> pa.Table:
    """Return a part's recordings in row order."""
    return read_table(lake, part.table_path, RECORDINGS)
