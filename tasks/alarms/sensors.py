"""Whether a night's recordings say something of the machine, or only of the microphone and of the way from it.

What is usual for a machine's sensor is what its model was trained on: a machine that stands still at times, behind a
microphone that fades to digital silence, is nothing new if it did so then. `docs/alarms.md` has the reasons for the
figures below.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from humwatch.storage.reasons import Reason
from humwatch.tasks.plan.verdicts import ac_levels_dbfs

SENSOR = ["rms_dbfs", "ac_rms_dbfs", "dc_offset", "channels_heard", "silent_fraction", "constant_fraction"]
"""What is compared with the training recordings: columns of `humwatch.storage.tables.HEALTH`."""

MOST = 0.5
"""Share of unfit recordings above which the sensor is unhealthy."""

LEAST_DROPOUT = 0.01
"""Share of a recording that is lost before it counts as one with dropouts."""

MORE_DROPOUT = 1.5
"""How many times the share lost in any training recording that must be, too."""

OFFSET_JUMP = 0.25
"""How far a DC offset may leave the range of the training recordings, in AC levels of theirs (amplitudes)."""

FEW = 0.5
"""Share of the usual number of recordings below which a night says how few it rests on."""

TOO_FEW = 0.1
"""Share of it below which it is not judged."""


def sensor_fault(
    night: pd.DataFrame, training: pd.DataFrame, dropouts: npt.NDArray[np.bool_], level_jump_db: float
) -> str | None:
    """Return in words why a night's sensor is unhealthy, None when it is not.

    Dead, silent, clipped, repeated and cut recordings are rejected one by one, and those with dropouts are not scored
    either, so that a broken sensor is one most of whose recordings are. A microphone that was moved, covered or set to
    another gain shows in its level, a dead one in its level without the DC offset: a fault seldom makes a machine four
    times as loud (12 dB) in one night, and what it sounds like can then not be told from the new level.

    Args:
        night: a machine's recordings of the night: columns status, reason and `SENSOR`.
        training: those that trained its model, columns `SENSOR`; none without a model. Where nothing is known of them,
            nothing is unusual.
        dropouts: of the night, as `with_dropouts` tells them.
        level_jump_db: largest distance between the level of the night and theirs.
    """
    rejected = night["status"].eq("rejected").to_numpy()
    if rejected.sum() + dropouts.sum() > MOST * len(night):
        return "; ".join(filter(None, [_rejected(night["reason"][rejected], len(night)), told_dropouts(dropouts)]))
    jump_db = _median(night["rms_dbfs"]) - _median(training["rms_dbfs"])
    if abs(jump_db) > level_jump_db:
        return f"level {jump_db:+.1f} dB from that of the training recordings"
    usual_dbfs = _median(ac_levels_dbfs(training))
    jump_db = _median(ac_levels_dbfs(night)) - usual_dbfs
    if abs(jump_db) > level_jump_db:
        return f"level without the DC offset {jump_db:+.1f} dB from that of the training recordings"
    offset, usual = _median(night["dc_offset"]), training["dc_offset"]
    if max(usual.min() - offset, offset - usual.max()) > OFFSET_JUMP * 10 ** (usual_dbfs / 20):
        return f"DC offset {offset:+.2g} of full scale; {_median(usual):+.2g} in the training recordings"
    return None


def with_dropouts(night: pd.DataFrame, training: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether more of each accepted recording is lost than ever was in training: bool (recording,).

    Lost is what is silent or never changes; see `humwatch.tasks.spectrograms.health.Health`.
    """
    usual = _lost(training)
    most = np.nanmax(usual) if np.isfinite(usual).any() else np.nan
    unusual = (
        _lost(night) > max(LEAST_DROPOUT, MORE_DROPOUT * most) if np.isfinite(most) else np.zeros(len(night), bool)
    )
    return np.asarray(unusual & night["status"].eq("accepted").to_numpy())


def told_dropouts(dropouts: npt.NDArray[np.bool_]) -> str | None:
    """Return in words how many recordings of a night have dropouts, None when none has."""
    if not dropouts.any():
        return None
    return f"{dropouts.sum()} of {len(dropouts)} recordings with dropouts: pieces that are silent or never change"


def told_few(n_judged: int, training_nights: npt.NDArray[np.integer[Any]]) -> str | None:
    """Return in words that a night is judged by far fewer recordings than usual, None when it is not.

    Args:
        n_judged: recordings that it is judged by.
        training_nights: how many each night had that trained the model: integers (night,).
    """
    usual = _median(training_nights)
    return f"judged by {n_judged} of usually {usual:g} recordings" if n_judged < FEW * usual else None


def too_few(n_judged: int, training_nights: npt.NDArray[np.integer[Any]]) -> str | None:
    """Return in words that a night has too few recordings to be judged: fewer than any that trained the model, too.

    Args:
        n_judged: recordings that it could be judged by.
        training_nights: how many each night had that trained the model: integers (night,).
    """
    usual = _median(training_nights)
    if n_judged < TOO_FEW * usual and n_judged < training_nights.min():
        return f"{n_judged} of usually {usual:g} recordings: too few to be judged"
    return None


def _rejected(reasons: pd.Series[str], n_recordings: int) -> str | None:
    if reasons.empty:
        return None
    counts = reasons.value_counts()
    told = ", ".join(
        f"{count} {reason}" for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )
    stuck = ": the recorder is stuck, or copies were sent" if Reason.REPEATED in counts else ""
    return f"{len(reasons)} of {n_recordings} recordings rejected ({told}){stuck}"


def _lost(recordings: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return the share of each recording that is lost; tables of earlier versions know only what is silent."""
    silent, constant = (
        recordings[name].to_numpy(np.float64, na_value=np.nan) for name in ("silent_fraction", "constant_fraction")
    )
    return np.asarray(np.fmax(silent, constant))


def _median(values: npt.ArrayLike) -> float:
    """Return the median of what is finite, NaN without any."""
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    return float(np.median(finite)) if len(finite) else math.nan
