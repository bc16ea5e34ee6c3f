"""The gate between a new model and the fleet: it must keep its stated false-alarm rate on later, unseen nights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from humwatch.tasks.detectors.calibration import fewest_for


@dataclass(frozen=True)
class GateResult:
    """What the gate saw and decided.

    Attributes:
        accepted: whether the candidate may become current.
        reason: in words, also when it is accepted.
        recordings: how many recordings the gate saw.
        false_alarms: how many of them the candidate called abnormal.
        low, high: Clopper-Pearson interval of its false-alarm rate, 0 to 1; the whole range without recordings.
        stated: the false-alarm rate its threshold was made for.
    """

    accepted: bool
    reason: str
    recordings: int
    false_alarms: int
    low: float
    high: float
    stated: float


def judge_candidate(
    scores: NDArray[np.float64],
    threshold: float | None,
    stated: float,
    min_recordings: int,
    confidence: float,
    why_no_threshold: str | None = None,
) -> GateResult:
    """Judge a candidate by its scores of recordings taken for normal, later than and disjoint from its training.

    It is refused when a score is missing, when it has no threshold, when the recordings are too few to say anything,
    and when the interval of its false-alarm rate (Clopper and Pearson, Biometrika 1934) lies above the stated rate.

    Args:
        scores: float64 (recording,), higher = more abnormal.
        threshold: the candidate's; None when its calibration supports none.
        stated: false-alarm rate of the threshold.
        min_recordings: fewer are no evidence.
        confidence: level of the interval.
        why_no_threshold: what the candidate's calibration says of it, in words.
    """
    from scipy.stats import binomtest  # noqa: PLC0415 - too slow for a look

    count, missing = len(scores), int((~np.isfinite(scores)).sum())
    alarms = 0 if threshold is None else int((scores > threshold).sum())
    low, high = (0.0, 1.0)
    if count:
        interval = binomtest(alarms, count).proportion_ci(confidence, method="exact")
        low, high = float(interval.low), float(interval.high)
    rate = f"{alarms} false alarms in {count} recordings, interval {low:.3f}-{high:.3f}, stated {stated:g}"
    if missing:
        reason = f"{missing} of {count} gate recordings have no score"
    elif threshold is None:
        reason = (
            f"its calibration supports no threshold at the stated rate: {why_no_threshold or 'nothing was held out'}; "
            f"the rate {stated:g} takes {fewest_for(stated)} training recordings or more (retrain.training_nights), a "
            "larger rate fewer (fit.false_alarm_rate)"
        )
    elif count < min_recordings:
        reason = f"the gate saw {count} recordings and needs {min_recordings}"
    elif low > stated:
        reason = f"too many false alarms: {rate}"
    else:
        return GateResult(True, rate, count, alarms, low, high, stated)
    return GateResult(False, reason, count, alarms, low, high, stated)
