"""The published grids by their commands, small: every model, beside the published figures, and nothing done twice."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import run_humwatch
from recordings import machine, tone, wav, write_zip

from humwatch.flows.grids import BACKBONES, DETECTORS, GridPart, benchmark
from humwatch.storage.errors import BadConfiguration
from humwatch.tasks.settings import AUTOENCODER_NAMES

SMALL = (
    "images.image_size_px=160",
    "images.window_hop_frames=64",
    "spectrogram.hop_samples=256",
    "fit.seeds=[3]",
    "fit.gmm_components=2",
    "fit.autoencoder_epochs=1",
    "evaluation.bootstrap_samples=100",
)
OPTIONS = tuple(part for assignment in SMALL for part in ("--set", assignment))
LEFT_OUT = ("--skip", "lenet_dcae")
RANDOM = ("--set", "features.random_weights=true")


def table(ran, name):
    return pd.read_csv(Path(ran.summary["report"]).parent / f"{name}.csv")


@pytest.fixture(scope="module")
def mimii(tmp_path_factory):
    members = machine("fan/id_00", 4, 2, duration_s=1.5)
    return write_zip(tmp_path_factory.mktemp("mimii") / "-6_dB_plant.zip", members)


def test_the_whole_grid_of_the_paper_and_nothing_twice(mimii, tmp_path):
    ran = run_humwatch("benchmark", "mimii", mimii, "--lake", tmp_path, *OPTIONS, *RANDOM)
    assert ran.status == 0, ran.stderr
    models = table(ran, "models")
    grid = {(backbone, detector) for backbone in BACKBONES for detector in DETECTORS}
    grid |= {("logmel/64x64/mean", name) for name in AUTOENCODER_NAMES}
    of_paper = models[models["preset"] == "paper"]
    assert set(zip(of_paper["backbone"], of_paper["detector"], strict=True)) == grid
    assert models["mean_auc"].notna().all()
    assert (models["n_machines"] == 1).all()
    published = table(ran, "published")
    assert len(published) == 22
    assert published["auc"].notna().all()
    assert (published["difference"] - (published["auc"] - published["published_auc"])).abs().max() < 1e-9
    first = published.set_index(["machine_id", "network", "published_detector"])["published_auc"]
    assert first["id_00", "LeNet-DCAE", "-"] == 0.491
    pairs = table(ran, "comparisons").query("machine_type == 'all' and domain == 'all'")
    assert len(pairs) == 24 * 23 / 2
    # spectrograms are shared between the parts, features between the detectors
    decoded = [part["recordings_decoded"] for part in ran.summary["parts"]]
    assert decoded == [6, 0, 0, 0, 0, 0]
    again = run_humwatch("benchmark", "mimii", mimii, "--lake", tmp_path, *OPTIONS, *RANDOM)
    assert again.status == 0, again.stderr
    assert again.summary["report"] == ran.summary["report"]
    for count in ("recordings_decoded", "windows_embedded", "models_fitted", "recordings_scored"):
        assert sum(part[count] for part in again.summary["parts"]) == 0


def test_absent_weights_and_what_is_left_out_are_rows_with_their_reason(tmp_path):
    members = {}
    for index in range(5):
        domain = ("source", "target")[index // 4]
        members[f"ToyCar/train/section_00_{domain}_train_normal_{index:04d}_spd_1.wav"] = wav(
            tone(index, duration_s=1.5)
        )
    for index in range(6):
        label, domain = ("normal", "anomaly")[index % 2], ("source", "target")[index // 3]
        sound = wav(tone(50 + index, duration_s=1.5, frequency_hz=900.0 if label == "anomaly" else 440.0))
        members[f"ToyCar/test/section_00_{domain}_test_{label}_{index:04d}_spd_1.wav"] = sound
    archive = write_zip(tmp_path / "dev_ToyCar.zip", members)
    nowhere = {"TORCH_HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:9"}
    options = (*OPTIONS, *LEFT_OUT, "--backbone", "efficientnet_lite0", "--backbone", "alexnet")
    ran = run_humwatch("benchmark", "dcase", archive, "--lake", tmp_path / "lake", *options, env=nowhere)
    assert ran.status == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    models = table(ran, "models").set_index(["backbone", "detector"])
    assert {row["backbone"] for row in ran.summary["absent"]} == {"resnet18", "resnet34", "alexnet"}
    assert "no weights for resnet18" in models.loc[("resnet18", "gmm"), "reason"]
    assert models.loc[("resnet18", "gmm"), "n_machines"] == 0
    there = models[models["reason"].isna()]
    assert len(there) == len(models) - 4
    assert there.loc[("efficientnet_lite0", "gmm"), "preset"] == "paper"
    assert models.index.is_unique
    assert models.loc[("logmel/64x64/mean", "lenet_dcae"), "reason"] == "left out"
    assert ("logmel/64x64/mean", "dense_ae") in there.index
    figures = ["mean_auc_source", "mean_auc_target", "mean_pauc", "hmean_dcase", "hmean_dcase_2021"]
    assert there[figures].notna().all(axis=None)
    page = Path(ran.summary["report"]).read_text()
    assert "no weights for resnet18" in page


def test_what_is_not_in_a_grid_cannot_be_left_out_nor_all_of_it_nor_what_is_no_backbone_added(tmp_path):
    with pytest.raises(BadConfiguration, match="knn: not in the benchmark dcase, which has alexnet, dense_ae, gmm"):
        benchmark("dcase", "lake", [], None, {}, (), ["knn"])
    with pytest.raises(BadConfiguration, match="nonsense"):  # before anything is run: the source is not even looked for
        benchmark("dcase", str(tmp_path / "lake"), ["/nowhere.zip"], None, {}, (), (), ["nonsense"])
    assert not (tmp_path / "lake").exists()
    assert GridPart("paper", ("alexnet",), ("gmm", "kde")).without({"gmm", "kde"}) is None
    assert GridPart("paper", ("alexnet",), ("gmm", "kde")).without({"alexnet"}) is None
    assert GridPart("default").without({"gmm"}) == GridPart("default")
