"""What is measured on a decoded recording; the verdict on it is `humwatch.tasks.plan.verdicts`."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from humwatch.tasks.plan.verdicts import FLOOR_DBFS
from humwatch.tasks.settings import HealthSettings
from humwatch.tasks.sound.decode import Audio

_FRAME_S = 0.05
# Largest positive sample of the coarsest common converter: 16 bits are often kept in 24, 32 or float.
_FULL_SCALE_16_BIT = 1 - 2.0**-15
_FULL_SCALE_8_BIT = 1 - 2.0**-7


@dataclass(frozen=True)
class Health:
    """Facts of the channel used, before resampling; levels and fractions over its finite samples.

    Attributes:
        sample_rate_hz: of the file.
        channels: in the file.
        duration_s: all samples / rate.
        rms_dbfs: total RMS, DC included; 0 dBFS = a full-scale square wave; at least `FLOOR_DBFS`.
        peak_dbfs: largest magnitude; same scale and floor.
        clipped_fraction: share of samples at full scale (16-bit full scale or above; for 8-bit files, theirs), 0-1.
        silent_fraction: share of 50 ms frames quieter than `silent_rms_dbfs` (the last may be shorter), 0-1.
        dc_offset: mean, full scale = 1.
        nonfinite_fraction: share of NaN and infinite samples, 0-1. With no finite sample the rest is that of silence.
        dead_channel: the samples never change, digital silence included.
        sound_hash: the same for the same samples at the same rate, whatever the file they are in.
    """

    sample_rate_hz: int
    channels: int
    duration_s: float
    rms_dbfs: float
    peak_dbfs: float
    clipped_fraction: float
    silent_fraction: float
    dc_offset: float
    nonfinite_fraction: float
    dead_channel: bool
    sound_hash: str


def measure(audio: Audio, signal: npt.NDArray[np.float32], settings: HealthSettings) -> Health:
    """Measure `signal`, float32 (frame,), at least one sample: the channel used of `audio`, at the file's own rate."""
    finite = np.isfinite(signal)
    n_finite = int(np.count_nonzero(finite))
    whole = signal if n_finite == len(signal) else signal[finite]
    used = whole.astype(np.float64) if n_finite else np.zeros(1)
    lowest, highest = used.min(), used.max()
    peak = max(-lowest, highest)
    power = np.square(used)
    starts = np.arange(0, len(used), max(1, round(_FRAME_S * audio.sample_rate_hz)))
    frame_power = np.add.reduceat(power, starts) / np.diff(starts, append=len(used))
    full_scale = _FULL_SCALE_8_BIT if audio.subtype in ("PCM_U8", "PCM_S8") else _FULL_SCALE_16_BIT
    return Health(
        sample_rate_hz=audio.sample_rate_hz,
        channels=audio.stored.shape[1],
        duration_s=len(signal) / audio.sample_rate_hz,
        rms_dbfs=float(_dbfs(power.mean())),
        peak_dbfs=float(_dbfs(peak**2)),
        clipped_fraction=float(np.mean(np.abs(used) >= full_scale)) if peak >= full_scale else 0.0,
        silent_fraction=float(np.mean(_dbfs(frame_power) < settings.silent_rms_dbfs)),
        dc_offset=float(used.mean()),
        nonfinite_fraction=1 - n_finite / len(signal),
        dead_channel=bool(lowest == highest),
        sound_hash=blake2b(signal.tobytes(), digest_size=8, salt=str(audio.sample_rate_hz).encode()).hexdigest(),
    )


def _dbfs(power: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return 10 * np.log10(np.maximum(power, 10 ** (FLOOR_DBFS / 10)))
