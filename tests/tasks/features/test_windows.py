import numpy as np
import pytest

from humwatch.tasks.features.windows import cut
from humwatch.tasks.settings import ImageSettings

SETTINGS = ImageSettings(window_frames=64, window_hop_frames=32)


@pytest.mark.parametrize(
    ("n_frames", "expected"), [(0, 0), (1, 0), (63, 0), (64, 1), (95, 1), (96, 2), (313, 8), (626, 18)]
)
def test_only_windows_wholly_inside(n_frames, expected):
    assert SETTINGS.n_windows(n_frames) == expected
    spectrogram = np.zeros((3, 700), dtype=np.float32)
    assert cut(spectrogram, n_frames, SETTINGS).shape == (expected, 3, 64)


@pytest.mark.parametrize(("window", "hop"), [(64, 32), (5, 5), (4, 7), (2, 1)])
def test_a_window_is_the_frames_from_its_start(window, hop):
    settings = ImageSettings(window_frames=window, window_hop_frames=hop)
    spectrogram = np.random.default_rng(0).normal(size=(8, 150)).astype(np.float32)
    windows = cut(spectrogram, 131, settings)
    starts = [start for start in range(0, 131, hop) if start + window <= 131]
    assert len(windows) == len(starts) == settings.n_windows(131)
    for found, start in zip(windows, starts, strict=True):
        np.testing.assert_array_equal(found, spectrogram[:, start : start + window])


def test_frames_after_the_recording_are_never_seen():
    spectrogram = np.full((4, 200), np.nan, dtype=np.float32)
    spectrogram[:, :130] = 1
    assert np.isfinite(cut(spectrogram, 130, SETTINGS)).all()


def test_cutting_copies_nothing():
    spectrogram = np.zeros((4, 200), dtype=np.float32)
    assert np.shares_memory(cut(spectrogram, 200, SETTINGS), spectrogram)


def test_more_frames_than_there_are():
    with pytest.raises(ValueError, match="200 frames cannot hold 201"):
        cut(np.zeros((4, 200), dtype=np.float32), 201, SETTINGS)
