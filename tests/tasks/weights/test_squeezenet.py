import pickle

import numpy as np
import pytest
import torch

from humwatch.tasks.weights.squeezenet import read_state

torch.set_num_threads(1)
FIRES = [(16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)]


def keras_arrays():
    """Arrays of SqueezeNet 1.1's shapes as Keras lays them out: (height, width, in, out)."""
    random = np.random.default_rng(0)

    def layer(height, inputs, outputs):
        kernels = random.normal(size=(height, height, inputs, outputs)).astype(np.float32)
        return [kernels, random.normal(size=outputs).astype(np.float32)]

    arrays, channels = {"conv1": layer(3, 3, 64)}, 64
    for number, (squeeze, expand) in enumerate(FIRES, start=2):
        arrays[f"fire{number}/squeeze1x1"] = layer(1, channels, squeeze)
        arrays[f"fire{number}/expand1x1"] = layer(1, squeeze, expand)
        arrays[f"fire{number}/expand3x3"] = layer(3, squeeze, expand)
        channels = 2 * expand
    arrays["conv10"] = layer(1, 512, 1000)
    return arrays


def test_the_state_fits_torchvisions_module():
    from humwatch.tasks.weights.vision import models

    state = read_state(pickle.dumps(keras_arrays()))
    models.squeezenet1_1(weights=None).load_state_dict(state, strict=True)


def test_kernels_are_turned_from_hwio_to_oihw():
    arrays = keras_arrays()
    state = read_state(pickle.dumps(arrays))
    kernels = arrays["fire5/expand3x3"][0]
    assert state["features.7.expand3x3.weight"][17, 5, 2, 0] == kernels[2, 0, 5, 17]
    np.testing.assert_array_equal(state["classifier.1.bias"], arrays["conv10"][1])


def test_conv1_on_our_images_is_conv1_on_the_pixels_it_was_trained_on():
    kernels, bias = (torch.from_numpy(values).double() for values in keras_arrays()["conv1"])
    pixels = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    bgr = pixels.flip(1) * 255 - torch.tensor([104.0, 117.0, 123.0]).double()[:, None, None]
    expected = torch.nn.functional.conv2d(bgr, kernels.permute(3, 2, 0, 1), bias, stride=2)
    mean, std = (torch.tensor(v).double()[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    state = read_state(pickle.dumps(keras_arrays()))
    folded = (state["features.0.weight"].double(), state["features.0.bias"].double())
    found = torch.nn.functional.conv2d((pixels - mean) / std, *folded, stride=2)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-3)


class Harmful:
    def __reduce__(self):
        return print, ("executed",)


def test_a_pickle_of_anything_but_arrays_is_refused(capsys):
    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.print is not part of a numpy array"):
        read_state(pickle.dumps({**keras_arrays(), "conv1": Harmful()}))
    assert capsys.readouterr().out == ""
