import matplotlib as mpl
import numpy as np
import pytest
import torch

from humwatch.storage.errors import BadConfiguration
from humwatch.tasks.features.images import ImageMaker
from humwatch.tasks.settings import ImageSettings
from humwatch.tasks.weights import vision  # noqa: F401 - makes `import torchvision` work beside any torch

torch.set_num_threads(1)


def windows_db(count=3, shape=(64, 64), top_db=80.0, seed=0):
    values = np.random.default_rng(seed).uniform(-top_db, 0, (count, *shape)).astype(np.float32)
    values[0, 0, :4] = [0.0, -top_db, -top_db / 2, -top_db / 256]  # both ends and exact borders between entries
    return values


def by_definition(windows, colormap, size_px, top_db):
    """Matplotlib's colour map, torchvision's resize and normalize, one window at a time."""
    from torchvision.transforms.v2 import functional  # after humwatch.tasks.weights.vision made it importable

    images = []
    for window in windows:
        rgb = mpl.colormaps[colormap]((window + np.float32(top_db)) / np.float32(top_db), bytes=True)[..., :3]
        image = torch.from_numpy(rgb.copy()).permute(2, 0, 1).to(torch.float32) / 255
        image = functional.resize(image, [size_px, size_px], antialias=True)
        images.append(functional.normalize(image, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return torch.stack(images)


@pytest.mark.parametrize(
    ("colormap", "size_px", "shape", "top_db"),
    [
        ("viridis", 224, (64, 64), 80.0),
        ("viridis", 96, (64, 64), 60.0),
        ("magma", 32, (64, 64), 80.0),  # shrinking: the antialiased case
        ("gray", 224, (128, 64), 80.0),
        ("tab10", 64, (40, 100), 80.0),  # a colour map of 10 entries
    ],
)
def test_images_are_matplotlibs_colours_resized_and_normalised_by_torchvision(colormap, size_px, shape, top_db):
    windows = windows_db(shape=shape, top_db=top_db)
    settings = ImageSettings(colormap=colormap, image_size_px=size_px, window_frames=shape[1])
    images = ImageMaker(settings, top_db)(windows)
    assert images.dtype == torch.float32
    assert images.shape == (3, 3, size_px, size_px)
    torch.testing.assert_close(images, by_definition(windows, colormap, size_px, top_db), rtol=0, atol=1e-5)


def test_without_a_resize_the_definition_holds_to_the_bit():
    windows = windows_db(count=20)
    images = ImageMaker(ImageSettings(image_size_px=64), 80.0)(windows)
    assert torch.equal(images, by_definition(windows, "viridis", 64, 80.0))


def test_an_image_is_within_one_step_of_pillows():
    from PIL import Image

    windows = windows_db()
    images = ImageMaker(ImageSettings(), 80.0)(windows)
    mean, std = (torch.tensor(values)[:, None, None] for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    for window, image in zip(windows, images, strict=True):
        rgb = Image.fromarray(mpl.colormaps["viridis"]((window + 80) / 80, bytes=True)[..., :3])
        expected = np.asarray(rgb.resize((224, 224), Image.Resampling.BILINEAR), dtype=np.float32)
        found = ((image * std + mean) * 255).round().permute(1, 2, 0).numpy()
        assert np.abs(found - expected).max() <= 1


def test_a_batch_is_its_windows_one_by_one():
    windows = windows_db(count=5)
    maker = ImageMaker(ImageSettings(), 80.0)
    together = maker(windows)
    for index in range(5):
        assert torch.equal(together[index], maker(windows[index : index + 1])[0])


def test_levels_outside_the_range_are_clamped():
    maker = ImageMaker(ImageSettings(image_size_px=64), 80.0)
    windows = windows_db(count=1)
    far = np.where(windows > -40, np.float32(25), np.float32(-200))
    near = np.where(windows > -40, np.float32(0), np.float32(-80))
    assert torch.equal(maker(far), maker(near))


def test_the_lowest_band_is_row_0_and_loud_is_bright():
    window = np.full((1, 64, 64), -80, dtype=np.float32)
    window[0, :8] = 0
    brightness = ImageMaker(ImageSettings(colormap="gray"), 80.0)(window)[0].mean(dim=(0, 2))
    assert brightness[:24].min() > brightness[40:].max()


def test_a_read_only_view_is_taken_without_warning(recwarn):
    windows = windows_db()
    windows.flags.writeable = False
    ImageMaker(ImageSettings(image_size_px=64), 80.0)(windows)
    assert not recwarn.list


def test_an_unknown_colour_map():
    with pytest.raises(BadConfiguration, match="'viridiss' is not a colour map"):
        ImageMaker(ImageSettings(colormap="viridiss"), 80.0)
