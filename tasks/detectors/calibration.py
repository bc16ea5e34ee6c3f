"""Thresholds with a stated false-alarm rate, from the scores of held-out normal recordings.

A normal recording drawn like n calibration recordings is as likely to take any of the n + 1 ranks among them. So its
conformal p-value is at most r with probability at most r, and it exceeds the threshold for r no more often (Vovk,
Gammerman & Shafer, *Algorithmic Learning in a Random World*, 2005; for anomalies: Laxhammar & Falkman, "Inductive
conformal anomaly detection for sequential detection of anomalous sub-trajectories", 2015). The rate holds on average
over calibration sets, not for each of them.

What it rests on, and where it can fail: the recordings must be exchangeable, which recordings of one night are more
than those of different ones (hence folds by batch, so that a held-out night is scored by a model that never heard it);
and here each calibration recording is scored by a model fitted without its fold, a new recording by the model of all of
them. That is the cross-validation variant of Barber, Candès, Ramdas & Tibshirani ("Predictive inference with the
jackknife+", Annals of Statistics 49(1), 2021) in its pooled form: accurate when leaving a fold out changes scores
little, without a guarantee otherwise; in practice it errs to fewer alarms, since the model of all has seen more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold


def make_folds(batches: Sequence[str | None], n_folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each recording, int64 (recording,).

    Whole batches where there are at least `n_folds` different ones (recordings without a batch count as one), single
    recordings at random otherwise; fewer folds where there are fewer recordings, all 0 for a single one.

    Args:
        batches: The batch of each training recording.
        n_folds: Folds wanted; with one nothing is held out, so nothing calibrates a threshold.
        seed: 0 to 2**32 - 1.
    """
    folds = np.zeros(len(batches), dtype=np.int64)
    if min(len(batches), n_folds) < 2:
        return folds
    names = [batch or "" for batch in batches]
    by_batch = len(set(names)) >= n_folds
    splitter = (GroupKFold if by_batch else KFold)(min(n_folds, len(batches)), shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(splitter.split(folds, groups=names if by_batch else None)):
        folds[held_out] = fold
    return folds


def threshold(calibration_scores: NDArray[np.float64], rate: float) -> tuple[float | None, str | None]:
    """The score above which a recording is called abnormal, or None and the reason why there is none.

    It is the ceil((n + 1)(1 - rate))-th smallest of the n calibration scores (NaN dropped); `score > threshold` says
    the same as `p_value <= rate`, ties included.

    Args:
        calibration_scores: float64 (recording,), out-of-fold, of normal recordings.
        rate: Largest share of normal recordings called abnormal, between 0 and 1.
    """
    scores = np.sort(calibration_scores[~np.isnan(calibration_scores)])
    count = len(scores)
    # the rate as it is written: in binary 100 * (1 - 0.43) is a little more than 57, and its ceiling 58
    rank = math.ceil((count + 1) * (1 - Fraction(str(rate))))
    if rank > count:
        return None, f"{count} calibration recordings support no rate below {1 / (count + 1):.2g}; asked for {rate:g}"
    return float(scores[rank - 1]), None


def p_values(scores: NDArray[np.float64], calibration_scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Conformal p-values, (1 + number of calibration scores >= score) / (n + 1): float64, shaped like `scores`.

    Small = abnormal. NaN calibration scores are dropped; a NaN score has a NaN p-value, and so has any without
    calibration.
    """
    reference = np.sort(calibration_scores[~np.isnan(calibration_scores)])
    at_least = len(reference) - np.searchsorted(reference, scores, side="left")
    return np.where(np.isnan(scores) | (len(reference) == 0), np.nan, (1 + at_least) / (len(reference) + 1))
