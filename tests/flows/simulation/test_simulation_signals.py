from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from humwatch.flows.simulation.signals import (
    TABLE_SIZE,
    add_pulses,
    band_gain,
    fft_length,
    filtered,
    log2_frequencies,
    oscillate,
    random_phase_noise,
    rms,
    unit_noise_magnitudes,
)

RATE_HZ = 16_000


def test_an_oscillator_with_a_sine_table_is_a_sine() -> None:
    table = np.sin(2 * np.pi * np.arange(TABLE_SIZE) / TABLE_SIZE).astype(np.float32)
    samples = oscillate(table, 64_000, 440.25 / RATE_HZ, 0.25)
    expected = np.sin(2 * np.pi * (440.25 * np.arange(64_000) / RATE_HZ + 0.25))
    assert samples.dtype == np.float32
    assert np.abs(samples - expected).max() < 2 * np.pi / TABLE_SIZE + 1e-3  # one step of the table


@pytest.mark.parametrize("n_samples", [16_000, 15_999, 40_001])
def test_noise_has_rms_1_and_the_slope_asked_for(n_samples: int) -> None:
    magnitudes = unit_noise_magnitudes(-6 * log2_frequencies(n_samples, RATE_HZ), n_samples)
    noise = random_phase_noise(magnitudes, n_samples, np.random.default_rng(0))
    assert noise.shape == (n_samples,)
    assert rms(noise) == pytest.approx(1, rel=0.05)  # a little is cut off where the FFT is longer
    frequencies_hz, power = signal.welch(noise.astype(np.float64), RATE_HZ, nperseg=512)
    use = (frequencies_hz > 200) & (frequencies_hz < 6000)
    slope, _ = np.polyfit(np.log2(frequencies_hz[use]), 10 * np.log10(power[use]), 1)
    assert slope == pytest.approx(-6, abs=0.3)


def test_noise_is_gaussian() -> None:
    magnitudes = unit_noise_magnitudes(np.zeros(fft_length(64_000) // 2 + 1, np.float32), 64_000)
    noise = random_phase_noise(magnitudes, 64_000, np.random.default_rng(1)).astype(np.float64)
    assert np.mean(noise**4) == pytest.approx(3, abs=0.1)
    assert abs(np.mean(noise**3)) < 0.05


def test_pulses_are_cut_off_at_both_ends() -> None:
    samples = np.zeros(5, np.float32)
    add_pulses(samples, np.array([-1, 1, 4, 9]), np.array([1, 2, 4], np.float32))
    np.testing.assert_array_equal(samples, [2, 5, 2, 4, 1])


def test_a_band_passes_its_middle_and_stops_the_rest() -> None:
    time_s = np.arange(RATE_HZ) / RATE_HZ
    inside = np.sin(2 * np.pi * 1000 * time_s).astype(np.float32)
    outside = np.sin(2 * np.pi * 2500 * time_s).astype(np.float32)
    passed = filtered(inside + outside, band_gain(RATE_HZ, RATE_HZ, 800, 1200))
    np.testing.assert_allclose(passed, inside, atol=1e-4)
