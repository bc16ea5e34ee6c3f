"""Backbones: networks trained on images, cut off at the layers whose maps become features.

torchvision's classification models by name, EfficientNet-Lite0 and a small `fake` one for tests. They run eager and
channels-last, with what can be fused fused (`fusing.py`).
"""

from __future__ import annotations

import difflib
import functools
import re
from collections import OrderedDict

import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import fx, nn

from humwatch.storage.errors import BadConfiguration, ModelIncompatible
from humwatch.tasks.features.fusing import fold_batch_norms, fuse_convolutions, separate_outputs
from humwatch.tasks.settings import FeatureSettings
from humwatch.tasks.weights.imagenet import IMAGENET_MEAN, IMAGENET_STD
from humwatch.tasks.weights.sources import FAKE, LITE
from humwatch.tasks.weights.state import load_weights
from humwatch.tasks.weights.vision import feature_extraction, models
from humwatch.tasks.weights.weights import trained

# torchvision sets these when it loads trained weights: the two models undo ImageNet's normalisation themselves.
_UNDO_NORMALISATION = {"transform_input": True, "init_weights": False}
_ARGUMENTS = {"googlenet": _UNDO_NORMALISATION, "inception_v3": _UNDO_NORMALISATION}
# EfficientNet-Lite was trained on (pixel - 127) / 128 (tensorflow/tpu, efficientnet/lite/efficientnet_lite_builder.py).
_LITE_MEAN, _LITE_STD = (127 / 255,) * 3, (128 / 255,) * 3
_OLD_DENSENET_KEY = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")


class Backbone:
    """A network that gives the maps of some of its layers in one pass; inference only, on one device."""

    def __init__(self, extractor: nn.Module, source: str, precision: torch.dtype, device: torch.device) -> None:
        self.device = device
        if isinstance(extractor, fx.GraphModule):
            separate_outputs(extractor)
            fold_batch_norms(extractor)
            has_onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
            if device.type == "cpu" and precision == torch.float32 and has_onednn:
                fuse_convolutions(extractor)
        # torch's stub of `to` leaves memory_format out.
        self._extractor = extractor.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._precision = precision
        self._renormalise = _trained_on(source) != (IMAGENET_MEAN, IMAGENET_STD)
        mean, std = (torch.tensor(values, device=device)[:, None, None] for values in _trained_on(source))
        own_mean, own_std = (torch.tensor(v, device=device)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
        self._scale, self._shift = own_std / std, (own_mean - mean) / std

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return {layer: float32 (batch, channel, frequency, time)} on `device`; a vector is a map of one cell.

        Args:
            images: float32 (batch, 3, px, px), ImageNet-normalised. A model trained on another normalisation gets it.
        """
        images = images.to(self.device)
        if self._renormalise:
            images = images * self._scale + self._shift
        images = images.contiguous(memory_format=torch.channels_last)
        with (
            torch.autocast(self.device.type, self._precision, enabled=self._precision != torch.float32),
            # TF32 and the choice of the fastest kernel would make the bits depend on what ran before.
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
        ):
            maps = self._extractor(images)
        return {layer: _as_map(values).float() for layer, values in maps.items()}


def build(source: str, layers: tuple[str, ...], settings: FeatureSettings, image_size_px: int) -> Backbone:
    """Return a backbone with its weights, cut off after the last of `layers`.

    Weights are the trained ones; with `random_weights`, and for `fake`, they are drawn with seed 0 and torch's global
    generator is left alone.

    Raises:
        BadConfiguration: no such layer, or the device is not there.
        WeightsNotFound: the trained weights are nowhere.
        ModelIncompatible: the weights found are those of another network.
    """
    device = choose_device(settings.device)
    state = None if settings.random_weights or source == FAKE else load_weights(source, settings)
    network = _drawn_network(source, image_size_px)
    if state is not None:
        try:
            network.load_state_dict(_translated(source, state))
        except RuntimeError as error:
            raise ModelIncompatible(f"the weights found for {source} are not its own: {error}") from error
    precision = torch.bfloat16 if settings.precision == "bfloat16" else torch.float32
    return Backbone(_cut_off(network, source, layers), source, precision, device)


@functools.cache
def map_shapes(
    source: str, layers: tuple[str, ...], image_size_px: int, width_px: int | None = None
) -> dict[str, tuple[int, int, int]]:
    """Return {layer: (channels, rows, columns)} without weights or arithmetic (torch's meta device).

    Images are square, or `width_px` wide.

    Raises:
        BadConfiguration: no such layer, a layer that gives neither a map nor a vector, or images too small.
    """
    try:
        with torch.device("meta"):
            network = _network(source, image_size_px)
    except NotImplementedError:
        # RegNet reads its widths off tensors, which have no values there.
        network = _drawn_network(source, image_size_px).to("meta")
    extractor = _cut_off(network, source, layers)
    try:
        maps = extractor(torch.empty(1, 3, image_size_px, width_px or image_size_px, device="meta"))
    except (RuntimeError, AssertionError) as error:
        raise BadConfiguration(f"{source} cannot take images of {image_size_px} px: {error}") from error
    shapes = {}
    for layer, values in maps.items():
        if not isinstance(values, torch.Tensor) or values.ndim not in (2, 4):
            raise BadConfiguration(f"{source}@{layer} is neither a (channel, frequency, time) map nor a vector")
        _, channels, rows, columns = _as_map(values).shape
        shapes[layer] = (channels, rows, columns)
    return shapes


def choose_device(device: str) -> torch.device:
    """Return the device of a setting; `auto` is a GPU where there is one."""
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise BadConfiguration("features.device is cuda, but torch sees no CUDA device here; use cpu or auto")
    return torch.device("cuda" if device != "cpu" and has_cuda else "cpu")


def _drawn_network(source: str, image_size_px: int) -> nn.Module:
    """Return the network with weights drawn with seed 0; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return _network(source, image_size_px)


def _network(source: str, image_size_px: int) -> nn.Module:
    if source == FAKE:
        return _fake().eval()
    if source == LITE:
        return _lite(image_size_px).eval()
    network: nn.Module = models.get_model(source, weights=None, **_ARGUMENTS.get(source, {})).eval()
    return network


def _fake() -> nn.Module:
    """A tiny network: a map of 16 channels, one cell for every 8 x 8 pixels."""
    layers = [nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(), nn.Conv2d(8, 16, 2, stride=2), nn.ReLU()]
    return nn.Sequential(OrderedDict(features=nn.Sequential(*layers)))


def _lite(image_size_px: int) -> nn.Module:
    """EfficientNet-Lite0 with torchvision's names (features, avgpool, classifier) instead of the package's."""
    # The package pads as TensorFlow does, for one image size that it must be told.
    network = EfficientNet.from_name("efficientnet-lite0", image_size=image_size_px)
    stem = (network._conv_stem, network._bn0, network._swish)  # noqa: SLF001 - the package has no public names for them
    head = (network._conv_head, network._bn1, nn.ReLU6())  # noqa: SLF001
    classifier = nn.Sequential(network._dropout, network._fc)  # noqa: SLF001
    parts = {
        "features": nn.Sequential(*stem, *network._blocks, *head),  # noqa: SLF001
        "avgpool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "classifier": classifier,
    }
    return nn.Sequential(OrderedDict(parts))


def _translated(source: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a state with today's names of torchvision's modules, or ours of EfficientNet-Lite0's."""
    if source.startswith("densenet"):
        return {_OLD_DENSENET_KEY.sub(r"\1\2", key): values for key, values in state.items()}
    return {_lite_name(key): values for key, values in state.items()} if source == LITE else state


def _lite_name(key: str) -> str:
    part, rest = key.split(".", 1)
    if part == "_blocks":
        index, rest = rest.split(".", 1)
        return f"features.{int(index) + 3}.{rest}"
    places = {"_conv_stem": "features.0", "_bn0": "features.1", "_conv_head": "features.19", "_bn1": "features.20"}
    return f"{places.get(part, 'classifier.1')}.{rest}"


def _cut_off(network: nn.Module, source: str, layers: tuple[str, ...]) -> nn.Module:
    names = feature_extraction.get_graph_node_names(network, suppress_diff_warning=True)[1][1:]
    ends = {}
    for layer in layers:
        inside = [name for name in names if name == layer or name.startswith(f"{layer}.")]
        if not inside:
            close = difflib.get_close_matches(layer, names, n=3) or names[-6:]
            raise BadConfiguration(f"{source} has no layer {layer!r}; some it has: {', '.join(close)}")
        ends[layer] = inside[-1]
    # By the nodes themselves: of two modules that end at one node, torchvision gives the second the node before it.
    extractor = feature_extraction.create_feature_extractor(
        network, return_nodes=list(ends.values()), suppress_diff_warning=True
    )
    (output,) = extractor.graph.find_nodes(op="output")
    output.args = ({layer: output.args[0][end] for layer, end in ends.items()},)
    extractor = extractor.eval().requires_grad_(False)
    return fx.GraphModule(extractor, extractor.graph)  # without its other graph, that of training


def _trained_on(source: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation of the pixels (0..1) a model was trained on."""
    if source == LITE:
        return _LITE_MEAN, _LITE_STD
    if source == FAKE:
        return IMAGENET_MEAN, IMAGENET_STD
    preset = trained(source).transforms()
    return tuple(preset.mean), tuple(preset.std)


def _as_map(values: torch.Tensor) -> torch.Tensor:
    return values[:, :, None, None] if values.ndim == 2 else values
