"""Figures of merit over anomaly scores (higher = more abnormal); what is undefined is None, never 0.

Every ranking figure is undefined when a class has no scores or any score is NaN. Ties count half, infinities rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
import numpy.typing as npt
import pandas as pd

_DRAWS_IN_MEMORY = 500_000
_ENOUGH_TO_DRAW_FROM = 50


@dataclass(frozen=True)
class Confusion:
    """Rates of a decision rule where abnormal is the positive class; None = undefined."""

    precision: float | None
    recall: float | None
    f1: float | None
    false_alarm_rate: float | None


def auc(normal_scores: npt.ArrayLike, abnormal_scores: npt.ArrayLike) -> float | None:
    """Area under the ROC curve: the chance that an abnormal recording outranks a normal one.

    Args:
        normal_scores: float (normal recording,).
        abnormal_scores: float (abnormal recording,).

    Returns:
        0..1, or None when undefined.
    """
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415 - too slow for a look

    ranks = _ranks(normal_scores, abnormal_scores)
    return None if ranks is None else float(roc_auc_score(_truth(*ranks), np.concatenate(ranks)))


def pauc(normal_scores: npt.ArrayLike, abnormal_scores: npt.ArrayLike, max_fpr: float) -> float | None:
    """Area under the ROC curve up to `max_fpr`, standardised so that chance is 0.5 (McClish 1989, as scikit-learn).

    Args:
        normal_scores: float (normal recording,).
        abnormal_scores: float (abnormal recording,).
        max_fpr: upper false-positive rate, in (0, 1].

    Returns:
        0..1, or None when undefined.
    """
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415 - as above

    ranks = _ranks(normal_scores, abnormal_scores)
    return None if ranks is None else float(roc_auc_score(_truth(*ranks), np.concatenate(ranks), max_fpr=max_fpr))


def average_precision(normal_scores: npt.ArrayLike, abnormal_scores: npt.ArrayLike) -> float | None:
    """Mean precision over the abnormal recordings, each at the threshold that just finds it (as scikit-learn).

    Guessing gives the share of abnormal recordings, so figures of other test sets are not on one scale.

    Args:
        normal_scores: float (normal recording,).
        abnormal_scores: float (abnormal recording,).

    Returns:
        0..1, or None when undefined.
    """
    from sklearn.metrics import average_precision_score  # noqa: PLC0415 - as above

    ranks = _ranks(normal_scores, abnormal_scores)
    return None if ranks is None else float(average_precision_score(_truth(*ranks), np.concatenate(ranks)))


def roc_points(
    normal_scores: npt.ArrayLike, abnormal_scores: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """Corners of the ROC curve from (0, 0) to (1, 1).

    Returns:
        False-positive and true-positive rates, each float64 (corner,), or None when undefined.
    """
    from sklearn.metrics import roc_curve  # noqa: PLC0415 - as above

    ranks = _ranks(normal_scores, abnormal_scores)
    if ranks is None:
        return None
    fpr, tpr, _ = roc_curve(_truth(*ranks), np.concatenate(ranks))
    return fpr, tpr


def bootstrap_interval(
    normal_scores: npt.ArrayLike, abnormal_scores: npt.ArrayLike, confidence: float, n_samples: int, seed: int
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the AUC over recordings, stratified by label (Efron & Tibshirani 1993, ch. 13).

    It speaks of other recordings of the same machine, not of other machines. Perfectly separated classes give
    (1, 1), however few the recordings.

    Args:
        normal_scores: float (normal recording,).
        abnormal_scores: float (abnormal recording,).
        confidence: level in (0, 1).
        n_samples: bootstrap samples.
        seed: of the draws; the same seed gives the same interval.

    Returns:
        (low, high), or None when undefined.
    """
    ranks = _ranks(normal_scores, abnormal_scores)
    if ranks is None:
        return None
    normal, abnormal = ranks
    n_ranks = int(max(normal.max(), abnormal.max())) + 1
    rng = np.random.default_rng(seed)
    aucs = np.empty(n_samples, dtype=np.float64)
    step = max(1, _DRAWS_IN_MEMORY // (normal.size + abnormal.size))
    for start in range(0, n_samples, step):
        piece = aucs[start : start + step]
        drawn = normal[rng.integers(normal.size, size=(piece.size, normal.size))]
        cells = drawn + n_ranks * np.arange(piece.size)[:, np.newaxis]
        counts = np.bincount(cells.ravel(), minlength=piece.size * n_ranks).reshape(piece.size, n_ranks)
        outranked = counts.cumsum(axis=1) - counts / 2  # drawn normals below each rank, ties half
        drawn = abnormal[rng.integers(abnormal.size, size=(piece.size, abnormal.size))]
        piece[:] = np.take_along_axis(outranked, drawn, axis=1).mean(axis=1) / normal.size
    low, high = np.quantile(aucs, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def bootstrap_interval_of_files(
    normal_scores: npt.ArrayLike,
    abnormal_scores: npt.ArrayLike,
    normal_files: npt.NDArray[np.intp],
    abnormal_files: npt.NDArray[np.intp],
    confidence: float,
    n_samples: int,
    seed: int,
) -> tuple[float, float] | None:
    """As `bootstrap_interval`, but whole files are drawn: clips of one file say little more than one of them.

    Args:
        normal_scores: float (normal clip,).
        abnormal_scores: float (abnormal clip,).
        normal_files: the number of the file of each, from 0 on without gaps.
        abnormal_files: likewise.
        confidence: level in (0, 1).
        n_samples: bootstrap samples.
        seed: of the draws.

    Returns:
        (low, high), or None when undefined.
    """
    normal, abnormal = np.asarray(normal_scores, dtype=np.float64), np.asarray(abnormal_scores, dtype=np.float64)
    if _ranks(normal, abnormal) is None:
        return None
    n_clips, a_clips = np.bincount(normal_files), np.bincount(abnormal_files)
    outranked = np.empty((a_clips.size, n_clips.size))  # pairs of clips in which the abnormal one is higher, by files
    for file in range(n_clips.size):
        own = np.sort(normal[normal_files == file])
        below = (np.searchsorted(own, abnormal, "left") + np.searchsorted(own, abnormal, "right")) / 2
        outranked[:, file] = np.bincount(abnormal_files, below)
    rng = np.random.default_rng(seed)
    n_drawn = rng.multinomial(n_clips.size, np.full(n_clips.size, 1 / n_clips.size), n_samples)
    a_drawn = rng.multinomial(a_clips.size, np.full(a_clips.size, 1 / a_clips.size), n_samples)
    aucs = ((a_drawn @ outranked) * n_drawn).sum(axis=1) / ((a_drawn @ a_clips) * (n_drawn @ n_clips))
    low, high = np.quantile(aucs, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def newcombe_interval(auc: float, n_normal: int, n_abnormal: int, confidence: float) -> tuple[float, float]:
    """Score-type interval of an AUC from the counts alone: every true AUC whose own spread reaches the observed one.

    Newcombe 2006 (Statistics in Medicine 25:559), method 5: the variance of Hanley & McNeil 1982 with both sample sizes
    set to their mean, taken at the true AUC. Like Wilson's interval of a share it has a width where the observed value
    is 0 or 1, which the bootstrap, DeLong's and Wald's intervals have not.

    Args:
        auc: observed, 0..1.
        n_normal: normal recordings, at least one.
        n_abnormal: abnormal recordings, at least one.
        confidence: level in (0, 1).

    Returns:
        (low, high), 0 <= low <= auc <= high <= 1.
    """
    from scipy.optimize import brentq  # noqa: PLC0415 - as above
    from scipy.special import ndtri  # noqa: PLC0415 - as above

    z, mean_less_one = ndtri((1 + confidence) / 2), (n_normal + n_abnormal) / 2 - 1

    def excess(true: float) -> float:
        spread = 1 + mean_less_one * ((1 - true) / (2 - true) + true / (1 + true))
        return float((true - auc) ** 2 - z**2 * true * (1 - true) * spread / (n_normal * n_abnormal))

    edge = 1e-12  # 0 and 1 themselves have no spread, and so are trivial roots
    low = 0.0 if auc == 0 else brentq(excess, 0.0, min(auc, 1 - edge))
    high = 1.0 if auc == 1 else brentq(excess, max(auc, edge), 1.0)
    return float(low), float(high)


def auc_interval(
    normal_scores: npt.ArrayLike,
    abnormal_scores: npt.ArrayLike,
    confidence: float,
    n_samples: int,
    seed: int,
    files: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
) -> tuple[float, float] | None:
    """The published interval of an AUC: `bootstrap_interval`, where few speak not narrower than `newcombe_interval`.

    Drawn again and again from few recordings, or from perfectly separated ones, the bootstrap sees too little spread or
    none. So where a class has fewer than 50 recordings, or the AUC is 0 or 1, it is the wider end of both. Of clips it
    is files that are drawn and counted.

    Args:
        normal_scores: float (normal recording,).
        abnormal_scores: float (abnormal recording,).
        confidence: level in (0, 1).
        n_samples: bootstrap samples.
        seed: of the draws.
        files: the files of the normal and of the abnormal ones, any names; None: each has one of its own.

    Returns:
        (low, high), or None when undefined.
    """
    n_normal, n_abnormal = np.size(normal_scores), np.size(abnormal_scores)
    if files is None or (n_files(files[0]), n_files(files[1])) == (n_normal, n_abnormal):
        drawn = bootstrap_interval(normal_scores, abnormal_scores, confidence, n_samples, seed)
    else:
        normal_files, abnormal_files = (np.unique(np.asarray(names), return_inverse=True)[1] for names in files)
        drawn = bootstrap_interval_of_files(
            normal_scores, abnormal_scores, normal_files, abnormal_files, confidence, n_samples, seed
        )
        n_normal, n_abnormal = n_files(files[0]), n_files(files[1])
    observed = auc(normal_scores, abnormal_scores)
    if drawn is None or observed is None:
        return None
    if min(n_normal, n_abnormal) >= _ENOUGH_TO_DRAW_FROM and 0 < observed < 1:
        return drawn
    low, high = newcombe_interval(observed, n_normal, n_abnormal, confidence)
    return min(low, drawn[0]), max(high, drawn[1])


def n_files(names: npt.ArrayLike) -> int:
    """How many different files there are among the files of recordings."""
    return len(np.unique(np.asarray(names)))


def chance_of_perfection(n_normal: int, n_abnormal: int) -> float:
    """How probable it is that scores which know nothing rank every abnormal recording above every normal one."""
    return 1 / comb(n_normal + n_abnormal, n_normal)


def confusion(normal_decisions: Sequence[bool | None], abnormal_decisions: Sequence[bool | None]) -> Confusion:
    """Rates of decisions (True = called abnormal) on normal and on abnormal recordings.

    Recall needs abnormal recordings, the false-alarm rate normal ones, precision and F1 both; precision also needs one
    recording called abnormal (F1 = 2 TP / (2 TP + FP + FN) does not). A class with a missing decision is undefined.
    """
    false_alarms, hits = _count_flagged(normal_decisions), _count_flagged(abnormal_decisions)
    precision: float | None = None
    f1: float | None = None
    if false_alarms is not None and hits is not None:
        precision = hits / (hits + false_alarms) if hits + false_alarms else None
        f1 = 2 * hits / (hits + false_alarms + len(abnormal_decisions))
    return Confusion(
        precision=precision,
        recall=None if hits is None else hits / len(abnormal_decisions),
        f1=f1,
        false_alarm_rate=None if false_alarms is None else false_alarms / len(normal_decisions),
    )


def _ranks(normal: npt.ArrayLike, abnormal: npt.ArrayLike) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]] | None:
    """Dense ranks among all scores, equal scores sharing one: all that the figures above depend on.

    Sorted, so that the order of the recordings does not move the interval.
    """
    normal, abnormal = np.asarray(normal, dtype=np.float64), np.asarray(abnormal, dtype=np.float64)
    if not normal.size or not abnormal.size or np.isnan(normal).any() or np.isnan(abnormal).any():
        return None
    _, ranks = np.unique(np.concatenate([normal, abnormal]), return_inverse=True)
    return np.sort(ranks[: normal.size]), np.sort(ranks[normal.size :])


def _truth(normal: npt.NDArray[np.intp], abnormal: npt.NDArray[np.intp]) -> npt.NDArray[np.int8]:
    return np.repeat(np.array([0, 1], dtype=np.int8), [normal.size, abnormal.size])


def _count_flagged(decisions: Sequence[bool | None]) -> int | None:
    values = np.asarray(decisions, dtype=object)
    return None if not values.size or pd.isna(values).any() else int(np.count_nonzero(values))
