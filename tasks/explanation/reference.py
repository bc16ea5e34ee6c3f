"""What normal looks like, band by band: statistics and examples of the recordings a model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from humwatch.tasks.settings import ImageSettings, SpectrogramSettings

Decibels: TypeAlias = NDArray[np.float32]
"""A recording's log-mel spectrogram without padding: float32 (mel, frame) in dB."""

EXAMPLES = 2
# A band that never changes, such as one at the foot of the range, may be off by so little.
_LEAST_SPREAD_DB = 0.5


@dataclass(frozen=True)
class Reference:
    """Normal recordings of one machine, and what is usual in each band of them.

    Attributes:
        spectrum_db: float64 (mel,), mean level.
        mean_db: float64 (mel,), mean of the smoothed cells.
        spread_db: float64 (mel,), their standard deviation over time and recordings.
        examples: Some of the recordings.
        smooth_frames: Frames over which a cell is averaged.
        is_relative: Whether a recording's 0 dB is its own maximum. Then a fault in the loudest band pushes all others
            down, so a recording is first shifted by the median over bands of what it is off the mean level.
    """

    spectrum_db: NDArray[np.float64]
    mean_db: NDArray[np.float64]
    spread_db: NDArray[np.float64]
    examples: tuple[Decibels, ...]
    smooth_frames: int
    is_relative: bool

    @classmethod
    def of(cls, normal: Sequence[Decibels], images: ImageSettings, spectrogram: SpectrogramSettings) -> Reference:
        """The reference of normal recordings, of which the first `EXAMPLES` are kept; cells are a quarter window long.

        Raises:
            ValueError: There are none.
        """
        if not normal:
            raise ValueError("a reference needs a normal recording")
        smooth_frames, is_relative = max(images.window_frames // 4, 1), spectrogram.reference == "max"
        spectrum = np.mean([each.mean(axis=1, dtype=np.float64) for each in normal], axis=0)
        shifts = [_shift(each, spectrum) if is_relative else 0.0 for each in normal]
        pairs = zip(normal, shifts, strict=True)
        cells = np.concatenate([_smooth(each + shift, smooth_frames) for each, shift in pairs], axis=1)
        return cls(
            spectrum_db=spectrum,
            mean_db=cells.mean(axis=1),
            spread_db=np.maximum(cells.std(axis=1), _LEAST_SPREAD_DB),
            examples=tuple(normal[:EXAMPLES]),
            smooth_frames=smooth_frames,
            is_relative=is_relative,
        )

    def shift_db(self, logmel: Decibels) -> float:
        """What brings a recording to the level of the reference."""
        return _shift(logmel, self.spectrum_db) if self.is_relative else 0.0

    def departure(self, logmel: Decibels) -> NDArray[np.float64]:
        """How many spreads each smoothed cell is off its band's mean, louder or quieter: float64 (mel, frame)."""
        smooth = _smooth(logmel + self.shift_db(logmel), self.smooth_frames)
        departure: NDArray[np.float64] = np.abs(smooth - self.mean_db[:, None]) / self.spread_db[:, None]
        return departure


def _shift(logmel: Decibels, spectrum_db: NDArray[np.float64]) -> float:
    return float(np.median(spectrum_db - logmel.mean(axis=1, dtype=np.float64)))


def _smooth(logmel: NDArray[Any], frames: int) -> NDArray[np.float64]:
    smooth: NDArray[np.float64] = uniform_filter1d(logmel, frames, axis=1, output=np.float64, mode="nearest")
    return smooth
