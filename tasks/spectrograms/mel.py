"""The mel scale and its filters: librosa's, to the bit, without the two seconds that importing librosa takes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Slaney's Auditory Toolbox (1998): linear to 1 kHz, logarithmic from there on.
_HZ_PER_MEL = 200 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27


def hz_to_mel(frequency_hz: float) -> float:
    """Return the mel of a frequency, `librosa.hz_to_mel(frequency_hz, htk=False)`."""
    if frequency_hz < _BREAK_HZ:
        return frequency_hz / _HZ_PER_MEL
    return float(_BREAK_MEL + np.log(frequency_hz / _BREAK_HZ) / _LOG_STEP)


def mel_filters(
    sample_rate_hz: int, n_fft: int, n_mels: int, fmin_hz: float, fmax_hz: float
) -> npt.NDArray[np.float32]:
    """Return the triangles that sum power by bin to power by band, float32 (mel, 1 + n_fft // 2).

    Equal to `librosa.filters.mel(norm="slaney", htk=False)`: each triangle has area 1, so a band's power is a mean.
    """
    mels = np.linspace(hz_to_mel(fmin_hz), hz_to_mel(fmax_hz), n_mels + 2)
    edges_hz = np.where(mels < _BREAK_MEL, _HZ_PER_MEL * mels, _BREAK_HZ * np.exp(_LOG_STEP * (mels - _BREAK_MEL)))
    distances_hz = np.subtract.outer(edges_hz, np.fft.rfftfreq(n_fft, 1 / sample_rate_hz))
    widths_hz = np.diff(edges_hz)[:, None]
    rising = -distances_hz[:-2] / widths_hz[:-1]
    falling = distances_hz[2:] / widths_hz[1:]
    filters: npt.NDArray[np.float32] = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    filters *= (2 / (edges_hz[2:] - edges_hz[:-2]))[:, None]
    return filters
