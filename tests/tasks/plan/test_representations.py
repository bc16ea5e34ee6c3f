import pytest

from humwatch.storage.errors import BadConfiguration
from humwatch.tasks.plan.representations import _COMMON, Representation, parse
from humwatch.tasks.weights.sources import known_sources


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("resnet34", "resnet34@layer4/1x1/mean/window"),
        ("resnet18@layer3/2x4", "resnet18@layer3/2x4/mean/window"),
        ("squeezenet1_1", "squeezenet1_1@features/2x2/mean/window"),
        ("squeezenet1_1@features", "squeezenet1_1@features/2x2/mean/window"),
        ("squeezenet1_1@features.9", "squeezenet1_1@features.9/1x1/mean/window"),
        ("squeezenet1_1/1x1", "squeezenet1_1@features/1x1/mean/window"),
        ("alexnet", "alexnet@classifier.5/1x1/mean/window"),
        ("densenet121/mean,std", "densenet121@relu/1x1/mean,std/window"),
        ("mobilenet_v2/recording", "mobilenet_v2@features/1x1/mean/recording"),
        ("efficientnet_lite0/4x1/mean,std/recording", "efficientnet_lite0@features/4x1/mean,std/recording"),
        ("logmel", "logmel/64x1/mean,std/window"),
        ("logmel/mean", "logmel/64x1/mean/window"),
        ("logmel/32x2/recording", "logmel/32x2/mean,std/recording"),
        ("fake", "fake@features/1x1/mean/window"),
    ],
)
def test_defaults_are_filled_in_and_the_canonical_text_reads_back(text, canonical):
    (found,) = parse(text)
    assert str(found) == canonical
    assert parse(canonical) == (found,)


def test_fields():
    assert parse("resnet18@layer2.0.conv1/3x5/mean,std/recording") == (
        Representation("resnet18", "layer2.0.conv1", 3, 5, ("mean", "std"), "recording"),
    )


def test_fused_representations_keep_their_order():
    texts = [str(one) for one in parse("resnet18 + logmel/recording+fake")]
    assert texts == [
        "resnet18@layer4/1x1/mean/window",
        "logmel/64x1/mean,std/recording",
        "fake@features/1x1/mean/window",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "resnet18@",
        "resnet18/",
        "resnet18/2",
        "resnet18/2x",
        "resnet18/std",
        "resnet18/std,mean",
        "resnet18/mean,mean",
        "resnet18/clip",
        "resnet18/window/2x2",
        "resnet18/mean/2x2",
        "resnet18/-1x1",
        "resnet18+",
        "resnet18 resnet34",
        "resnet18/٢x٢",
    ],
)
def test_bad_text_says_what_is_allowed(text):
    with pytest.raises(BadConfiguration, match=r"SOURCE\[@LAYER\]"):
        parse(text)


@pytest.mark.parametrize("text", ["resnet18/0x1", "resnet18/1x0"])
def test_no_bins(text):
    with pytest.raises(BadConfiguration, match="at least 1x1"):
        parse(text)


def test_an_unknown_source_lists_the_known_ones():
    with pytest.raises(BadConfiguration) as caught:
        parse("resnet35")
    message = str(caught.value)
    assert "did you mean" in message
    assert all(
        name in message for name in ("alexnet", "resnet34", "squeezenet1_1", "efficientnet_lite0", "logmel", "fake")
    )


def test_a_source_without_default_layer_wants_one():
    with pytest.raises(BadConfiguration, match="vit_b_16@LAYER"):
        parse("vit_b_16")
    assert parse("vit_b_16@encoder")[0].layer == "encoder"


def test_logmel_has_no_layers():
    with pytest.raises(BadConfiguration, match="no layers"):
        parse("logmel@features")


def test_a_representation_is_not_fused_with_itself():
    with pytest.raises(BadConfiguration, match="with itself"):
        parse("resnet18+resnet18@layer4")


def test_known_sources_are_torchvision_classification_models_and_ours():
    known = known_sources()
    assert {"vgg16", "convnext_tiny", *_COMMON} <= set(known)
    assert known[-3:] == ["efficientnet_lite0", "logmel", "fake"]
    assert not any("rcnn" in name or "deeplab" in name for name in known)
