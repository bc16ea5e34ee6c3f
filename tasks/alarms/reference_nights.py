"""How far a night lies above a machine's nights of normal sound, as a standard normal statistic.

Night scores x_1 ... x_n of normal nights, independent and normal with unknown mean and variance, say of one more normal
night x that (x - mean) / (sd sqrt(1 + 1/n)) has Student's t distribution with n - 1 degrees of freedom (the prediction
interval; Hahn & Meeker, *Statistical Intervals*, 1991). Its normal quantile is standard normal whatever n, mean and
variance are, so that machines and nights can be compared; if each normal night joins the reference after it was judged,
these statistics are independent (self-starting charts; Hawkins, "Self-starting CUSUM charts for location and scale",
The Statistician 36, 1987).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Statistics end where a double cannot tell a probability from 0 or 1.
_SMALLEST, _LARGEST = 1e-300, 1 - 1e-16


@dataclass
class ReferenceNights:
    """Reference nights of many machines; each array is float64 (machine,).

    Attributes:
        count: nights.
        mean: of their night scores.
        squares: sum of squared distances from the mean.
    """

    count: Floats
    mean: Floats
    squares: Floats

    @classmethod
    def of(cls, nights: Floats) -> ReferenceNights:
        """Return the reference of night scores (machine, night); NaN is no night."""
        count = np.isfinite(nights).sum(axis=1).astype(np.float64)
        mean = np.nansum(nights, axis=1) / np.maximum(count, 1)
        return cls(count, mean, np.nansum((nights - mean[:, None]) ** 2, axis=1))

    def add(self, scores: Floats) -> None:
        """Let a night join each machine's reference; NaN adds nothing."""
        self._change(scores, 1.0)

    def without(self, scores: Floats) -> ReferenceNights:
        """Return the reference without one of its nights; where that is NaN, all of it."""
        other = ReferenceNights(self.count.copy(), self.mean.copy(), self.squares.copy())
        other._change(scores, -1.0)
        return other

    def statistic(self, scores: Floats, spread: Floats | float = 1.0) -> Floats:
        """Return the statistic of a night, float64 (machine,); higher is more abnormal.

        NaN where there is no score, fewer than two nights, or no variance.

        Args:
            scores: night scores; NaN where there is none.
            spread: how many times the standard deviation of a reference night that of this night may be.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.sqrt(self.squares / (self.count - 1)) * np.sqrt(spread**2 + 1 / self.count)
            t = np.where(self.squares > 0, (scores - self.mean) / scale, np.nan)
        return np.asarray(-ndtri(np.clip(stdtr(self.count - 1, -t), _SMALLEST, _LARGEST)))

    def _change(self, scores: Floats, sign: float) -> None:
        finite = np.isfinite(scores)
        before, at = self.mean[finite], scores[finite]
        self.count[finite] += sign
        self.mean[finite] += sign * (at - before) / np.maximum(self.count[finite], 1)
        self.squares[finite] = np.maximum(self.squares[finite] + sign * (at - before) * (at - self.mean[finite]), 0)


def leave_one_out(nights: Floats) -> Floats:
    """Return each night's statistic against the machine's other nights: float64 (machine, night), NaN for no night."""
    reference = ReferenceNights.of(nights)
    columns = [reference.without(nights[:, night]).statistic(nights[:, night]) for night in range(nights.shape[1])]
    return np.stack(columns, axis=1) if columns else np.empty(nights.shape)
