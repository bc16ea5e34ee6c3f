"""Tables: exactly their schema back, the same bytes for the same rows, kept once."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from humwatch.storage.errors import SourceNotFound
from humwatch.storage.lake import Lake
from humwatch.storage.tables import HEALTH, RECORDINGS, SCORES, create_table, encode, read_table, read_tables

SCORE = {
    "recording_id": "a",
    "machine_type": "fan",
    "in_training": False,
    "seed": 3,
    "score": 1 / 3,
    "threshold": None,
    "window_scores": [0.1, 0.2],
    "recorded_at": datetime(2026, 11, 21, 2, 0, 0, 5, tzinfo=UTC),
}


@pytest.fixture
def lake(tmp_path):
    return Lake.open(str(tmp_path))


def scores(*rows):
    return pa.Table.from_pylist(list(rows), schema=SCORES)


def test_a_table_comes_back_with_its_schema_and_every_digit(lake):
    table = scores(SCORE, {"recording_id": "b"})
    assert create_table(lake, "scores/x.parquet", table)
    again = read_table(lake, "scores/x.parquet", SCORES)
    assert again.schema.equals(SCORES)
    assert again.to_pylist() == [
        {name: SCORE.get(name) for name in SCORES.names},
        {name: "b" if name == "recording_id" else None for name in SCORES.names},
    ]


def test_the_same_rows_are_the_same_bytes():
    assert encode(scores(SCORE)) == encode(scores(dict(reversed(SCORE.items()))))
    assert encode(scores(SCORE)) != encode(scores(SCORE | {"score": 1 / 3 + 1e-16}))


def test_the_first_table_stays(lake):
    assert create_table(lake, "t.parquet", scores(SCORE))
    assert not create_table(lake, "t.parquet", scores({"recording_id": "other"}))
    assert read_table(lake, "t.parquet", SCORES)["recording_id"].to_pylist() == ["a"]


def test_tables_are_joined_in_the_order_asked_for_and_none_are_an_empty_one(lake):
    for name in ("a", "b", "c"):
        create_table(lake, f"{name}.parquet", scores({"recording_id": name}))
    joined = read_tables(lake, ["c.parquet", "a.parquet", "b.parquet"], SCORES)
    assert joined["recording_id"].to_pylist() == ["c", "a", "b"]
    assert read_tables(lake, [], SCORES).equals(SCORES.empty_table())


def test_a_path_that_looks_like_a_partition_adds_no_column(lake):
    path = "scores/k/machine_type=fan/batch=all/x.parquet"
    create_table(lake, path, scores({"recording_id": "a", "machine_type": "a fan"}))
    assert read_table(lake, path, SCORES)["machine_type"].to_pylist() == ["a fan"]


def test_a_missing_table_is_an_error_that_names_it(lake):
    with pytest.raises(SourceNotFound, match=r"nothing\.parquet"):
        read_table(lake, "nothing.parquet", SCORES)


def test_recordings_and_health_meet_in_nothing_but_the_recording_and_its_reason():
    assert set(RECORDINGS.names) & set(HEALTH.names) == {"recording_id", "reason"}
