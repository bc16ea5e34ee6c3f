"""librosa's mel scale and filters, imported where they are needed: it takes a second that few processes should pay."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from humwatch.tasks.settings import SpectrogramSettings


def mel_filters(settings: SpectrogramSettings) -> npt.NDArray[np.float32]:
    """Return `librosa.filters.mel` (Slaney scale and norm), float32 (mel, 1 + n_fft // 2)."""
    filters: npt.NDArray[np.float32] = _librosa().filters.mel(
        sr=settings.sample_rate_hz,
        n_fft=settings.n_fft,
        n_mels=settings.n_mels,
        fmin=settings.fmin_hz,
        fmax=settings.fmax_hz,
    )
    return filters


def hz_to_mel(frequency_hz: float) -> float:
    """Return `librosa.hz_to_mel` of a frequency (Slaney scale)."""
    return float(_librosa().hz_to_mel(frequency_hz))


def _librosa() -> ModuleType:
    """Import librosa. Its numba wants a folder to write to, and fails where neither package nor home offers one."""
    spec = importlib.util.find_spec("librosa")
    places = [Path(spec.origin).parent if spec and spec.origin else Path(), Path.home()]
    if "NUMBA_CACHE_DIR" not in os.environ and not any(os.access(place, os.W_OK) for place in places):
        os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(prefix="humwatch-numba-")
    import librosa  # noqa: PLC0415

    return librosa
