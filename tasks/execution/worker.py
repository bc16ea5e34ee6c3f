"""What runs on a worker around every unit of work; knows neither Prefect nor Dask, so that workers start quickly."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Generic, TypeVar

from humwatch.storage.errors import HumwatchError

R = TypeVar("R")
T = TypeVar("T")

_bytes_read: ContextVar[int] = ContextVar("bytes_read", default=0)


@dataclass(frozen=True)
class Done(Generic[R]):
    """A unit of work that is finished: what came of it, how long it took, and how many bytes it read."""

    result: R
    seconds: float
    bytes_read: int


def call(function: Callable[[T], R], unit: T) -> Done[R]:
    """Call `function` with a unit of work.

    Errors of ours travel without their causes, which often cannot be pickled (messages name them); any other one gets a
    note of the unit, whose text says part and rows.
    """
    began = time.perf_counter()
    _bytes_read.set(0)
    try:
        result = function(unit)
    except HumwatchError as error:
        error.__cause__ = error.__context__ = None
        raise
    except Exception as error:
        error.add_note(f"in {unit}")
        raise
    return Done(result, time.perf_counter() - began, _bytes_read.get())


def count_bytes(size: int) -> None:
    """Add to the bytes that the current unit has read."""
    _bytes_read.set(_bytes_read.get() + size)
