"""Thresholds with a stated false-alarm rate, from the scores of held-out normal recordings.

A normal recording drawn like n calibration recordings is as likely to take any of the n + 1 ranks among them. So its
conformal p-value is at most r with probability at most r, and it exceeds the threshold for r no more often (Vovk,
Gammerman & Shafer, *Algorithmic Learning in a Random World*, 2005; for anomalies: Laxhammar & Falkman, "Inductive
conformal anomaly detection for sequential detection of anomalous sub-trajectories", 2015). The rate holds on average
over calibration sets, not for each of them.

What it rests on, and where it can fail: the recordings must be exchangeable, which recordings of one night are more
than those of different ones (hence folds by batch, so that a held-out night is scored by a model that never heard it).
A calibration recording is scored by the fit without its fold, a new one by the median over the fits without a fold each
(`machine_model`): cross-conformal prediction (Vovk, "Cross-conformal predictors", Annals of Mathematics and Artificial
Intelligence 74, 2015) with a median of scores in place of ranks fold by fold. Of those p is at most r with probability
at most 2 r + sqrt(2 / n) whatever the detector (Barber, Candès, Ramdas & Tibshirani, "Predictive inference with the
jackknife+", Annals of Statistics 49(1), 2021, on CV+), and about r where fits differ little. A median varies less than
one fit, so in practice small p-values are rarer than stated (`benchmarks/calibration.py`).

A machine heard much in one domain and little in another has few scores of the second among many of the first: a rate
that holds over all may be missed there by far. So each domain's recordings are ranked among their own, too, and the
most cautious answer counts (Mondrian conformal prediction: Vovk, Gammerman & Shafer again).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MIN_DOMAIN = 5
"""Calibration recordings that a domain must have to be heeded: fewer would decide for a whole machine."""


def make_folds(
    batches: Sequence[str | None], n_folds: int, seed: int, clips: Sequence[tuple[str, float]] | None = None
) -> NDArray[np.int64]:
    """The fold of each recording, int64 (recording,).

    Whole batches where there are at least `n_folds` different ones (recordings without a batch count as one), single
    recordings at random otherwise; fewer folds where there are fewer recordings, all 0 for a single one. Clips of one
    file are as alike as recordings of one night and more: they are in one fold, so there are fewer folds where there
    are fewer files; of a single file each fold is a piece without gaps.

    Args:
        batches: The batch of each training recording.
        n_folds: Folds wanted; with one nothing is held out, so nothing calibrates a threshold.
        seed: 0 to 2**32 - 1.
        clips: The file of each, and where in it it begins; None: each has a file of its own.
    """
    from sklearn.model_selection import GroupKFold, KFold  # noqa: PLC0415 - too slow for a look

    folds = np.zeros(len(batches), dtype=np.int64)
    if min(len(batches), n_folds) < 2:
        return folds
    names = [batch or "" for batch in batches]
    by_batch = len(set(names)) >= n_folds
    files = [file for file, _ in clips] if clips is not None else list(range(len(batches)))
    n_files = len(set(files))
    if clips is not None and n_files == 1 and not by_batch:
        in_order = sorted(range(len(clips)), key=lambda at: clips[at])
        folds[in_order] = np.arange(len(clips)) * min(n_folds, len(clips)) // len(clips)
        return folds
    groups = names if by_batch else files if n_files < len(batches) else None
    splitter = (KFold if groups is None else GroupKFold)(
        min(n_folds, len(batches) if by_batch else n_files), shuffle=True, random_state=seed
    )
    for fold, (_, held_out) in enumerate(splitter.split(folds, groups=groups)):
        folds[held_out] = fold
    return folds


def threshold(
    calibration_scores: Floats, rate: float, domains: Sequence[str | None] | None = None
) -> tuple[float | None, str | None]:
    """The score above which a recording is called abnormal, or None and the reason why there is none.

    It is the ceil((n + 1)(1 - rate))-th smallest of the n calibration scores (NaN dropped); `score > threshold` says
    the same as `p_value <= rate`, ties included. With several domains it is the largest of that of all recordings and
    those of each domain's own, if that has MIN_DOMAIN, so that the rate holds in each: where there are too few for the
    rate, the highest score of the domain counts (`domain_notes`).

    Args:
        calibration_scores: float64 (recording,), out-of-fold, of normal recordings.
        rate: Largest share of normal recordings called abnormal, between 0 and 1.
        domains: The domain of each; without, or with one, there is nothing to tell apart.
    """
    scores = np.sort(calibration_scores[~np.isnan(calibration_scores)])
    count, rank = len(scores), _rank(len(scores), rate)
    if count == 0:
        return None, "no training recording was held out to make a threshold of"
    if rank > count:
        return None, f"{count} calibration recordings support no rate below {1 / (count + 1):.2g}; asked for {rate:g}"
    domain_sets = _of_domains(calibration_scores, domains).values()
    limits = [scores[rank - 1], *(own[min(_rank(len(own), rate), len(own)) - 1] for own in domain_sets)]
    return float(max(limits)), None


def fewest_for(rate: float) -> int:
    """The calibration recordings that a threshold at this rate takes: with fewer it has none (99 for 0.01)."""
    exact = Fraction(str(rate))
    return math.ceil((1 - exact) / exact)


def domain_notes(calibration_scores: Floats, rate: float, domains: Sequence[str | None]) -> list[str]:
    """What a threshold at this rate does not promise in some domain, in plain words."""
    notes = []
    for domain, own in _of_domains(calibration_scores, domains, fewest=0).items():
        name = f"domain {domain}" if domain else "recordings without a domain"
        if len(own) < MIN_DOMAIN:
            notes.append(f"{name}: {len(own)} calibration recordings, too few for the threshold to be made for them")
        elif _rank(len(own), rate) > len(own):
            supported = f"support no rate below {1 / (len(own) + 1):.2g}; its highest score counts"
            notes.append(f"{name}: {len(own)} calibration recordings {supported}")
    return notes


def p_values(scores: Floats, calibration_scores: Floats, domains: Sequence[str | None] | None = None) -> Floats:
    """Conformal p-values, (1 + number of calibration scores >= score) / (n + 1): float64, shaped like `scores`.

    Small = abnormal. NaN calibration scores are dropped; a NaN score has a NaN p-value, and so has any without
    calibration. With several domains it is the largest of that among all recordings and those among each domain's own,
    if that has MIN_DOMAIN; a domain whose scores are all lower has no say, so for its own recordings p promises nothing
    below 1 / (n + 1).
    """
    reference = np.sort(calibration_scores[~np.isnan(calibration_scores)])
    p = (1 + _at_least(reference, scores)) / (len(reference) + 1)
    for own in _of_domains(calibration_scores, domains).values():
        at_least = _at_least(own, scores)
        p = np.maximum(p, np.where(at_least > 0, (1 + at_least) / (len(own) + 1), 0.0))
    return np.where(np.isnan(scores) | (len(reference) == 0), np.nan, p)


def _rank(count: int, rate: float) -> int:
    # the rate as it is written: in binary 100 * (1 - 0.43) is a little more than 57, and its ceiling 58
    return math.ceil((count + 1) * (1 - Fraction(str(rate))))


def _at_least(reference: Floats, scores: Floats) -> NDArray[np.int64]:
    """How many of a sorted reference are at least as large."""
    return len(reference) - np.searchsorted(reference, scores, side="left")


def _of_domains(
    calibration_scores: Floats, domains: Sequence[str | None] | None, fewest: int = MIN_DOMAIN
) -> dict[str, Floats]:
    """The sorted scores of each domain with so many; none where there are no two. No name is a domain of its own."""
    names = np.array([each or "" for each in domains or ()], dtype=object)
    if len(set(names)) < 2:
        return {}
    finite = ~np.isnan(calibration_scores)
    by_domain = {name: np.sort(calibration_scores[finite & (names == name)]) for name in sorted(set(names))}
    return {name: own for name, own in by_domain.items() if len(own) >= fewest}
