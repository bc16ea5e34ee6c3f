"""What every kind of detector is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from humwatch.tasks.settings import FitSettings

Features: TypeAlias = NDArray[np.floating[Any]]
Matrix: TypeAlias = NDArray[np.float64]
Fit: TypeAlias = Callable[[Any, FitSettings, int, list[str]], Any]
"""Features (sample, feature), settings, seed and notes to add to -> what `score` takes."""

# Rows scored by one matrix product. The last block is filled with zeros: products of one shape round alike, so the
# score of a row does not depend on the rows it is scored with. It also bounds the memory of kde.
BLOCK_ROWS = 256


@dataclass(frozen=True)
class Algorithm:
    """How a kind of detector is fitted and scored.

    Attributes:
        fit: To features, float64 (sample, feature), or float32 where `raw`.
        score: Of what `fit` returned, and of features of the same width: float64 (sample,), higher = more abnormal.
        whiten: To unit variance in every principal component, for distances.
        raw: Features are neither standardised nor reduced.
        block_rows: Rows scored at once; a network's maps take more memory than a product.
    """

    fit: Fit
    score: Callable[[Any, Matrix], Matrix]
    whiten: bool = False
    raw: bool = False
    block_rows: int = BLOCK_ROWS
