"""Signal -> log-mel spectrogram: librosa's values, sooner and in constant memory."""

from __future__ import annotations

import math
import threading

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array

from humwatch.tasks.settings import SpectrogramSettings
from humwatch.tasks.spectrograms.mel import mel_filters

_PIECE_FRAMES = 160  # frames transformed at once: they stay in the cache
_AMIN = 1e-10


class LogMel:
    """The log-mel spectrogram of `settings`; picklable, and safe to share between threads.

    Equal within 1e-4 dB to `librosa.feature.melspectrogram(power=2, center=True, pad_mode="constant")` (periodic Hann
    window, Slaney mel scale and norm) followed by `librosa.power_to_db(ref=..., amin=1e-10, top_db=...)`.
    """

    def __init__(self, settings: SpectrogramSettings) -> None:
        self._settings = settings
        self._buffers = _Buffers(settings.n_fft, settings.hop_samples)
        # Transforms run in float64 as in librosa: float32 is 1e-3 dB off in the quiet bands beside a tone.
        self._window = torch.hann_window(settings.n_fft, dtype=torch.float64)  # periodic
        # A mel band is a few bins wide: a dense product would be 97 % zeros.
        self._mel = csr_array(mel_filters(settings))

    def __reduce__(self) -> tuple[type[LogMel], tuple[SpectrogramSettings]]:
        return LogMel, (self._settings,)

    def n_frames(self, n_samples: int) -> int:
        """Frames of a signal of `n_samples`, centred on every hop from the first sample on."""
        n_fft = self._settings.n_fft
        return 1 + (n_samples + 2 * (n_fft // 2) - n_fft) // self._settings.hop_samples

    def __call__(self, signal: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Transform float32 (sample,) at `sample_rate_hz`, any length from 1, to dB, float32 (mel, frame).

        A non-finite sample makes the spectrogram NaN instead of an error.
        """
        log_mel = self._mel_power(signal)
        reference = log_mel.max() if self._settings.reference == "max" else np.float32(1)
        np.maximum(log_mel, _AMIN, out=log_mel)
        log_mel /= np.maximum(reference, np.float32(_AMIN))
        np.log(log_mel, out=log_mel)  # numpy's float32 log is vectorised, its log10 is not: five times as long
        log_mel *= 10 / math.log(10)
        np.maximum(log_mel, log_mel.max() - self._settings.top_db, out=log_mel)
        return log_mel

    def _mel_power(self, signal: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Power in each band, float32 (mel, frame), a piece of `_PIECE_FRAMES` at a time."""
        n_fft, hop = self._settings.n_fft, self._settings.hop_samples
        buffers = self._buffers
        n_frames = self.n_frames(len(signal))
        mel_power = np.empty((self._settings.n_mels, n_frames), np.float32)
        for start in range(0, n_frames, _PIECE_FRAMES):
            first = start * hop - n_fft // 2  # of the piece's samples; those outside the signal are zeros
            inside = signal[max(first, 0) : first + len(buffers.samples)]
            at = max(-first, 0)
            buffers.samples[:at] = 0
            buffers.samples[at : at + len(inside)] = inside
            buffers.samples[at + len(inside) :] = 0
            n = min(_PIECE_FRAMES, n_frames - start)
            windowed, spectra = buffers.windowed[:n], buffers.spectra[:n]
            torch.mul(buffers.frames[:n], self._window, out=windowed)  # half of numpy's time
            # numpy's transform rather than scipy's: it writes into a buffer.
            np.fft.rfft(windowed.numpy(), out=spectra)
            by_bin = buffers.by_bin[: spectra.size].reshape(spectra.T.shape)
            np.copyto(by_bin, spectra.T, casting="same_kind")
            parts = by_bin.view(np.float32)  # (bin, real and imaginary part of each frame)
            np.square(parts, out=parts)
            # Both parts go through the bands and are added after them: so few values are cheaper to add.
            in_bands = self._mel @ parts
            np.add(in_bands[:, ::2], in_bands[:, 1::2], out=mel_power[:, start : start + n])
        return mel_power


class _Buffers(threading.local):
    """Buffers of one piece, a set for each thread: fresh memory in every call costs as much as the transform."""

    def __init__(self, n_fft: int, hop_samples: int) -> None:
        n_bins = n_fft // 2 + 1
        samples = torch.empty((_PIECE_FRAMES - 1) * hop_samples + n_fft, dtype=torch.float64)
        self.samples = samples.numpy()
        self.frames = samples.unfold(0, n_fft, hop_samples)
        self.windowed = torch.empty((_PIECE_FRAMES, n_fft), dtype=torch.float64)
        self.spectra = np.empty((_PIECE_FRAMES, n_bins), np.complex128)
        self.by_bin = np.empty(n_bins * _PIECE_FRAMES, np.complex64)  # flat: a last piece is shorter
