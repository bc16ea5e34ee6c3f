"""Two models on the same recordings: is the difference of their AUCs more than chance?

DeLong, DeLong & Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating characteristic
curves: a nonparametric approach", Biometrics 44(3), 1988; computed from midranks as in Sun & Xu, "Fast implementation
of DeLong's algorithm for comparing the areas under correlated receiver operating characteristic curves", IEEE Signal
Processing Letters 21(11), 2014.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Placements:
    """Where a model puts each test recording among those of the other label; the mean of either array is the AUC.

    Attributes:
        abnormal: float64 (abnormal recording,), share of normal recordings below it, ties half.
        normal: float64 (normal recording,), share of abnormal recordings above it, ties half.
    """

    abnormal: FloatArray
    normal: FloatArray

    @property
    def auc(self) -> float:
        """The AUC."""
        return float(self.abnormal.mean())


def placements(normal_scores: npt.ArrayLike, abnormal_scores: npt.ArrayLike) -> Placements:
    """Place the recordings of one model, O(n log n).

    Args:
        normal_scores: float (normal recording,), higher = more abnormal, no NaN, at least one.
        abnormal_scores: float (abnormal recording,), likewise.
    """
    normal, abnormal = np.asarray(normal_scores, dtype=np.float64), np.asarray(abnormal_scores, dtype=np.float64)
    ranks = rankdata(np.concatenate([abnormal, normal]))
    return Placements(
        abnormal=(ranks[: abnormal.size] - rankdata(abnormal)) / normal.size,
        normal=1 - (ranks[abnormal.size :] - rankdata(normal)) / abnormal.size,
    )


def delong(a: Placements, b: Placements) -> tuple[float, float] | None:
    """AUC of `a` minus AUC of `b`, and the standard error of that difference over recordings.

    The placements of both must be of the same recordings in the same order. The error speaks of other recordings of
    the same machine, not of other machines.

    Returns:
        None where it is undefined: a label with one recording has no variance, and neither has a difference that is
        the same at every recording (one model separates the labels perfectly, the other perfectly the wrong way).
    """
    if min(a.abnormal.size, a.normal.size) < 2:
        return None
    abnormal, normal = a.abnormal - b.abnormal, a.normal - b.normal
    difference = float(abnormal.mean())
    error = float(np.sqrt(abnormal.var(ddof=1) / abnormal.size + normal.var(ddof=1) / normal.size))
    return None if difference and not error else (difference, error)


def normal_interval(difference: float, error: float, confidence: float) -> tuple[float, float, float]:
    """Lower and upper end of the interval of a difference of AUCs, and the two-sided p-value of no difference."""
    reach = float(ndtri((1 + confidence) / 2)) * error
    p_value = float(2 * ndtr(-abs(difference) / error)) if error else 1.0
    return max(-1.0, difference - reach), min(1.0, difference + reach), p_value
