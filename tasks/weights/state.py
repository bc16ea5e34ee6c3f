"""Weight files -> the state of a backbone's module; nothing but tensors (or plain arrays) is unpickled."""

from __future__ import annotations

import io

import torch

from humwatch.tasks.settings import FeatureSettings
from humwatch.tasks.weights import squeezenet
from humwatch.tasks.weights.weights import SQUEEZENET_FILE, read_weights

State = dict[str, torch.Tensor]


def load_weights(backbone: str, settings: FeatureSettings) -> State:
    """Return the state of a backbone's module, keyed and shaped as torchvision's (or the package's) own module.

    Raises:
        WeightsNotFound, SourceForbidden, StorageUnavailable: see `weights.read_weights`.
    """
    file, data = read_weights(backbone, settings)
    if file == SQUEEZENET_FILE:
        return squeezenet.read_state(data)
    state: State = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state
