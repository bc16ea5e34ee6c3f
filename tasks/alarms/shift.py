"""Whether a machine's last nights lie above the nights before them, from few nights and without any model of these.

For each night that may be the first of a change, the nights from it on until tonight are compared with those before it
by Student's two-sample t test, which is exact for independent normal night scores (Student, "The probable error of a
mean", Biometrika 6, 1908). Nights that follow the change are on its own side, so a fault that stays does not hide in
its own spread, as it would if each night were compared with all others. The smallest p-value counts as many times as
nights were tried (Bonferroni), so that a normal machine's is at most r on a share r of nights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr

from humwatch.tasks.alarms.null import fleet_effect
from humwatch.tasks.alarms.reference_nights import Bools, Floats

Ints = NDArray[np.int64]

# Statistics end where a double cannot tell a probability from 0 or 1.
_SMALLEST, _LARGEST = 1e-300, 1 - 1e-16


@dataclass(frozen=True)
class Shift:
    """The most striking shift of each machine; arrays are (machine,), NaN and -1 where tonight says nothing.

    Attributes:
        statistic: float64: how far its nights lie above those before, standard normal for one onset tried.
        p_value: float64: of the most striking of all that were tried.
        onset: int64: index of its first night.
        nights_before: int64: with which they were compared.
    """

    statistic: Floats
    p_value: Floats
    onset: Ints
    nights_before: Ints


def newest_shift(
    scores: Floats, weights: Floats, may_begin: Bools, types: NDArray[np.object_], fewest_before: int
) -> Shift:
    """Return the most striking shift that lasts until tonight.

    Args:
        scores: float64 (machine, night): night scores in calendar order, the last is tonight's; NaN for no night.
        weights: float64 (machine, night): in inverse proportion to the variance of each score.
        may_begin: bool (machine, night): whether a change may begin there.
        types: of machine: what a night did to all of a type at once is taken off.
        fewest_before: nights before a shift.
    """
    size, nights = scores.shape
    heard = np.isfinite(scores)
    statistics, before = np.full((size, nights), np.nan), np.cumsum(heard, axis=1) - heard
    for first in range(nights):
        tried = _above(scores, weights, first)
        tried[(before[:, first] < fewest_before) | ~heard[:, -1]] = np.nan
        for name in set(types.tolist()):
            tried[types == name] -= fleet_effect(tried[types == name])
        statistics[:, first] = np.where(heard[:, first] & may_begin[:, first], tried, np.nan)
    n_tried = np.isfinite(statistics).sum(axis=1)
    found = np.where(n_tried[:, None] > 0, np.nan_to_num(statistics, nan=-np.inf), 0.0).argmax(axis=1)
    of_machine = np.arange(size)
    statistic = statistics[of_machine, found]
    known = np.isfinite(statistic)
    return Shift(
        statistic=statistic,
        p_value=np.where(known, np.minimum(1.0, n_tried * ndtr(-statistic)), np.nan),
        onset=np.where(known, found, -1),
        nights_before=np.where(known, before[of_machine, found], -1),
    )


def _above(scores: Floats, weights: Floats, first: int) -> Floats:
    """Return how far the nights from `first` on lie above those before, as standard normal quantiles."""
    of_nights = np.where(np.isfinite(scores), weights, 0.0)
    values = np.nan_to_num(scores)
    degrees = (of_nights > 0).sum(axis=1) - 2
    with np.errstate(divide="ignore", invalid="ignore"):
        mean, squares, inverse = np.empty((2, len(scores))), np.zeros(len(scores)), np.zeros(len(scores))
        for side, part in enumerate((slice(0, first), slice(first, None))):
            weight = of_nights[:, part]
            mean[side] = (weight * values[:, part]).sum(axis=1) / weight.sum(axis=1)
            squares += (weight * (values[:, part] - mean[side][:, None]) ** 2).sum(axis=1)
            inverse += 1 / weight.sum(axis=1)
        t = np.where((squares > 0) & (degrees > 0), (mean[1] - mean[0]) / np.sqrt(squares / degrees * inverse), np.nan)
        return np.asarray(-ndtri(np.clip(stdtr(degrees, -t), _SMALLEST, _LARGEST)))
