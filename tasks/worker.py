"""What runs on a worker around every unit of work; knows neither Prefect nor Dask, so that workers start quickly."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from storage.errors import HumwatchError

R = TypeVar("R")
T = TypeVar("T")


def call(function: Callable[[T], R], unit: T) -> R:
    """Call `function`; its errors travel without their causes, which often cannot be pickled (messages name them)."""
    try:
        return function(unit)
    except HumwatchError as error:
        error.__cause__ = error.__context__ = None
        raise
