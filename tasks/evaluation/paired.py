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
    from scipy.stats import rankdata  # noqa: PLC0415 - too slow for a look

    normal, abnormal = np.asarray(normal_scores, dtype=np.float64), np.asarray(abnormal_scores, dtype=np.float64)
    ranks = rankdata(np.concatenate([abnormal, normal]))
    return Placements(
        abnormal=(ranks[: abnormal.size] - rankdata(abnormal)) / normal.size,
        normal=1 - (ranks[abnormal.size :] - rankdata(normal)) / abnormal.size,
    )


def delong(
    a: Placements, b: Placements, files: tuple[npt.ArrayLike, npt.ArrayLike] | None = None
) -> tuple[float, float] | None:
    """AUC of `a` minus AUC of `b`, and the standard error of that difference over recordings, or over their files.

    Clips of one file are not independent; their placements are summed by file (Obuchowski, "Nonparametric analysis of
    clustered ROC curve data", Biometrics 53(2), 1997, for files of one label).

    The placements of both must be of the same recordings in the same order. The error speaks of other recordings of
    the same machine, not of other machines.

    Args:
        a: of one model.
        b: of the other.
        files: the files of the abnormal and of the normal recordings, any names; None: each has one of its own.

    Returns:
        None where it is undefined: a label with one file has no variance, and neither has a difference that is
        the same at every recording (one model separates the labels perfectly, the other perfectly the wrong way).
    """
    abnormal, normal = a.abnormal - b.abnormal, a.normal - b.normal
    of_abnormal, of_normal = files if files is not None else (np.arange(abnormal.size), np.arange(normal.size))
    variances = _variance_of_mean(abnormal, of_abnormal), _variance_of_mean(normal, of_normal)
    if variances[0] is None or variances[1] is None:
        return None
    difference = float(abnormal.mean())
    error = float(np.sqrt(variances[0] + variances[1]))
    return None if difference and not error else (difference, error)


def _variance_of_mean(values: FloatArray, files: npt.ArrayLike) -> float | None:
    """The variance of a mean over clips of files that are independent; None with a single file."""
    number = np.unique(np.asarray(files), return_inverse=True)[1]
    n_files = int(number.max(initial=-1)) + 1
    if n_files < 2:
        return None
    if n_files == values.size:
        return float(values.var(ddof=1) / values.size)
    sums = np.bincount(number, values - values.mean())
    return float((sums**2).sum() * n_files / (n_files - 1) / values.size**2)


def normal_interval(difference: float, error: float, confidence: float) -> tuple[float, float, float]:
    """Lower and upper end of the interval of a difference of AUCs, and the two-sided p-value of no difference."""
    from scipy.special import ndtr, ndtri  # noqa: PLC0415 - as above

    reach = float(ndtri((1 + confidence) / 2)) * error
    p_value = float(2 * ndtr(-abs(difference) / error)) if error else 1.0
    return max(-1.0, difference - reach), min(1.0, difference + reach), p_value
