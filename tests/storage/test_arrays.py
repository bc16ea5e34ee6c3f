"""Zarr stores: whole blocks only, NaN where nothing is, readable by xarray."""

import numpy as np
import pytest
import xarray as xr
from s3_server import s3_environment, s3_server

from humwatch.storage.arrays import (
    FRAMES_PER_SHARD,
    ArraySchema,
    create_store,
    finish_store,
    open_array,
    read_n_frames,
    read_rows,
    write_block,
)
from humwatch.storage.errors import Misaligned
from humwatch.storage.lake import Lake

SCHEMA = ArraySchema(
    name="logmel",
    dimensions=("recording", "mel", "frame"),
    shape=(10, 3, FRAMES_PER_SHARD),
    block=(4, 3, FRAMES_PER_SHARD),
    chunk_recordings=2,
    dtype="float32",
    attributes={"units": "dB"},
)
COORDINATES = {"recording_id": [f"r{i}" for i in range(10)], "machine_id": ["id_00"] * 10}


@pytest.fixture(scope="module")
def s3():
    with s3_server() as server, s3_environment(server.env):
        yield server


@pytest.fixture(params=["file", "s3"])
def lake(request, tmp_path):
    lake = Lake.open(str(tmp_path) if request.param == "file" else request.getfixturevalue("s3").new_uri())
    create_store(lake, "s.zarr", SCHEMA, COORDINATES, {"n_mels": 3})
    return lake


def array(lake):
    return open_array(lake, "s.zarr", "logmel")


def test_blocks_cover_the_rows(lake):
    assert array(lake).blocks == [range(4), range(4, 8), range(8, 10)]


def test_values_come_back_and_the_rest_is_nan(lake):
    values = np.arange(4 * 3 * 5, dtype=np.float32).reshape(4, 3, 5)
    write_block(lake, array(lake), range(4, 8), values)
    finish_store(lake, array(lake), np.array([0] * 4 + [5] * 4 + [0] * 2), 5)
    assert array(lake).shape == (10, 3, 5)
    np.testing.assert_array_equal(read_rows(lake, array(lake), range(4, 8)), values)
    assert np.isnan(read_rows(lake, array(lake), range(4))).all()


def test_longer_recordings_grow_the_last_axis(lake):
    length = FRAMES_PER_SHARD * 2 + 7
    write_block(lake, array(lake), range(8, 10), np.ones((2, 3, length), np.float32))
    write_block(lake, array(lake), range(4), np.zeros((4, 3, 9), np.float32))
    finish_store(lake, array(lake), np.zeros(10), length)
    assert (read_rows(lake, array(lake), range(8, 10)) == 1).all()
    first = read_rows(lake, array(lake), range(4))
    assert (first[..., :9] == 0).all()
    assert np.isnan(first[..., 9:]).all()


@pytest.mark.parametrize("rows", [range(1, 5), range(3), range(4, 7), range(8)])
def test_part_of_a_shard_is_refused(lake, rows):
    with pytest.raises(Misaligned):
        write_block(lake, array(lake), rows, np.zeros((len(rows), 3, 5), np.float32))


def test_another_number_of_bands_is_refused(lake):
    with pytest.raises(Misaligned):
        write_block(lake, array(lake), range(4), np.zeros((4, 2, 5), np.float32))


def test_opens_in_xarray_with_names(lake):
    write_block(lake, array(lake), range(4), np.ones((4, 3, 5), np.float32))
    finish_store(lake, array(lake), np.array([5] * 4 + [0] * 6), 5)
    dataset = xr.open_zarr(lake.uri_of("s.zarr"))
    assert dataset["logmel"].dims == ("recording", "mel", "frame")
    assert dataset["recording_id"].values.tolist() == COORDINATES["recording_id"]
    assert {"recording_id", "machine_id", "n_frames"} <= set(dataset.coords)
    assert dataset["n_frames"].values.tolist() == [5] * 4 + [0] * 6
    assert dataset["logmel"].attrs["units"] == "dB"


def test_a_block_is_one_object(lake):
    write_block(lake, array(lake), range(4), np.ones((4, 3, 5), np.float32))
    write_block(lake, array(lake), range(4, 8), np.ones((4, 3, 5), np.float32))
    assert len([path for path in lake.list("s.zarr/logmel") if not path.endswith("zarr.json")]) == 2


def test_a_block_is_written_without_reading_the_one_it_replaces(lake, monkeypatch):
    stored, asked = array(lake), []
    write_block(lake, stored, range(4), np.zeros((4, 3, 5), np.float32))
    monkeypatch.setattr(type(lake._fs), "cat_file", lambda _, path, **more: asked.append((path, more)))
    write_block(lake, stored, range(4), np.ones((4, 3, 5), np.float32))
    monkeypatch.undo()
    assert asked == []
    assert (read_rows(lake, stored, range(4))[..., :5] == 1).all()


def test_a_writer_held_up_in_the_middle_of_the_schema_undoes_nothing(lake):
    values = np.ones((4, 3, FRAMES_PER_SHARD + 7), np.float32)

    class HeldUp(Lake):
        def create(self, path, data):
            if path.endswith("logmel/zarr.json"):
                begun = create_store(lake, "t.zarr", SCHEMA, COORDINATES, {"n_mels": 3})
                write_block(lake, begun, range(4), values)
                finish_store(lake, begun, np.full(10, FRAMES_PER_SHARD + 7), FRAMES_PER_SHARD + 7)
            return super().create(path, data)

    create_store(HeldUp(lake.uri), "t.zarr", SCHEMA, COORDINATES, {"n_mels": 3})
    np.testing.assert_array_equal(read_rows(lake, open_array(lake, "t.zarr", "logmel"), range(4)), values)
    assert read_n_frames(lake, "t.zarr").tolist() == [FRAMES_PER_SHARD + 7] * 10


def test_a_second_writer_finds_the_store_as_it_is(lake):
    write_block(lake, array(lake), range(4), np.ones((4, 3, 5), np.float32))
    create_store(lake, "s.zarr", SCHEMA, COORDINATES, {"n_mels": 3})
    finish_store(lake, array(lake), np.full(10, 5), 5)
    create_store(lake, "s.zarr", SCHEMA, COORDINATES, {"n_mels": 3})
    assert read_n_frames(lake, "s.zarr").tolist() == [5] * 10
    assert (read_rows(lake, array(lake), range(4)) == 1).all()
