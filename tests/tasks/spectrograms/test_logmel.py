"""The log-mel spectrogram equals librosa's and finds tones where they are."""

import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import librosa
import numpy as np
import pytest
import scipy.signal

from humwatch.tasks.settings import SpectrogramSettings
from humwatch.tasks.spectrograms.logmel import LogMel

RATE_HZ = 16_000
N = 3 * RATE_HZ
TIME_S = np.arange(N) / RATE_HZ
NOISE = np.random.default_rng(0).standard_normal(N)
SIGNALS = {
    "noise": 0.1 * NOISE,
    "tone": 0.5 * np.sin(2 * np.pi * 1000 * TIME_S),
    "loud and quiet tone": 0.5 * np.sin(2 * np.pi * 440 * TIME_S) + 1e-4 * np.sin(2 * np.pi * 5000 * TIME_S),
    "sweep": 0.5 * scipy.signal.chirp(TIME_S, 50, 3, 7900),
    "impulse": np.eye(1, N, N // 2)[0],
    "silence": np.zeros(N),
    "constant": np.full(N, 0.5),
    "one sample": np.ones(1),
    "shorter than a window": 0.1 * NOISE[:700],
    "one window": 0.1 * NOISE[:1024],
    "odd length": 0.1 * NOISE[:10_007],
    "one frame more than a piece": 0.1 * np.tile(NOISE, 2)[: 160 * 512],
}


def librosa_logmel(signal, settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # librosa warns that a signal is shorter than the window
        power = librosa.feature.melspectrogram(
            y=signal,
            sr=settings.sample_rate_hz,
            n_fft=settings.n_fft,
            hop_length=settings.hop_samples,
            n_mels=settings.n_mels,
            fmin=settings.fmin_hz,
            fmax=settings.fmax_hz,
            pad_mode="constant",
        )
    reference = np.max if settings.reference == "max" else 1.0
    return librosa.power_to_db(power, ref=reference, amin=1e-10, top_db=settings.top_db)


def check(signal, settings):
    signal = np.asarray(signal, np.float32)
    logmel = LogMel(settings)(signal)
    expected = librosa_logmel(signal, settings)
    assert logmel.dtype == np.float32
    assert logmel.shape == expected.shape == (settings.n_mels, LogMel(settings).n_frames(len(signal)))
    np.testing.assert_allclose(logmel, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("n_mels", [64, 128])
@pytest.mark.parametrize("hop_samples", [256, 512])
@pytest.mark.parametrize("name", SIGNALS)
def test_equals_librosa(name, hop_samples, n_mels):
    check(SIGNALS[name], SpectrogramSettings(hop_samples=hop_samples, n_mels=n_mels))


@pytest.mark.parametrize(
    "changes",
    [
        {"reference": "full_scale"},
        {"reference": "full_scale", "top_db": 200.0},
        {"top_db": 20.0},
        {"fmin_hz": 300.0, "fmax_hz": 4000.0},
        {"n_fft": 2048, "hop_samples": 300},
        {"n_fft": 513, "hop_samples": 100},
        {"n_fft": 256, "hop_samples": 400, "n_mels": 20},
        {"sample_rate_hz": 44_100, "n_mels": 40},
    ],
)
@pytest.mark.parametrize("name", ["noise", "sweep", "silence", "one sample"])
def test_equals_librosa_under_other_settings(name, changes):
    check(SIGNALS[name], SpectrogramSettings(**changes))


@pytest.mark.parametrize("frequency_hz", [500, 2000, 6000])
def test_a_tone_is_brightest_in_its_band(frequency_hz):
    settings = SpectrogramSettings()
    logmel = LogMel(settings)(np.sin(2 * np.pi * frequency_hz * TIME_S).astype(np.float32))
    edges_hz = librosa.mel_frequencies(settings.n_mels + 2, fmin=0, fmax=RATE_HZ / 2)
    band = int(logmel[:, 10:-10].mean(axis=1).argmax())
    assert edges_hz[band] < frequency_hz < edges_hz[band + 2]
    assert logmel.max() == 0
    assert logmel.min() == -80


def test_full_scale_reference_keeps_the_level():
    logmel = LogMel(SpectrogramSettings(reference="full_scale"))
    loud, quiet = (logmel((gain * NOISE).astype(np.float32)) for gain in (0.1, 0.01))
    np.testing.assert_allclose(loud - quiet, 20, atol=1e-3)


def test_ten_seconds_have_313_frames():
    assert LogMel(SpectrogramSettings()).n_frames(160_000) == 313
    assert LogMel(SpectrogramSettings(hop_samples=256)).n_frames(160_000) == 626


def test_same_bits_after_pickling_between_threads_and_whatever_follows():
    logmel = LogMel(SpectrogramSettings())
    signals = [(0.1 * NOISE[start:]).astype(np.float32) for start in range(0, 8000, 1000)]
    expected = [logmel(signal) for signal in signals]
    copy = pickle.loads(pickle.dumps(logmel))
    with ThreadPoolExecutor(4) as pool:
        for got, want in zip(pool.map(copy, signals), expected, strict=True):
            np.testing.assert_array_equal(got, want)


def test_the_signal_is_left_alone_and_nan_stays_nan():
    signal = NOISE.astype(np.float32)
    before = signal.copy()
    logmel = LogMel(SpectrogramSettings())
    expected = logmel(signal)
    np.testing.assert_array_equal(signal, before)
    signal[100] = np.nan
    assert np.isnan(logmel(signal)).all()
    np.testing.assert_array_equal(logmel(before), expected)
