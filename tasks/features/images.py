"""Windows in dB -> images a backbone trained on ImageNet can take (Müller et al. 2020, arXiv 2006.03429).

The definition, step by step: `x = (dB + top_db) / top_db`, clamped to [0, 1]; the matplotlib colour map's entry
`floor(x * N)` as 8-bit RGB; RGB / 255 in float32, resized bilinearly (antialiased when it shrinks, as torchvision does
with float images); minus ImageNet's mean, over its standard deviation.

Row 0 of an image is row 0 of the spectrogram, the lowest mel band (the paper does not say; nothing is flipped).
The range is fixed, not each window's own, so loud and quiet windows of a recording stay comparable.
"""

from __future__ import annotations

import functools

import matplotlib as mpl
import numpy as np
import torch
from torch.nn import functional

from humwatch.storage.errors import BadConfiguration
from humwatch.tasks.settings import ImageSettings
from humwatch.tasks.weights.imagenet import IMAGENET_MEAN, IMAGENET_STD

_BLOCK_LINES = 32


class ImageMaker:
    """Turns batches of windows into images on one device.

    Normalising is folded into the colour table: the weights of a bilinear resize sum to 1, so doing it before the
    resize is the same. The resize is two matrix products, the second of which leaves the colours innermost, as the
    backbones want them, and is done in blocks: a line of the image is made of few lines of the window. At
    `image_size_px` equal to the window's size nothing is resized.

    Raises:
        BadConfiguration: matplotlib has no such colour map.
    """

    def __init__(self, settings: ImageSettings, top_db: float, device: torch.device | str = "cpu") -> None:
        if settings.colormap not in mpl.colormaps:
            raise BadConfiguration(
                f"images.colormap {settings.colormap!r} is not a colour map of matplotlib "
                "(https://matplotlib.org/stable/users/explain/colors/colormaps.html), such as viridis"
            )
        self._settings = settings
        self._top_db = top_db
        self._device = torch.device(device)
        self._table = _normalised_table(settings.colormap).to(self._device)

    def __call__(self, windows: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Return images: float32 (batch, 3, image_size_px, width), ImageNet-normalised.

        The width is `image_size_px` for a window, and in proportion for a strip of several (`windows.strip_frames`).

        Args:
            windows: float32 (batch, n_mels, frames), finite, in dB relative to the reference; values outside
                [-top_db, 0] are clamped.
        """
        # np.array: a view of the spectrogram may be read-only, which torch warns of.
        levels = torch.as_tensor(np.array(windows) if isinstance(windows, np.ndarray) else windows, device=self._device)
        unit = ((levels + self._top_db) / self._top_db).clamp_(0, 1)
        entries = self._table.shape[1]
        # Matplotlib's rule: x = 1 belongs to the last entry.
        index = (unit * entries).to(torch.int64).clamp_(max=entries - 1)
        planes = self._table[:, index]
        size_px = self._settings.image_size_px
        wanted_px = (size_px, size_px * planes.shape[-1] // self._settings.window_frames)
        if tuple(planes.shape[-2:]) == wanted_px:
            return planes.transpose(0, 1)
        columns = _resize(planes.shape[-1], wanted_px[1]).to(self._device)
        wide = (planes @ columns.T).permute(1, 2, 3, 0)
        batch, n_mels, width, colours = wide.shape
        lines = wide.reshape(batch, n_mels, width * colours)
        images = lines.new_empty(batch, size_px, width * colours)
        for first, used, weights in _resize_blocks(n_mels, size_px):
            block = images[:, first : first + len(weights)]
            torch.matmul(weights.to(self._device), lines[:, used], out=block)
        return images.view(batch, size_px, width, colours).permute(0, 3, 1, 2)


@functools.cache
def _resize(size: int, to_size: int) -> torch.Tensor:
    """Return torch's bilinear, antialiased resize of one axis as a matrix (to_size, size)."""
    lines = functional.interpolate(
        torch.eye(size)[None, None], (to_size, size), mode="bilinear", align_corners=False, antialias=True
    )
    return lines[0, 0]


@functools.cache
def _resize_blocks(size: int, to_size: int) -> list[tuple[int, slice, torch.Tensor]]:
    """Return `_resize` in blocks of rows: the first of each, the columns that have weights in it, and these weights."""
    blocks = []
    for first, block in enumerate(torch.split(_resize(size, to_size), _BLOCK_LINES)):
        (weighted,) = block.any(dim=0).nonzero(as_tuple=True)
        used = slice(int(weighted[0]), int(weighted[-1]) + 1)
        blocks.append((first * _BLOCK_LINES, used, block[:, used].contiguous()))
    return blocks


def _normalised_table(colormap: str) -> torch.Tensor:
    """Return float32 (3, entry): the colour map's 8-bit RGB entries, ImageNet-normalised."""
    colours = mpl.colormaps[colormap]
    rgb = colours(np.arange(colours.N), bytes=True)[:, :3]
    unit = torch.from_numpy(np.ascontiguousarray(rgb.T)).to(torch.float32) / 255
    return (unit - torch.tensor(IMAGENET_MEAN)[:, None]) / torch.tensor(IMAGENET_STD)[:, None]
