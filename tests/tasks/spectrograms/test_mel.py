"""The mel scale and its filters are librosa's, to the bit."""

import librosa
import numpy as np
import pytest

from tasks.spectrograms.mel import hz_to_mel, mel_filters


@pytest.mark.parametrize("frequency_hz", [0.0, 60.0, 999.9, 1000.0, 1000.1, 8000.0, 48_000.0])
def test_scale(frequency_hz):
    assert hz_to_mel(frequency_hz) == librosa.hz_to_mel(frequency_hz)


@pytest.mark.parametrize(
    ("sample_rate_hz", "n_fft", "n_mels", "fmin_hz", "fmax_hz"),
    [
        (16_000, 1024, 64, 0.0, 8000.0),
        (16_000, 1024, 128, 0.0, 8000.0),
        (44_100, 2048, 40, 500.0, 20_000.0),
        (22_050, 511, 32, 0.0, 900.0),
        (96_000, 4096, 96, 2000.0, 48_000.0),
    ],
)
def test_filters(sample_rate_hz, n_fft, n_mels, fmin_hz, fmax_hz):
    filters = mel_filters(sample_rate_hz, n_fft, n_mels, fmin_hz, fmax_hz)
    expected = librosa.filters.mel(sr=sample_rate_hz, n_fft=n_fft, n_mels=n_mels, fmin=fmin_hz, fmax=fmax_hz)
    assert filters.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(filters, expected)
