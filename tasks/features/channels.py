"""Recordings of which several channels are heard: taken apart before they are embedded, put together after."""

from __future__ import annotations

import numpy as np


def channels_apart(spectrograms: np.ndarray, n_frames: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """Return every channel as a recording of its own, so that no window spans two.

    Args:
        spectrograms: float32 (recording, mel, frame), the frames of one channel after those of the other.
        n_frames: integers (recording,), frames of one channel.
        channels: integers (recording,), at least 1.

    Returns:
        float32 (channel of a recording, mel, frame), NaN after a channel's own frames.
    """
    apart = np.full((channels.sum(), spectrograms.shape[1], n_frames.max(initial=0)), np.nan, dtype=np.float32)
    places = [(row, channel) for row, count in enumerate(channels) for channel in range(count)]
    for index, (row, channel) in enumerate(places):
        length = n_frames[row]
        apart[index, :, :length] = spectrograms[row, :, channel * length : (channel + 1) * length]
    return apart


def channels_together(features: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """Return the windows of a recording's channels one after the other.

    Args:
        features: float32 (channel of a recording, window, feature), NaN where a channel has no such window.
        channels: integers (recording,), at least 1.

    Returns:
        float32 (recording, window, feature), NaN where a recording has no such window.
    """
    of_recordings = np.split(features, np.cumsum(channels)[:-1])
    windows = [of_recording[~np.isnan(of_recording).all(axis=2)] for of_recording in of_recordings]
    together = np.full((len(windows), max(map(len, windows)), features.shape[2]), np.nan, dtype=np.float32)
    for row, own in enumerate(windows):
        together[row, : len(own)] = own
    return together
