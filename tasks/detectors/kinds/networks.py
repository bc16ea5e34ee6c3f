"""The autoencoders that published work compares image features with, as torch modules over log-mel patches.

What the paper leaves open (strides, the decoders) follows the networks its description is of: the LeNet autoencoder of
Ruff et al. 2018 ("Deep One-Class Classification", ICML) with ELU, and for kernels of 4 the usual stride of 2.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

PATCH = 64
"""Edge of a patch: mel bands and frames."""
STACKED_FRAMES = 5


class LeNetDCAE(nn.Module):
    """Three 5x5 convolutions of 32, 64 and 128 channels, ELU, batch normalisation, a bottleneck of 128.

    float32 (patch, 1, 64, 64) in [0, 1] to the same.
    """

    def __init__(self) -> None:
        super().__init__()
        down: list[nn.Module] = []
        for before, after in ((1, 32), (32, 64), (64, 128)):
            # ELU rises everywhere, so it may as well follow the pooling, with a quarter of the values.
            down += [_convolution(before, after), nn.BatchNorm2d(after), nn.MaxPool2d(2), nn.ELU()]
        edge = PATCH // 8
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(128 * edge * edge, 128), nn.BatchNorm1d(128))
        up: list[nn.Module] = [nn.Unflatten(1, (128 // edge**2, edge, edge)), nn.ELU()]
        up += [_convolution(128 // edge**2, 128), nn.BatchNorm2d(128), nn.ELU()]
        for before, after in ((128, 64), (64, 32)):
            up += [UpsampledConvolution(before, after), nn.BatchNorm2d(after), nn.ELU()]
        self.decoder = nn.Sequential(*up, UpsampledConvolution(32, 1), nn.Sigmoid())

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Reconstruct patches."""
        reconstruction: torch.Tensor = self.decoder(self.encoder(patches))
        return reconstruction


class UpsampledConvolution(nn.Conv2d):
    """`nn.Upsample(scale_factor=2)` (nearest) and a 5x5 convolution that keeps the size, as one.

    float32 (patch, before, height, width) to (patch, after, 2 height, 2 width), equal to the two but for rounding. Of
    five neighbours in a row of the upsampled image some are copies of one value, whose weights can be added first: the
    pixels of even rows are a convolution of 3 rows of the image itself, those of odd rows another, and so are columns.
    Four convolutions of 3x3 take 9/25 of the products.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, 5, bias=False)
        copies = [
            [[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]],
            [[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 1]],
        ]
        self.register_buffer("copies", torch.tensor(copies, dtype=torch.float32), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Upsample and convolve."""
        weight = torch.einsum("prs,qct,oist->opqirc", self.copies, self.copies, self.weight).flatten(0, 2)
        return functional.pixel_shuffle(functional.conv2d(images, weight, padding=1), 2)


class SmallDCAE(nn.Module):
    """Three 4x4 convolutions of stride 2 with 12, 24 and 48 channels, ReLU. float32 (patch, 1, 64, 64) to the same."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((1, 12), (12, 24), (24, 48)):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.ReLU()]
        for before, after in ((48, 24), (24, 12), (12, 1)):
            layers += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1], nn.Sigmoid())

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Reconstruct patches."""
        reconstruction: torch.Tensor = self.layers(patches)
        return reconstruction


class DenseAE(nn.Module):
    """MIMII's own: five frames end to end through 64-64-8-64-64. float32 (patch, 1, 64, 64) in dB.

    Reconstructs every stack of five neighbouring frames of a patch: (patch, 60, 320) of (patch, 60, 320), the inputs
    as `stacked` gives them.
    """

    def __init__(self) -> None:
        super().__init__()
        sizes = (PATCH * STACKED_FRAMES, 64, 64, 8, 64, 64, PATCH * STACKED_FRAMES)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            linear = nn.Linear(before, after)
            nn.init.xavier_uniform_(linear.weight)  # Keras' default, as the original has
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, stacks: torch.Tensor) -> torch.Tensor:
        """Reconstruct stacks of frames."""
        reconstruction: torch.Tensor = self.layers(stacks)
        return reconstruction


def stacked(patches: torch.Tensor) -> torch.Tensor:
    """Patches (patch, 1, mel, frame) as stacks of five neighbouring frames: (patch, stack, mel * 5)."""
    return patches[:, 0].unfold(2, STACKED_FRAMES, 1).transpose(1, 2).flatten(2)


@dataclass(frozen=True)
class Recipe:
    """A network and how it is trained: Adam on the mean squared error.

    Attributes:
        network: Makes it, with weights drawn from torch's global generator.
        learning_rate: Of Adam.
        batch_patches: Patches in a batch.
        epochs: Passes over the training patches.
        scaled: Whether it sees [0, 1] (the range of the training patches) or dB.
        prepare: From patches to what the network reconstructs.
    """

    network: Callable[[], nn.Module]
    learning_rate: float
    batch_patches: int
    epochs: int
    scaled: bool
    prepare: Callable[[torch.Tensor], torch.Tensor]

    def errors(self, network: nn.Module, patches: torch.Tensor) -> torch.Tensor:
        """Mean squared error of the reconstruction of each patch: (patch, 1, 64, 64) to (patch,)."""
        target = self.prepare(patches)
        return functional.mse_loss(network(target), target, reduction="none").flatten(1).mean(dim=1)


def _convolution(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 5, padding=2, bias=False)


def _as_it_is(patches: torch.Tensor) -> torch.Tensor:
    return patches


RECIPES: dict[str, Recipe] = {
    # Müller et al. 2020 (arXiv 2006.03429v2), section 5.
    "lenet_dcae": Recipe(LeNetDCAE, 1e-4, 128, 80, scaled=True, prepare=_as_it_is),
    "small_dcae": Recipe(SmallDCAE, 1e-4, 128, 80, scaled=True, prepare=_as_it_is),
    # Purohit et al. 2019 (arXiv 1909.09347) and its public baseline: batches of 512 stacks, here those of 9 patches.
    "dense_ae": Recipe(DenseAE, 1e-3, 9, 50, scaled=False, prepare=stacked),
}
