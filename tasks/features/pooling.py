"""From the maps of a layer to feature vectors: statistics over the cells of frequency and time bins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from humwatch.tasks.features.windows import strip_frames
from humwatch.tasks.plan.representations import Representation
from humwatch.tasks.settings import ImageSettings


@dataclass(frozen=True)
class Moments:
    """Mean and population standard deviation of every bin of every window: (window, channel * F * T).

    `std` is None when the representation does not ask for it.
    """

    mean: np.ndarray
    std: np.ndarray | None


def pool(maps: torch.Tensor, representation: Representation) -> Moments:
    """Pool maps (window, channel, frequency, time) into F x T bins (`torch.nn.AdaptiveAvgPool2d`)."""
    return moments([pooled(maps, representation)])


def pooled(maps: torch.Tensor, representation: Representation, spans: torch.Tensor | None = None) -> list[torch.Tensor]:
    """Return the mean, and the standard deviation if asked for, of every bin of every window, where the maps are.

    Args:
        maps: float32 (strip, channel, frequency, time); a strip is one window, or several side by side.
        representation: F x T bins and statistics.
        spans: float32 (windows of a strip * T, time): the share of each column in each bin, as `window_spans` gives
            it. Unset: a strip is one window, cut into bins as `torch.nn.AdaptiveAvgPool2d` does.

    Returns:
        (window, channel * F * T), float32 or, where there is a standard deviation, float64.
    """
    bins = (representation.frequency_bins, representation.time_bins)

    def binned(values: torch.Tensor) -> torch.Tensor:
        if spans is None:
            return functional.adaptive_avg_pool2d(values, bins)
        rows = functional.adaptive_avg_pool2d(values, (bins[0], values.shape[-1]))
        strips, channels, _, _ = rows.shape
        windows = (rows @ spans.to(rows).T).view(strips, channels, bins[0], -1, bins[1])
        return windows.permute(0, 3, 1, 2, 4).flatten(0, 1)

    if "std" not in representation.statistics:
        return [binned(maps).flatten(1)]
    # Float64 and around each channel's mean: a variance as a difference of raw float32 moments would lose its digits.
    exact = maps.double()
    centre = exact.mean(dim=(-2, -1), keepdim=True)
    rest = exact - centre
    mean = binned(rest)
    variance = binned(rest.square()) - mean.square()
    centres = centre.repeat_interleave(len(mean) // len(centre), dim=0)
    return [(centres + mean).flatten(1), variance.clamp_(min=0).sqrt_().flatten(1)]


def moments(batches: Sequence[Sequence[torch.Tensor]]) -> Moments:
    """Join what `pooled` gave for one batch of windows after the other."""
    mean, *std = (np.concatenate([values.cpu().numpy() for values in each]) for each in zip(*batches, strict=True))
    return Moments(mean, std[0] if std else None)


def window_spans(windows: int, time_bins: int, columns: int, settings: ImageSettings) -> torch.Tensor:
    """Return the share of each column of a strip's map in each time bin of each window, (windows * bins, columns)."""
    frames = strip_frames(windows, settings)
    starts = settings.window_hop_frames * np.arange(windows)[:, None]
    edges = (starts + np.linspace(0, settings.window_frames, time_bins + 1)) * columns / frames
    column = np.arange(columns)
    first, last = edges[:, :-1, None], edges[:, 1:, None]
    inside = np.clip(np.minimum(column + 1, last) - np.maximum(column, first), 0, None)
    return torch.from_numpy(inside / (last - first)).flatten(0, 1).float()


def window_vectors(moments: Moments) -> np.ndarray:
    """Return float32 (window, feature): means, then standard deviations where there are any."""
    parts = [moments.mean] if moments.std is None else [moments.mean, moments.std]
    return np.concatenate(parts, axis=1).astype(np.float32)


def recording_vector(moments: Moments) -> np.ndarray:
    """Return float32 (1, feature): the statistics of the cells of all windows (at least one) together.

    Every window has as many cells in a bin, so the variance of all of them is the mean of the windows' variances plus
    the variance of the windows' means.
    """
    mean: np.ndarray = moments.mean.mean(axis=0, dtype=np.float64, keepdims=True)
    if moments.std is None:
        return mean.astype(np.float32)
    variance: np.ndarray = np.square(moments.std).mean(axis=0, keepdims=True) + moments.mean.var(axis=0, keepdims=True)
    return np.concatenate([mean, np.sqrt(variance)], axis=1).astype(np.float32)
