import numpy as np
import pytest
import torch

from humwatch.storage.errors import BadConfiguration
from humwatch.tasks.features.backbones import Backbone, build, choose_device, map_shapes
from humwatch.tasks.features.pooling import pool, window_vectors
from humwatch.tasks.plan.representations import parse
from humwatch.tasks.settings import FeatureSettings
from humwatch.tasks.weights.state import load_weights
from humwatch.tasks.weights.vision import models

torch.set_num_threads(1)
RANDOM = FeatureSettings(random_weights=True, device="cpu")
PX = 64


def images(count=2, size_px=PX, seed=0):
    return torch.randn(count, 3, size_px, size_px, generator=torch.Generator().manual_seed(seed))


def torchvision_model(name):
    """The model itself with the weights that seed 0 draws."""
    torch.manual_seed(0)
    arguments = {"transform_input": True, "init_weights": False} if name == "googlenet" else {}
    return models.get_model(name, weights=None, **arguments).eval()


@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet18", 512), ("resnet34", 512), ("resnet50", 2048), ("alexnet", 4096), ("densenet121", 1024),
     ("mobilenet_v2", 1280), ("efficientnet_b0", 1280), ("mnasnet0_5", 1280),
     ("shufflenet_v2_x0_5", 1024), ("regnet_x_400mf", 400), ("googlenet", 1024), ("swin_t", 768)],
)  # fmt: skip
def test_the_default_layer_is_what_torchvisions_own_classifier_is_given(name, size):
    (wanted,) = parse(name)
    model, given = torchvision_model(name), []
    last = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
    last.register_forward_pre_hook(lambda _module, inputs: given.append(inputs[0]))
    with torch.inference_mode():
        model(images())
    maps = build(name, (wanted.layer,), RANDOM, PX)(images())
    features = window_vectors(pool(maps[wanted.layer], wanted))
    expected = given[0].numpy()
    assert features.shape == expected.shape == (2, size)
    assert np.abs(features - expected).max() <= 1e-5 * np.abs(expected).max()


def test_squeezenet_is_its_last_map_pooled_2x2():
    (wanted,) = parse("squeezenet1_1")
    with torch.inference_mode():
        last = torchvision_model("squeezenet1_1").features(images(size_px=224))
        expected = torch.nn.functional.adaptive_avg_pool2d(last, 2).flatten(1).numpy()
    maps = build("squeezenet1_1", ("features",), RANDOM, 224)(images(size_px=224))
    features = window_vectors(pool(maps["features"], wanted))
    assert features.shape == (2, 2048)
    assert np.abs(features - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("size_px", [64, 100, 224])
def test_efficientnet_lite0_is_the_packages_on_its_own_normalisation(size_px):
    from efficientnet_lite_pytorch import EfficientNet

    settings = FeatureSettings(device="cpu")
    original = EfficientNet.from_name("efficientnet-lite0", image_size=size_px).eval()
    original.load_state_dict(load_weights("efficientnet_lite0", settings))
    pixels = torch.rand(2, 3, size_px, size_px, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.inference_mode():
        expected = original.extract_features((pixels * 255 - 127) / 128)
        logits = original((pixels * 255 - 127) / 128)
    found = build("efficientnet_lite0", ("features", "classifier"), settings, size_px)((pixels - mean) / std)
    assert (found["features"] - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert (found["classifier"].flatten(1) - logits).abs().max() <= 1e-4 * logits.abs().max()


class Echo(torch.nn.Module):
    def forward(self, images):
        return {"input": images}


@pytest.mark.parametrize(
    ("source", "mean", "std"),
    [
        ("resnet18", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("efficientnet_v2_l", (0.5,), (0.5,)),
        ("efficientnet_lite0", (127 / 255,), (128 / 255,)),
    ],
)
def test_a_model_is_given_the_normalisation_it_was_trained_on(source, mean, std):
    from torchvision.transforms.v2.functional import normalize

    pixels = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    ours = normalize(pixels, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    given = Backbone(Echo(), source, torch.float32, torch.device("cpu"))(ours)["input"]
    mean, std = (torch.tensor(values).expand(3)[:, None, None] for values in (mean, std))
    torch.testing.assert_close(given, (pixels - mean) / std, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["resnet18", "alexnet", "squeezenet1_1", "efficientnet_lite0", "regnet_x_400mf", "fake"]
)
def test_shapes_are_known_without_weights(name):
    layer = parse(name)[0].layer
    maps = build(name, (layer,), RANDOM, PX)(images())
    assert map_shapes(name, (layer,), PX) == {layer: tuple(maps[layer].shape[1:])}


def test_vgg_is_its_penultimate_vector():
    assert map_shapes("vgg11", (parse("vgg11")[0].layer,), PX) == {"classifier.4": (4096, 1, 1)}


def test_several_layers_come_from_one_pass_and_equal_their_own():
    layers = ("layer2", "layer3.1.conv1", "layer4")
    together = build("resnet18", layers, RANDOM, PX)(images())
    assert tuple(together) == layers
    for layer in layers:
        assert torch.equal(together[layer], build("resnet18", (layer,), RANDOM, PX)(images())[layer])


@pytest.mark.parametrize(
    ("source", "layers"),
    [("squeezenet1_1", ("features", "features.12")), ("resnet18", ("layer4.1", "layer4"))],
)
def test_modules_that_end_together_have_one_output(source, layers):
    images = torch.randn(2, 3, 64, 64)
    settings = FeatureSettings(random_weights=True)
    both = build(source, layers, settings, 64)(images)
    for layer in layers:
        assert torch.equal(both[layer], build(source, (layer,), settings, 64)(images)[layer])
    assert len({tuple(shape) for shape in map_shapes(source, layers, 64).values()}) == 1


def test_nothing_after_the_last_layer_is_kept():
    backbone = build("resnet18", ("layer2",), RANDOM, PX)
    names = [name for name, _ in backbone._extractor.named_parameters()]
    assert any(name.startswith("layer2") for name in names)
    assert not any(name.startswith(("layer3", "layer4", "fc")) for name in names)


@pytest.mark.parametrize("name", ["resnet18", "fake"])
def test_random_weights_are_seeded_and_leave_torchs_generator_alone(name):
    layer = parse(name)[0].layer
    torch.manual_seed(7)
    first = build(name, (layer,), RANDOM, PX)(images())[layer]
    after = torch.rand(3)
    torch.manual_seed(7)
    assert torch.equal(after, torch.rand(3))
    assert torch.equal(first, build(name, (layer,), RANDOM, PX)(images())[layer])
    assert first.std() > 0


def test_fake_needs_no_weights_and_answers_to_its_input():
    backbone = build("fake", ("features",), FeatureSettings(device="cpu"), PX)
    maps = backbone(images())["features"]
    assert maps.shape == (2, 16, 8, 8)
    changed = images()
    changed[:, :, :8, 8:16] += 1
    different = (backbone(changed)["features"] != maps).any(dim=1)
    expected = torch.zeros(2, 8, 8, dtype=torch.bool)
    expected[:, 0, 1] = True  # one cell sees one 8 x 8 patch: rows are frequency, columns are time
    assert torch.equal(different, expected)


def test_bfloat16_is_close_but_not_equal():
    layer = "layer4"
    exact = build("resnet18", (layer,), RANDOM, PX)(images(8))[layer].mean(dim=(2, 3))
    bfloat = FeatureSettings(random_weights=True, device="cpu", precision="bfloat16")
    rough = build("resnet18", (layer,), bfloat, PX)(images(8))[layer].mean(dim=(2, 3))
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    centred = [values - values.mean(dim=0) for values in (exact, rough)]
    assert torch.cosine_similarity(*centred).min() > 0.98


def test_an_unknown_layer_lists_some_that_are():
    for call in (lambda: build("resnet18", ("layer9",), RANDOM, PX), lambda: map_shapes("resnet18", ("layer9",), PX)):
        with pytest.raises(BadConfiguration, match=r"no layer 'layer9'; some it has: .*layer4"):
            call()


def test_a_layer_that_gives_tokens_is_refused():
    with pytest.raises(BadConfiguration, match=r"neither a .* map nor a vector"):
        map_shapes("vit_b_16", ("encoder",), 224)


def test_images_too_small_for_a_model():
    with pytest.raises(BadConfiguration, match="alexnet cannot take images of 32 px"):
        map_shapes("alexnet", ("classifier.5",), 32)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there():
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(BadConfiguration, match="no CUDA device"):
        choose_device("cuda")
