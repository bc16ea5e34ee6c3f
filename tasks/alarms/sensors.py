"""Whether a night's recordings say something of the machine, or only of the microphone."""

from __future__ import annotations

import math

MOST = 0.5
"""Share of rejected recordings above which the sensor is unhealthy."""


def unhealthy(
    n_recordings: int, n_rejected: int, n_repeated: int, rms_dbfs: float, usual_rms_dbfs: float, limit_db: float
) -> str | None:
    """Return why a night's sensor is unhealthy, None when it is not.

    Dead, silent, clipped, repeated and cut recordings are rejected one by one, so that a broken sensor is one most of
    whose recordings are; a microphone that was moved, covered or set to another gain shows in its level. A fault seldom
    makes a machine four times as loud (12 dB) in one night, and what it sounds like can then not be told from the new
    level.

    Args:
        n_recordings: of the night.
        n_rejected: of them rejected.
        n_repeated: of these for having the samples of another: the recorder plays the same again and again.
        rms_dbfs: median level of the night; NaN if unknown.
        usual_rms_dbfs: median level of the recordings that trained the model; NaN if unknown.
        limit_db: largest distance between the two.
    """
    if n_rejected > MOST * n_recordings:
        stuck = f", {n_repeated} as repeated: the recorder is stuck, or copies were sent" if n_repeated else ""
        return f"{n_rejected} of {n_recordings} recordings rejected{stuck}"
    jump_db = rms_dbfs - usual_rms_dbfs
    if math.isfinite(jump_db) and abs(jump_db) > limit_db:
        return f"level {jump_db:+.1f} dB from that of the training recordings"
    return None
