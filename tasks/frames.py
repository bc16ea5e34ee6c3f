"""Data frames as Python values: pandas has several nulls, JSON and templates have one."""

from __future__ import annotations

from typing import Any

import pandas as pd


def none_for_nan(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose text columns (dtype object) have None for every null; numbers stay as they are."""
    changed = frame.copy(deep=False)
    for column in changed.columns[changed.dtypes == "object"]:
        changed[column] = changed[column].where(changed[column].notna(), None)
    return changed


def python_values(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame of Python objects (dtype object) with None for every null."""
    values = frame.astype(object)
    return values.where(frame.notna(), None)


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as dictionaries of Python values; a null is None."""
    return python_values(frame).to_dict("records")  # type: ignore[return-value]
