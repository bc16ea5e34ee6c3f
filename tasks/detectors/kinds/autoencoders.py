"""Autoencoders as detectors: trained to reconstruct normal log-mel patches; the error of a patch is its score.

A stored one is a dict of numpy arrays. Training is float32, seeded and on one thread: the same bits on one host.
Scores are computed on the CPU wherever it was trained.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humwatch.tasks.detectors.kinds.networks import PATCH, RECIPES, Recipe
from humwatch.tasks.features.backbones import choose_device
from humwatch.tasks.settings import FitSettings

Matrix = NDArray[np.float64]
Patches = NDArray[np.floating[Any]]


def fit_autoencoder(name: str, patches: Patches, settings: FitSettings, seed: int) -> dict[str, Any]:
    """Train an autoencoder.

    Args:
        name: One of `RECIPES`.
        patches: float (patch, 64 * 64), ordered (mel band, frame), in dB; at least two.
        settings: `autoencoder_epochs` and `autoencoder_device`.
        seed: Of weights and order.

    Returns:
        `network` (its name), `low` and `scale` of what it sees, and `weights`, float32 arrays by name.

    Raises:
        ValueError: The features are no patches of 64 x 64.
    """
    recipe = RECIPES[name]
    if patches.shape[1] != PATCH * PATCH:
        raise ValueError(f"{name} sees patches of {PATCH} x {PATCH} values, not vectors of {patches.shape[1]}")
    low, scale = _range(patches) if recipe.scaled else (0.0, 1.0)
    device = choose_device(settings.autoencoder_device)
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = recipe.network().to(device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # what convolutions are fastest in
        order = _batches(len(patches), recipe.batch_patches, settings.autoencoder_epochs or recipe.epochs)
        _train(network, recipe, (_seen(patches[batch], low, scale).to(device) for batch in order))
    weights = {key: value.cpu().contiguous().numpy() for key, value in network.state_dict().items()}
    return {"network": name, "low": low, "scale": scale, "weights": weights}


def score_autoencoder(stored: Mapping[str, Any], patches: Patches) -> Matrix:
    """Mean squared error of each patch: float (patch, 64 * 64) to float64 (patch,)."""
    recipe = RECIPES[stored["network"]]
    torch.set_num_threads(1)
    network = recipe.network()
    network.load_state_dict({key: torch.from_numpy(value) for key, value in stored["weights"].items()})
    network.eval()
    with torch.inference_mode():
        errors = recipe.errors(network, _seen(patches, stored["low"], stored["scale"]))
    return errors.numpy().astype(np.float64)


def _batches(n_patches: int, batch_patches: int, epochs: int) -> Iterator[NDArray[np.int64]]:
    """The patches of every batch of every epoch, drawn by torch's generator."""
    n_batches = math.ceil(n_patches / batch_patches)
    for _ in range(epochs):
        # nearly equal batches: batch normalisation cannot learn from a last one of a single patch
        for batch in torch.randperm(n_patches).tensor_split(n_batches):
            yield batch.numpy()


def _train(network: torch.nn.Module, recipe: Recipe, batches: Iterable[torch.Tensor]) -> None:
    optimiser = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    for patches in batches:
        optimiser.zero_grad()
        loss = recipe.errors(network, patches).mean()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types there
        optimiser.step()


def _range(patches: Patches) -> tuple[float, float]:
    low, high = float(patches.min()), float(patches.max())
    return low, high - low or 1.0


def _seen(patches: Patches, low: float, scale: float) -> torch.Tensor:
    """float32 (patch, 1, 64, 64): what a network sees."""
    scaled = (patches.astype(np.float64) - low) / scale
    return torch.from_numpy(scaled.astype(np.float32)).view(-1, 1, PATCH, PATCH)
