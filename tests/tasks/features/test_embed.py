import numpy as np
import pytest
import torch

from humwatch.storage.errors import BadConfiguration, WeightsNotFound
from humwatch.tasks.features.embed import Embedder, feature_size
from humwatch.tasks.features.images import ImageMaker
from humwatch.tasks.features.windows import cut
from humwatch.tasks.plan.representations import parse
from humwatch.tasks.settings import FeatureSettings, ImageSettings, SpectrogramSettings
from humwatch.tasks.weights.vision import models

torch.set_num_threads(1)
IMAGES = ImageSettings(image_size_px=64)
SPECTROGRAM = SpectrogramSettings()
N_FRAMES = np.array([313, 64, 0, 63, 200, 96])  # 8, 1, 0, 0, 5 and 2 windows
COUNTS = [8, 1, 0, 0, 5, 2]


def spectrograms(n_frames=N_FRAMES, n_mels=64, frames=313, seed=0):
    values = np.random.default_rng(seed).uniform(-80, 0, (len(n_frames), n_mels, frames)).astype(np.float32)
    for row, count in enumerate(n_frames):
        values[row, :, count:] = np.nan
    return values


def embedder(*texts, images=IMAGES, spectrogram=SPECTROGRAM, **features):
    settings = FeatureSettings(**{"random_weights": True, "device": "cpu", "batch_size": 4, **features})
    wanted = tuple(one for text in texts for one in parse(text))
    return Embedder(wanted, settings, images, spectrogram), wanted


def test_a_windows_features_are_torchvisions_on_its_image():
    made, (wanted,) = embedder("resnet18")
    features = made.embed(spectrograms(), N_FRAMES)[wanted]
    assert features.dtype == np.float32
    assert features.shape == (6, 8, 512)
    torch.manual_seed(0)
    model = models.resnet18(weights=None).eval()
    model.fc = torch.nn.Identity()
    for row, (values, n_frames, count) in enumerate(zip(spectrograms(), N_FRAMES, COUNTS, strict=True)):
        assert np.isnan(features[row, count:]).all()
        if count:
            with torch.inference_mode():
                expected = model(ImageMaker(IMAGES, 80.0)(cut(values, n_frames, IMAGES))).numpy()
            assert np.abs(features[row, :count] - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("text", "precision"),
    [
        ("fake/2x2/mean,std", "float32"),
        ("resnet18", "float32"),
        ("squeezenet1_1/1x1", "float32"),
        ("alexnet", "float32"),
        ("efficientnet_lite0", "float32"),
        ("resnet18", "bfloat16"),
    ],
)
def test_the_same_bits_however_rows_are_split_into_calls(text, precision):
    made, (wanted,) = embedder(text, precision=precision)
    values = spectrograms()
    whole = made.embed(values, N_FRAMES)[wanted]
    again = made.embed(values, N_FRAMES)[wanted]
    np.testing.assert_array_equal(again, whole)
    for splits in ([1, 2, 3, 4, 5], [4]):
        parts = [
            made.embed(part, count)[wanted]
            for part, count in zip(np.split(values, splits), np.split(N_FRAMES, splits), strict=True)
        ]
        for part, expected in zip(parts, np.split(whole, splits), strict=True):
            np.testing.assert_array_equal(part, expected[:, : part.shape[1]])
            assert np.isnan(expected[:, part.shape[1] :]).all()


def test_another_embedder_gives_the_same_bits():
    first, (wanted,) = embedder("resnet18")
    second, _ = embedder("resnet18")
    np.testing.assert_array_equal(*(made.embed(spectrograms(), N_FRAMES)[wanted] for made in (first, second)))


def test_batch_size_changes_rounding_at_most():
    (small, (wanted,)), (large, _) = embedder("resnet18", batch_size=1), embedder("resnet18", batch_size=32)
    results = [made.embed(spectrograms(), N_FRAMES)[wanted] for made in (small, large)]
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-5)


def test_representations_together_equal_each_alone():
    texts = ("fake", "resnet18@layer2/2x2", "logmel", "resnet18", "fake/mean,std/recording", "logmel/8x1/recording")
    made, wanted = embedder(*texts)
    together = made.embed(spectrograms(), N_FRAMES)
    assert tuple(together) == wanted
    for text in texts:
        alone, (one,) = embedder(text)
        np.testing.assert_array_equal(together[one], alone.embed(spectrograms(), N_FRAMES)[one])
        assert together[one].shape[2] == made.feature_size(one)


def test_log_mel_windows_are_described_by_mean_and_std_of_each_band():
    made, (wanted,) = embedder("logmel")
    features = made.embed(spectrograms(), N_FRAMES)[wanted]
    assert features.shape == (6, 8, 128)
    window = spectrograms()[4][:, 96:160].astype(np.float64)  # the fourth window of the fifth recording
    expected = np.concatenate([window.mean(axis=1), window.std(axis=1)])
    np.testing.assert_allclose(features[4, 3], expected, rtol=1e-6)


def test_log_mel_of_a_recording_is_over_its_own_frames():
    made, (wanted, halves) = embedder("logmel/recording", "logmel/1x2/mean/recording")
    found = made.embed(spectrograms(), N_FRAMES)
    for row in (0, 1, 4, 5):
        own = spectrograms()[row][:, : N_FRAMES[row]].astype(np.float64)
        np.testing.assert_allclose(
            found[wanted][row, 0], np.concatenate([own.mean(axis=1), own.std(axis=1)]), rtol=1e-6
        )
    own = spectrograms()[4][:, :200].astype(np.float64)
    np.testing.assert_allclose(found[halves][4, 0], [own[:, :100].mean(), own[:, 100:].mean()], rtol=1e-6)
    assert np.isnan(found[wanted][[2, 3]]).all()


def test_log_mel_cells_may_be_kept_as_they_are():
    made, (wanted,) = embedder("logmel/64x64/mean")
    features = made.embed(spectrograms(), N_FRAMES)[wanted]
    np.testing.assert_array_equal(features[4, 4].reshape(64, 64), spectrograms()[4][:, 128:192])


def test_a_recording_is_the_statistics_of_all_its_windows():
    made, (maps, vector) = embedder("resnet18/recording", "resnet18@fc/mean,std/recording")
    windows, (one_map, one_vector) = embedder("resnet18", "resnet18@fc")
    found, per_window = made.embed(spectrograms(), N_FRAMES), windows.embed(spectrograms(), N_FRAMES)
    assert found[maps].shape == (6, 1, 512)
    assert found[vector].shape == (6, 1, 2000)
    for row, count in enumerate(COUNTS):
        if not count:
            assert np.isnan(found[maps][row]).all()
            continue
        np.testing.assert_allclose(found[maps][row, 0], per_window[one_map][row, :count].mean(axis=0), rtol=1e-5)
        own = per_window[one_vector][row, :count]
        expected = np.concatenate([own.mean(axis=0), own.std(axis=0)])
        np.testing.assert_allclose(found[vector][row, 0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("n_frames", [[0, 63], []])
def test_nothing_to_embed(n_frames):
    made, (per_window, per_recording) = embedder("fake", "logmel/recording")
    found = made.embed(spectrograms(n_frames), np.array(n_frames, dtype=int))
    assert found[per_window].shape == (len(n_frames), 0, 16)
    assert found[per_recording].shape == (len(n_frames), 1, 128)
    assert np.isnan(found[per_recording]).all()


def test_values_that_are_not_finite_within_a_recording_are_an_error():
    values = spectrograms()
    values[4, 10, 199] = np.nan
    with pytest.raises(ValueError, match="row 4 holds NaN"):
        embedder("fake")[0].embed(values, N_FRAMES)


@pytest.mark.parametrize(
    ("text", "size"),
    [("resnet34", 512), ("squeezenet1_1", 2048), ("alexnet", 4096), ("efficientnet_lite0/mean,std", 2560),
     ("resnet18@layer1/4x2/mean,std/recording", 64 * 8 * 2), ("logmel", 128), ("logmel/16x4/mean/recording", 64)],
)  # fmt: skip
def test_the_size_is_known_without_weights(text, size):
    images = ImageSettings(image_size_px=224)
    assert feature_size(parse(text)[0], images, SPECTROGRAM) == size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alexnet/2x1", "1x1 cells"),
        ("resnet18/3x1", "2x2 cells"),
        ("logmel/65x1", "64x64 cells"),
        ("logmel/1x65", "64x64 cells"),
        ("alexnet/mean,std", "no std"),
        ("resnet18/2x2/mean,std", "no std"),
        ("resnet18@nowhere", "no layer 'nowhere'"),
    ],
)
def test_what_cannot_be_pooled_is_refused_before_anything_is_loaded(text, message):
    settings = FeatureSettings(device="cpu")  # resnet18 and alexnet have no weights here, and none are looked for
    with pytest.raises(BadConfiguration, match=message):
        Embedder(parse(text), settings, IMAGES, SPECTROGRAM)


def test_absent_weights_are_an_error_of_the_embedder(tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path))
    try:
        with pytest.raises(WeightsNotFound, match="no weights for resnet18"):
            embedder("resnet18", random_weights=False)
    finally:
        torch.hub.set_dir(before)


@pytest.mark.parametrize("text", ["fake", "fake/2x4/mean,std", "fake/2x1/recording", "logmel", "logmel/8x2/mean"])
def test_windows_pooled_from_one_map_are_the_windows_where_borders_play_no_part(text):
    """A cell of the fake backbone sees 8 x 8 pixels and nothing beyond: here 8 frames, and windows start every 32."""
    n_frames = np.array([313, 64, 0, 63, 2000, 96])  # 8, 1, 0, 0, 61 and 2 windows: strips of 8, 1, 3 x 16 + 13, 2
    values = spectrograms(n_frames, frames=2000)
    (each, (wanted,)), (shared, _) = embedder(text), embedder(text, fully_convolutional=True)
    expected, found = (made.embed(values, n_frames)[wanted] for made in (each, shared))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_same_bits_of_one_map_however_rows_are_split_into_calls():
    made, (wanted,) = embedder("resnet18", fully_convolutional=True, batch_size=32)
    values = spectrograms()
    whole = made.embed(values, N_FRAMES)[wanted]
    for rows in (slice(0, 1), slice(1, 4), slice(4, 6)):
        found, expected = made.embed(values[rows], N_FRAMES[rows])[wanted], whole[rows]
        np.testing.assert_array_equal(found, expected[:, : found.shape[1]])


def test_a_layer_without_a_map_cannot_be_pooled_from_one():
    with pytest.raises(BadConfiguration, match=r"needs a layer whose map grows .* alexnet@classifier\.5"):
        embedder("alexnet", fully_convolutional=True)


class SmallGpu:
    """A backbone with room for so many images, as a GPU that is out of memory behaves."""

    def __init__(self, backbone, room):
        self.backbone, self.room, self.passes = backbone, room, []

    def __call__(self, images):
        if len(images) > self.room:
            raise torch.OutOfMemoryError
        self.passes.append(len(images))
        return self.backbone(images)


def test_out_of_memory_halves_the_batch_and_goes_on():
    made, (wanted,) = embedder("fake", batch_size=8)
    expected = made.embed(spectrograms(), N_FRAMES)[wanted]
    small = made._backbones["fake"] = SmallGpu(made._backbones["fake"], room=3)
    np.testing.assert_allclose(made.embed(spectrograms(), N_FRAMES)[wanted], expected, rtol=1e-6, atol=1e-7)
    assert small.passes == [2] * 8  # 16 windows: 8 did not fit, nor 4; every pass after that is of 2
    small.room = 0
    with pytest.raises(torch.OutOfMemoryError):
        made.embed(spectrograms(), N_FRAMES)
