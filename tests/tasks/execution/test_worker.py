"""Around a unit of work: what it took is told, and an error that nobody foresaw says where it came."""

import logging
import pickle
from dataclasses import dataclass

import pytest

from humwatch.storage.errors import SourceNotFound
from humwatch.tasks.execution.stage import run_on_workers
from humwatch.tasks.execution.worker import call, count_bytes


@dataclass(frozen=True)
class Unit:
    part: str

    def __str__(self) -> str:
        return f"spectrograms of {self.part}, rows 0:64"


UNIT = Unit("part fan/all/0123456789abcdef")


def test_a_unit_is_logged_with_part_rows_seconds_and_bytes(caplog):
    def work(unit):
        count_bytes(100)
        if unit is UNIT:
            count_bytes(20)
        return unit.part

    with caplog.at_level(logging.DEBUG, "humwatch"):
        other = Unit("part fan/all/another")
        assert list(run_on_workers("test", work, [UNIT, other], 2, 1)) == [UNIT.part, other.part]
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("spectrograms of part fan/all/0123456789abcdef, rows 0:64: ")
    assert first.endswith(" s, 120 bytes of input")
    assert second.endswith(" s, 100 bytes of input"), "each unit is counted by itself"


def test_an_unforeseen_error_names_its_unit_on_the_way_to_another_process():
    with pytest.raises(ZeroDivisionError) as caught:
        call(lambda _: 1 / 0, UNIT)
    error = pickle.loads(pickle.dumps(caught.value))
    assert error.__notes__ == ["in spectrograms of part fan/all/0123456789abcdef, rows 0:64"]


def test_an_error_of_ours_travels_without_its_causes():
    def work(_):
        try:
            raise OSError("a handle that cannot be pickled")  # noqa: TRY301
        except OSError as error:
            raise SourceNotFound("fan.zip") from error

    with pytest.raises(SourceNotFound) as caught:
        call(work, UNIT)
    assert caught.value.__cause__ is None
    assert not hasattr(caught.value, "__notes__")
