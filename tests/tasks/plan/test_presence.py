"""What is missing is known by few requests: one an object, or a listing where there are many."""

from dataclasses import dataclass

import pytest

from humwatch.storage.lake import Lake
from humwatch.tasks.plan.presence import missing, present


@dataclass(frozen=True)
class Table:
    path: str

    @property
    def mark_path(self):
        return self.path


def paths(count, kind="scores"):
    return [f"{kind}/key/{number:04d}.parquet" for number in range(count)]


@pytest.fixture(params=["folder", "memory"])
def lake(request, tmp_path):
    return Lake.open(str(tmp_path / "lake") if request.param == "folder" else f"memory://{tmp_path.name}")


@pytest.mark.parametrize("count", [0, 1, 999, 1000])
def test_what_is_there_is_told_in_order_whatever_the_number(lake, count):
    asked = paths(count)
    for path in asked[::3]:
        lake.create(path, b"1")
    assert present(lake, asked) == [number % 3 == 0 for number in range(count)]
    assert missing(lake, map(Table, asked)) == [Table(path) for number, path in enumerate(asked) if number % 3]


def test_kinds_and_keys_are_not_confused(lake):
    lake.create("scores/key/0000.parquet", b"1")
    assert present(lake, [*paths(1000), *paths(1000, "models")]) == [True] + [False] * 1999
