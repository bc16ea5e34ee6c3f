"""Pins: every key of the shipped presets, as commit 0246e29 made them.

A key that changes makes every lake compute anew what it names, so a change here needs a reason and a changelog entry.
"""

import pytest

from humwatch.flows.presets import PRESETS, load
from humwatch.tasks.plan.run import Run

_DEFAULT = "knn-logmel_64x1_mean_std_recording_squeezenet1_1_features.10_8x1_mean_std_record"
_FAST = "knn-logmel_64x1_mean_std_recording-s0"
SPECTROGRAMS = {
    "default": "logmel-64-1024-512-6e662a",
    "paper": "logmel-64-1024-256-d18fb7",
    "fast": "logmel-64-1024-512-6e662a",
}
FEATURES = {
    "default": ["logmel--7ea936", "squeezenet1_1-features.10-98ef07"],
    "paper": ["resnet34-layer4-02c8fa"],
    "fast": ["logmel--7ea936"],
}
# Of each variant: the key of models and scores, the key of judged nights.
MODELS_AND_NIGHTS = {
    ("default", "labelled"): [(f"{_DEFAULT}-e153bf", f"{_DEFAULT}-4af478")],
    ("default", "assumed_normal"): [(f"{_DEFAULT}-fc5fa7", f"{_DEFAULT}-7d6bda")],
    ("paper", "labelled"): [
        ("gmm-resnet34-s0-1d6841", "gmm-resnet34-s0-d7ab25"),
        ("gmm-resnet34-s1-fa51c0", "gmm-resnet34-s1-0488bc"),
        ("gmm-resnet34-s2-bc35cf", "gmm-resnet34-s2-4175db"),
        ("gmm-resnet34-s3-d0d067", "gmm-resnet34-s3-32aecf"),
        ("gmm-resnet34-s4-9c6afa", "gmm-resnet34-s4-3d8af1"),
    ],
    ("paper", "assumed_normal"): [
        ("gmm-resnet34-s0-e1a665", "gmm-resnet34-s0-b396eb"),
        ("gmm-resnet34-s1-d489a6", "gmm-resnet34-s1-c89d94"),
        ("gmm-resnet34-s2-f1aad1", "gmm-resnet34-s2-50776a"),
        ("gmm-resnet34-s3-b396ac", "gmm-resnet34-s3-cb6d8f"),
        ("gmm-resnet34-s4-37828f", "gmm-resnet34-s4-85c00a"),
    ],
    ("fast", "labelled"): [(f"{_FAST}-4d2bc3", f"{_FAST}-31850d")],
    ("fast", "assumed_normal"): [(f"{_FAST}-274b39", f"{_FAST}-0d698f")],
}


def run_of(preset, training="labelled"):
    return Run("lake", load(preset, None, {"fit": {"training": training}}))


def test_every_preset_is_pinned():
    assert set(PRESETS) == set(SPECTROGRAMS) == set(FEATURES) == {preset for preset, _ in MODELS_AND_NIGHTS}


@pytest.mark.parametrize("preset", PRESETS)
def test_the_keys_of_spectrograms_and_features(preset):
    run = run_of(preset)
    assert run.spectrogram_key == SPECTROGRAMS[preset]
    assert [run.embedding.key(representation) for representation in run.representations] == FEATURES[preset]


@pytest.mark.parametrize(("preset", "training"), MODELS_AND_NIGHTS)
def test_the_keys_of_models_scores_and_nights(preset, training):
    run = run_of(preset, training)
    made = [(run.model_key(variant), run.nights_key(variant)) for variant in run.variants]
    assert made == MODELS_AND_NIGHTS[preset, training]
