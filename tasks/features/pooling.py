"""From the maps of a layer to feature vectors: statistics over the cells of frequency and time bins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from tasks.features.representations import Representation


@dataclass(frozen=True)
class Moments:
    """Mean and population standard deviation of every bin of every window: (window, channel * F * T).

    `std` is None when the representation does not ask for it.
    """

    mean: np.ndarray
    std: np.ndarray | None


def pool(maps: torch.Tensor, representation: Representation) -> Moments:
    """Pool maps (window, channel, frequency, time) into F x T bins (`torch.nn.AdaptiveAvgPool2d`)."""
    bins = (representation.frequency_bins, representation.time_bins)
    if "std" not in representation.statistics:
        return Moments(_flat(functional.adaptive_avg_pool2d(maps, bins)), None)
    # Float64 and around each channel's mean: a variance as a difference of raw float32 moments would lose its digits.
    exact = maps.double()
    centre = exact.mean(dim=(-2, -1), keepdim=True)
    rest = exact - centre
    mean = functional.adaptive_avg_pool2d(rest, bins)
    variance = functional.adaptive_avg_pool2d(rest.square(), bins) - mean.square()
    return Moments(_flat(centre + mean), _flat(variance.clamp_(min=0).sqrt_()))


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


def _flat(binned: torch.Tensor) -> np.ndarray:
    values: np.ndarray = binned.flatten(1).cpu().numpy()
    return values
