"""Windows: the overlapping patches of a spectrogram that become images; strips: several of them side by side."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from humwatch.tasks.settings import ImageSettings


def cut(spectrogram: np.ndarray, n_frames: int, settings: ImageSettings) -> np.ndarray:
    """Cut the first `n_frames` frames of a spectrogram (n_mels, frames) into windows.

    Returns:
        A read-only view (window, n_mels, window_frames); window `i` starts at frame `i * window_hop_frames`.

    Raises:
        ValueError: the spectrogram has fewer than `n_frames` frames.
    """
    n_mels, frames = spectrogram.shape
    if n_frames > frames:
        raise ValueError(f"a spectrogram of {frames} frames cannot hold {n_frames}")
    if n_frames < settings.window_frames:
        return np.empty((0, n_mels, settings.window_frames), dtype=spectrogram.dtype)
    every = sliding_window_view(spectrogram[:, :n_frames], settings.window_frames, axis=1)
    return every[:, :: settings.window_hop_frames].transpose(1, 0, 2)


def strip_frames(windows: int, settings: ImageSettings) -> int:
    """Return the frames of a strip of so many windows."""
    return (windows - 1) * settings.window_hop_frames + settings.window_frames


def strips(n_frames: int, settings: ImageSettings, longest: int) -> list[range]:
    """Return the windows of a recording in runs of `longest`; the last may be shorter."""
    count = settings.n_windows(n_frames)
    return [range(first, min(first + longest, count)) for first in range(0, count, longest)]
