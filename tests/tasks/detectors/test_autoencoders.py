"""Autoencoders: trained, exact, kept without pickle, and of the sizes that were published."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from humwatch.tasks.detectors.detectors import fit_detector
from humwatch.tasks.detectors.kinds.networks import PATCH, RECIPES, UpsampledConvolution, stacked
from humwatch.tasks.detectors.machine_model import fit_machine_model
from humwatch.tasks.detectors.serialization import dumps, loads
from humwatch.tasks.settings import AUTOENCODER_NAMES, FitSettings

pytestmark = pytest.mark.slow

SETTINGS = FitSettings(autoencoder_epochs=1)
PEERS = Path(__file__).parents[3] / "benchmarks" / "peers.py"


def hum(count, seed=0, band=20):
    """Patches of noise with one steady band, in dB, float32 (patch, 64 * 64)."""
    rng = np.random.default_rng(seed)
    patches = rng.normal(-60, 3, size=(count, PATCH, PATCH)).astype(np.float32)
    patches[:, band] += 40
    return patches.reshape(count, -1)


@pytest.mark.parametrize(
    ("name", "weights", "epochs"),
    [
        # by hand: convolutions and the dense layer, batch norms (two a channel)
        ("lenet_dcae", 800 + 51200 + 204800 + 8192 * 128 + 128 + 6400 + 204800 + 51200 + 800 + 2 * 576, 80),
        ("small_dcae", (192 + 12) + (4608 + 24) + (18432 + 48) + (18432 + 24) + (4608 + 12) + (192 + 1), 80),
        ("dense_ae", 320 * 64 + 64 + 64 * 64 + 64 + 64 * 8 + 8 + 8 * 64 + 64 + 64 * 64 + 64 + 64 * 320 + 320, 50),
    ],
)
def test_networks_have_the_published_sizes(name, weights, epochs):
    network = RECIPES[name].network()
    assert sum(weight.numel() for weight in network.parameters()) == weights
    assert RECIPES[name].epochs == epochs
    patches = torch.rand(3, 1, PATCH, PATCH)
    assert RECIPES[name].errors(network, patches).shape == (3,)


def test_stacks_are_five_neighbouring_frames():
    patch = torch.arange(PATCH * PATCH, dtype=torch.float32).view(1, 1, PATCH, PATCH)
    stacks = stacked(patch)
    assert stacks.shape == (1, 60, 320)
    assert torch.equal(stacks[0, 7].view(PATCH, 5), patch[0, 0, :, 7:12])


@pytest.mark.parametrize("height_width", [(1, 1), (2, 3), (7, 6), (32, 32)])
def test_upsampling_and_convolution_as_one_equal_the_two(height_width):
    torch.manual_seed(0)
    one = UpsampledConvolution(5, 3).double()
    two = torch.nn.Sequential(torch.nn.Upsample(scale_factor=2), torch.nn.Conv2d(5, 3, 5, padding=2, bias=False))
    two.double()[1].weight.data[:] = one.weight.data
    images = torch.randn(2, 5, *height_width, dtype=torch.float64)
    assert one(images).shape == (2, 3, *(2 * edge for edge in height_width))
    torch.testing.assert_close(one(images), two(images))
    for network in (one, two):
        network(images).pow(3).sum().backward()
    torch.testing.assert_close(one.weight.grad, two[1].weight.grad)


def test_the_faster_lenet_equals_its_layers_one_by_one():
    torch.manual_seed(0)
    ours, theirs = RECIPES["lenet_dcae"].network().double(), runpy.run_path(str(PEERS))["naive_lenet"]().double()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    patches = torch.rand(5, 1, PATCH, PATCH, dtype=torch.float64)
    for network in (ours, theirs):
        torch.nn.functional.mse_loss(network(patches), patches).backward()
    torch.testing.assert_close(ours(patches), theirs(patches))
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_what_it_was_not_trained_on_scores_higher():
    detector = fit_detector("dense_ae", hum(160), FitSettings(autoencoder_epochs=4), 0)
    normal, moved = detector.score(hum(20, seed=1)), detector.score(hum(20, seed=1, band=45))
    assert moved.min() > normal.max()


@pytest.mark.parametrize(("name", "longer"), [("lenet_dcae", 6), ("small_dcae", 200)])
def test_training_lowers_the_error(name, longer):
    short, long = (
        fit_detector(name, hum(8), FitSettings(autoencoder_epochs=epochs), 0).score(hum(4, seed=1)).mean()
        for epochs in (1, longer)
    )
    assert long < 0.97 * short


@pytest.mark.parametrize("name", AUTOENCODER_NAMES)
def test_the_same_bits_again_alone_and_from_the_store(name):
    windows = [hum(10).reshape(5, 2, -1)]
    folds = np.arange(5) % 2
    fitted = fit_machine_model(name, windows, SETTINGS, 3, folds)
    tested = hum(34, seed=2).reshape(-1, 1, PATCH * PATCH)
    scores = fitted.model.window_scores([tested])
    again = fit_machine_model(name, windows, SETTINGS, 3, folds)
    np.testing.assert_array_equal(again.model.window_scores([tested]), scores)
    np.testing.assert_array_equal(again.calibration_scores, fitted.calibration_scores)
    np.testing.assert_array_equal(fitted.model.window_scores([tested[-3:]]), scores[-3:])
    stored = dumps(fitted.model)
    np.testing.assert_array_equal(loads(stored).window_scores([tested]), scores)
    assert dumps(loads(stored)) == stored
    other = fit_machine_model(name, windows, SETTINGS, 4, folds)
    assert not np.array_equal(other.model.window_scores([tested]), scores)


@pytest.mark.parametrize("name", AUTOENCODER_NAMES)
def test_one_flat_patch(name):
    detector = fit_detector(name, np.full((1, PATCH * PATCH), -80.0), SETTINGS, 0)
    assert np.isfinite(detector.score(hum(2))).all()
    assert "fitted to a single window" in detector.notes


def test_torchs_generator_is_left_as_it_was():
    before = torch.random.get_rng_state()
    fit_detector("small_dcae", hum(4), SETTINGS, 0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_other_features_are_refused():
    with pytest.raises(ValueError, match="64 x 64"):
        fit_detector("small_dcae", np.zeros((4, 12)), SETTINGS, 0)
