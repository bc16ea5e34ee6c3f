"""Parts, and what is known of their stores: complete when marked, continued when not, the same bytes whoever wrote."""

import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from humwatch.storage.arrays import (
    ArraySchema,
    create_store,
    finish_store,
    open_array,
    read_n_frames,
    read_rows,
    write_block,
)
from humwatch.storage.errors import NotComplete
from humwatch.storage.lake import Lake
from humwatch.storage.parts import Part, create_part, list_parts, read_part
from humwatch.storage.records import Mark
from humwatch.storage.tables import RECORDINGS, create_table

STORE = Part("fan", "all", "0123456789abcdef").store("spectrograms", "key")
RECORDINGS_IN_STORE, BLOCK, FRAMES = 10, 4, 5
RECEIPT = pa.table({"recording_id": pa.array([], pa.string())})
ODD_NAMES = [
    "..",
    ".",
    "...",
    "a/b",
    "<script>",
    "é",
    "",
    "%2E",
    "a=b",
    "machine_type=x",
    " ",
    "風扇",
    "x.parquet",
    "?#&",
]


def mark(recordings=0):
    return Mark(part="0123456789abcdef", recordings=recordings, key="logmel")


@pytest.fixture
def lake(tmp_path):
    return Lake.open(str(tmp_path / "lake"))


def rows(*contents: tuple[str, str, str | None], ingested_at=datetime(2026, 11, 21, tzinfo=UTC), **columns) -> pa.Table:
    """Rows of the recordings table with these (recording_id, content_tag, replaces)."""
    names = ("recording_id", "content_tag", "replaces")
    return pa.Table.from_pylist(
        [dict(zip(names, content, strict=True)) | {"ingested_at": ingested_at} | columns for content in contents],
        schema=RECORDINGS,
    )


def test_a_store_is_complete_when_it_is_marked_and_not_before(lake):
    lake.write(STORE.receipt_path(0), b"")
    assert not lake.exists(STORE.mark_path)
    with pytest.raises(NotComplete, match=r"spectrograms/key/fan/all/0123456789abcdef\.zarr"):
        STORE.read_mark(lake)
    assert STORE.mark(lake, mark(3), [])
    assert lake.exists(STORE.mark_path)
    assert STORE.read_mark(lake) == mark(3)


def test_the_first_mark_wins(lake):
    assert STORE.mark(lake, mark(1), [])
    assert not STORE.mark(lake, mark(2), [])
    assert STORE.read_mark(lake) == mark(1)


def test_a_mark_drops_its_own_receipts_only(lake):
    other = Part("fan", "all", "0123456789abcdef0").store("spectrograms", "key")
    for store in (STORE, other):
        lake.write(store.receipt_path(0), b"")
        lake.write(f"{store.zarr_path}/zarr.json", b"{}")
    STORE.mark(lake, mark(), [range(4)])
    assert lake.list("spectrograms") == sorted(
        [STORE.mark_path, f"{STORE.zarr_path}/zarr.json", f"{other.zarr_path}/zarr.json", other.receipt_path(0)]
    )


def test_receipts_are_listed_in_the_order_of_their_rows(lake):
    starts = [1_000, 64, 0, 999_936, 8]
    for start in starts:
        lake.write(STORE.receipt_path(start), b"")
    assert lake.list(f"{STORE.stem}.blocks", ".parquet") == [STORE.receipt_path(start) for start in sorted(starts)]


def test_what_a_killed_writer_left_half_written_is_never_listed(lake, tmp_path):
    part = create_part(lake, "fan", "all", rows(("r", "A", None)))
    lake.write(STORE.receipt_path(0), b"")
    for path in (part.table_path, STORE.receipt_path(0)):
        (tmp_path / "lake" / path).with_name(".tmp-0123.parquet").write_bytes(b"PAR1")
    assert list_parts(lake) == [part]
    assert lake.list(f"{STORE.stem}.blocks", ".parquet") == [STORE.receipt_path(0)]


def test_bytes_that_change_there_and_back_are_three_parts(lake):
    history = [("r", "A", None), ("r", "B", "A"), ("r", "A", "B")]
    parts = [create_part(lake, "fan", "all", rows(content)) for content in history]
    assert len(set(parts)) == 3
    assert list_parts(lake) == sorted(parts)
    assert [read_part(lake, part)["content_tag"].to_pylist() for part in parts] == [["A"], ["B"], ["A"]]


def test_the_same_contents_are_kept_once_in_whatever_order_they_were_listed(lake):
    first = create_part(lake, "fan", "all", rows(("r", "A", None), ("s", "B", None)))
    later = datetime(2026, 11, 22, tzinfo=UTC)
    assert create_part(lake, "fan", "all", rows(("s", "B", None), ("r", "A", None), ingested_at=later)) == first
    assert read_part(lake, first)["ingested_at"].to_pylist() == [datetime(2026, 11, 21, tzinfo=UTC)] * 2
    assert create_part(lake, "fan", "all", rows(("r", "A", None))) != first


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_machine_types_and_batches_stay_inside_the_lake_and_come_back(lake, tmp_path, name):
    parts = [create_part(lake, *names, rows(("r", "A", None))) for names in ((name, "all"), ("fan", name))]
    assert list_parts(lake) == sorted(parts)
    assert {(part.machine_type, part.batch) for part in list_parts(lake)} == {(name, "all"), ("fan", name)}
    for part in parts:
        store = part.store("spectrograms", "key")
        store.mark(lake, mark(), [])
        assert store.mark_path in lake.list("spectrograms/key", ".json")
        assert store.mark_path.count("/") == 4
    assert [path.name for path in tmp_path.iterdir()] == ["lake"]


def test_odd_names_share_no_place():
    parts = [Part(name, "all", "0") for name in ODD_NAMES] + [Part("all", name, "0") for name in ODD_NAMES]
    places = {part.table_path for part in parts} | {part.store("features", "key").stem for part in parts}
    assert len(places) == 2 * len(parts)


# A store is filled as the stages do it: the schema, then for each block its shard and receipt, the finish, the mark.


def values(block: range) -> np.ndarray:
    return np.random.default_rng(block.start).normal(size=(len(block), 3, FRAMES)).astype(np.float32)


def fill(lake: Lake) -> bool:
    """Do what is missing of the store; return whether this call marked it."""
    if lake.exists(STORE.mark_path):
        return False
    schema = ArraySchema(
        name="logmel",
        dimensions=("recording", "mel", "frame"),
        shape=(RECORDINGS_IN_STORE, 3, 2),
        block=(BLOCK, 3, 2),
        chunk_recordings=2,
        dtype="float32",
        attributes={"units": "dB"},
    )
    coordinates = {name: [f"{name} {i}" for i in range(RECORDINGS_IN_STORE)] for name in ("recording_id", "machine_id")}
    array = create_store(lake, STORE.zarr_path, schema, coordinates, {"n_mels": 3})
    done = lake.list(f"{STORE.stem}.blocks", ".parquet")
    for block in array.blocks:
        if STORE.receipt_path(block.start) not in done:
            write_block(lake, array, block, values(block))
            create_table(lake, STORE.receipt_path(block.start), RECEIPT)
    finish_store(lake, array, np.arange(RECORDINGS_IN_STORE), FRAMES)
    return STORE.mark(lake, mark(RECORDINGS_IN_STORE), array.blocks)


def contents(lake: Lake) -> dict[str, bytes]:
    return {path: lake.read(path) for path in lake.list("")}


@pytest.fixture
def undisturbed(tmp_path) -> dict[str, bytes]:
    lake = Lake.open(str(tmp_path / "undisturbed"))
    assert fill(lake)
    return contents(lake)


def test_a_filled_store_holds_what_was_written(lake):
    assert fill(lake)
    for block in (range(4), range(4, 8), range(8, 10)):
        array = open_array(lake, STORE.zarr_path, "logmel")
        np.testing.assert_array_equal(read_rows(lake, array, block), values(block))
    assert read_n_frames(lake, STORE.zarr_path).tolist() == list(range(RECORDINGS_IN_STORE))
    assert not lake.list(f"{STORE.stem}.blocks")


class PowerCut(BaseException):
    """The end of a writer; no `except Exception` survives it, as none survives SIGKILL."""


class DyingLake(Lake):
    """A lake whose writer dies when it is about to write its object number `lives` + 1."""

    lives = 0

    def spend(self) -> None:
        if self.lives == 0:
            raise PowerCut
        self.lives -= 1

    def create(self, path: str, data: bytes) -> bool:
        self.spend()
        return super().create(path, data)

    def write(self, path: str, data: bytes) -> None:
        self.spend()
        super().write(path, data)

    def delete(self, path: str) -> None:
        self.spend()
        super().delete(path)


def test_a_writer_that_dies_before_any_of_its_objects_is_continued_to_the_same_bytes(undisturbed, tmp_path):
    after_the_mark = []
    for lives in range(1000):
        root = str(tmp_path / f"cut-{lives}")
        dying = DyingLake(root)
        dying.lives = lives
        try:
            fill(dying)
            break
        except PowerCut:
            survivor = Lake.open(root)
        if survivor.exists(STORE.mark_path):
            after_the_mark.append(lives)
            survivor.delete(f"{STORE.stem}.blocks")  # all that its death left to do
        else:
            assert fill(survivor)
        assert contents(survivor) == undisturbed, f"died before object {lives}"
    # The schema is 5 objects, coordinates are 2, shards and receipts 6, the finish and the mark at least 2.
    assert lives >= 15
    assert after_the_mark == [lives - 1]


def fill_each(roots: list[str], barrier) -> list[bool]:
    """Fill a store of every lake, each begun at the same moment as the other writers begin it."""
    won = []
    for root in roots:
        barrier.wait()
        try:
            won.append(fill(Lake(root)))
        except BaseException:
            barrier.abort()
            raise
    return won


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Consolidated metadata")  # filters of one thread are undone by another
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_writers_at_once_give_one_mark_and_the_bytes_of_one(undisturbed, tmp_path, kind):
    writers = 3
    lakes = [Lake.open(str(tmp_path / f"lake-{number}")) for number in range(12)]
    spawn = multiprocessing.get_context("spawn")
    with (
        spawn.Manager() as manager,
        ThreadPoolExecutor(writers) if kind == "threads" else ProcessPoolExecutor(writers, spawn) as executor,
    ):
        barrier = manager.Barrier(writers)
        roots = [lake.uri for lake in lakes]
        running = [executor.submit(fill_each, roots, barrier) for _ in range(writers)]
        broken = [future.exception() for future in running]
        assert [error for error in broken if not isinstance(error, threading.BrokenBarrierError | None)] == []
        won = np.array([future.result() for future in running])
    assert won.sum(axis=0).tolist() == [1] * len(lakes)
    for lake in lakes:
        assert contents(lake) == undisturbed
