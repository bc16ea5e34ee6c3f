"""Fused networks: the same values to rounding, the same bits whatever else is asked of them."""

import pytest
import torch

from humwatch.tasks.features.backbones import _cut_off, _drawn_network, build
from humwatch.tasks.features.fusing import _Convolution
from humwatch.tasks.settings import FeatureSettings

torch.set_num_threads(1)
RANDOM = FeatureSettings(random_weights=True, device="cpu")
PX = 64


def images(count=4):
    made = torch.randn(count, 3, PX, PX, generator=torch.Generator().manual_seed(0))
    return made.contiguous(memory_format=torch.channels_last)


def norms_with_statistics(network):
    """Fresh batch normalisations change nothing: give them means, variances and scales as training would."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.running_mean, module.bias.data):
                values.uniform_(-0.2, 0.2, generator=generator)
            for values in (module.running_var, module.weight.data):
                values.uniform_(0.5, 1.5, generator=generator)


@pytest.mark.parametrize(
    ("name", "layer", "convolutions", "left"),
    [
        ("resnet18", "layer4", 20, 1),  # 16 in blocks, 3 beside them and the stem; a max pool is left
        ("squeezenet1_1", "features", 25, None),
        ("alexnet", "features", 5, None),
        ("densenet121", "relu", 120, None),  # most of its normalisations come before their convolution
        ("mobilenet_v2", "features", 17, None),  # torchvision keeps the others in modules of its own
    ],
)
def test_fused_equals_eager(name, layer, convolutions, left, monkeypatch):
    drawn = _drawn_network(name, PX)
    norms_with_statistics(drawn)
    monkeypatch.setattr("humwatch.tasks.features.backbones._drawn_network", lambda *_: drawn)
    with torch.inference_mode():
        expected = _cut_off(drawn, name, (layer,))(images())[layer]
    backbone = build(name, (layer,), RANDOM, PX)
    modules = list(backbone._extractor.modules())
    assert sum(isinstance(module, _Convolution) for module in modules) == convolutions
    if left is not None:
        calls = [node for node in backbone._extractor.graph.nodes if node.op.startswith("call")]
        assert len(calls) - convolutions == left
    found = backbone(images())[layer]
    assert torch.nn.functional.cosine_similarity(found.flatten(1), expected.flatten(1)).min() >= 0.99999
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_shape_in_between_changes_no_bits():
    backbone = build("resnet18", ("layer4",), RANDOM, PX)
    first = backbone(images())["layer4"]
    backbone(images(2)[..., :48])
    assert torch.equal(backbone(images())["layer4"], first)


@pytest.mark.parametrize("inside", ["layer3.1.conv1", "layer3.1.bn2", "layer3.1.add", "layer3.1", "bn1", "relu"])
def test_a_layer_asked_for_inside_what_is_fused_changes_no_bits_of_another(inside):
    together = build("resnet18", (inside, "layer4"), RANDOM, PX)(images())
    for layer in together:
        assert torch.equal(together[layer], build("resnet18", (layer,), RANDOM, PX)(images())[layer])
    with torch.inference_mode():
        alone = _cut_off(_drawn_network("resnet18", PX), "resnet18", (inside,))(images())[inside]
    if inside != "bn1":  # torchvision's own is overwritten by the ReLU that follows it
        torch.testing.assert_close(together[inside], alone, rtol=1e-4, atol=1e-4)
