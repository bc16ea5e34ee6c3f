"""Building blocks of synthetic sound: float32 arrays of shape (sample,), no state but the generator passed in."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import scipy.fft

Samples = npt.NDArray[np.float32]

TABLE_BITS = 12
TABLE_SIZE = 1 << TABLE_BITS
_PHASORS = np.exp(2j * np.pi * np.arange(256) / 256).astype(np.complex64)


def rms(samples: Samples) -> float:
    """Root mean square over all samples, summed in float64."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def fft_length(n_samples: int) -> int:
    """The next even length from `n_samples` up that the FFT is fast at."""
    return 2 * scipy.fft.next_fast_len(-(-n_samples // 2), real=True)


@lru_cache(maxsize=8)
def log2_frequencies(n_samples: int, sample_rate_hz: int) -> Samples:
    """log2(f / 1 kHz) of each FFT bin, shape (bin,); flat below 50 Hz, where a tilt would run away."""
    frequencies_hz = np.fft.rfftfreq(fft_length(n_samples), 1 / sample_rate_hz)
    octaves: Samples = np.log2(np.maximum(frequencies_hz, 50.0) / 1000.0).astype(np.float32)
    return octaves


def random_phase_noise(magnitudes: Samples, n_samples: int, rng: np.random.Generator) -> Samples:
    """Noise whose spectrum is `magnitudes` (bin,) with phases drawn from 256 directions.

    Cheaper than shaping white noise, and as Gaussian in any short frame: each sample is a sum of thousands of terms.
    """
    phases = np.frombuffer(rng.bytes(len(magnitudes)), dtype=np.uint8)
    spectrum = _PHASORS.take(phases)
    spectrum *= magnitudes
    noise: Samples = scipy.fft.irfft(spectrum, n=2 * (len(magnitudes) - 1), overwrite_x=True)
    return noise[:n_samples]


def unit_noise_magnitudes(gain_db: Samples, n_samples: int) -> Samples:
    """Magnitudes (bin,) for `random_phase_noise` of RMS 1 (Parseval) with the spectrum `gain_db` (bin,); no DC."""
    magnitudes = np.power(10.0, gain_db.astype(np.float64) / 20)
    magnitudes[[0, -1]] = 0.0
    magnitudes *= fft_length(n_samples) / np.sqrt(2 * np.sum(np.square(magnitudes)))
    result: Samples = magnitudes.astype(np.float32)
    return result


def oscillate(table: Samples, n_samples: int, step_cycles: float, start_cycles: float) -> Samples:
    """One period `table` (TABLE_SIZE,) read at `step_cycles` a sample, both in 0..1.

    The phase is a 32-bit integer that wraps round at one cycle, as in a digital oscillator: cheaper than floats.
    """
    phase = _indices(n_samples) * np.uint32(step_cycles * 2**32)
    phase += np.uint32(start_cycles * 2**32)
    phase >>= np.uint32(32 - TABLE_BITS)
    samples: Samples = table.take(phase)
    return samples


@lru_cache(maxsize=4)
def _indices(n_samples: int) -> npt.NDArray[np.uint32]:
    return np.arange(n_samples, dtype=np.uint32)


def add_pulses(samples: Samples, starts: npt.NDArray[np.int64], pulse: Samples) -> None:
    """Add `pulse` to `samples` (sample,), in place, from each start on; what lies outside is cut off."""
    for start in starts.tolist():
        first, last = max(start, 0), min(start + len(pulse), len(samples))
        if first < last:
            samples[first:last] += pulse[first - start : last - start]


def band_gain(n_samples: int, sample_rate_hz: int, low_hz: float, high_hz: float) -> Samples:
    """Gain (bin,): 1 inside the band, 0 outside, with cosine edges of a tenth of its width, inside it."""
    frequencies_hz = np.fft.rfftfreq(fft_length(n_samples), 1 / sample_rate_hz)
    edge_hz = 0.1 * (high_hz - low_hz)
    distance = np.minimum(frequencies_hz - low_hz, high_hz - frequencies_hz) / edge_hz
    gain: Samples = np.square(np.sin(np.pi / 2 * np.clip(distance, 0.0, 1.0))).astype(np.float32)
    return gain


def filtered(samples: Samples, gain: npt.NDArray[np.float32 | np.complex64]) -> Samples:
    """`samples` with `gain` (bin,) on its spectrum; what rings past the end comes back at the start."""
    length = fft_length(len(samples))
    result: Samples = scipy.fft.irfft(scipy.fft.rfft(samples, n=length) * gain, n=length)
    return result[: len(samples)]
