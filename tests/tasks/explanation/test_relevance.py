"""Where a recording departs from normal, on noise with a tone whose place in frequency and time is known."""

import numpy as np
import pytest

from humwatch.tasks.detectors.calibration import make_folds
from humwatch.tasks.detectors.machine_model import fit_machine_model
from humwatch.tasks.explanation.reference import Reference
from humwatch.tasks.explanation.relevance import MOST_FRAMES, marked_area, relevance_map
from humwatch.tasks.features.embed import Embedder
from humwatch.tasks.plan.representations import parse
from humwatch.tasks.settings import DETECTOR_NAMES, FeatureSettings, FitSettings, ImageSettings, SpectrogramSettings

MELS, FRAMES = 32, 96
IMAGES = ImageSettings(window_frames=32, window_hop_frames=16, image_size_px=64)
SPECTROGRAM = SpectrogramSettings(n_mels=MELS)
ABSOLUTE = SpectrogramSettings(n_mels=MELS, reference="full_scale")
FIT = FitSettings(gmm_components=2, isolation_forest_trees=16, kde_bandwidth=1.0, ocsvm_nu=0.1)
LEVELS_DB = np.linspace(-20, -50, MELS)[:, None]
TONE, WHEN = slice(20, 24), slice(40, 60)


def noise(seed, frames=FRAMES):
    """A spectrum that falls with frequency, in noise of 3 dB."""
    values = LEVELS_DB + 3 * np.random.default_rng(seed).normal(size=(MELS, frames))
    return values.astype(np.float32)


def with_tone(logmel, when=WHEN):
    changed = logmel.copy()
    changed[TONE, when] += 25
    return changed


NORMAL = [noise(seed) for seed in range(24)]
REFERENCE = Reference.of(NORMAL, IMAGES, SPECTROGRAM)
FAULTY = with_tone(noise(100))
INSIDE = np.zeros((MELS, FRAMES), dtype=bool)
INSIDE[TONE, WHEN] = True


class Machine:
    """A model of the noise, and what it takes to explain it."""

    def __init__(self, text="logmel/32x1", detector="mahalanobis", **fit):
        self.representations = parse(text)
        self.embedder = Embedder(self.representations, FeatureSettings(device="cpu", batch_size=8), IMAGES, SPECTROGRAM)
        embedded = self.embedder.embed(np.stack(NORMAL), np.full(len(NORMAL), FRAMES))
        windows = [embedded[each] for each in self.representations]
        settings = FIT.model_copy(update=fit)
        self.model = fit_machine_model(detector, windows, settings, 0, make_folds([None] * len(NORMAL), 3, 0)).model

    def explain(self, logmel, reference=REFERENCE):
        return relevance_map(logmel, reference, self.model, self.representations, self.embedder, IMAGES)


@pytest.fixture(scope="module")
def logmel():
    return Machine()


@pytest.mark.parametrize("detector", DETECTOR_NAMES)
@pytest.mark.parametrize("text", ["logmel/32x1", "fake/4x1"])
def test_every_detector_points_at_the_tone(detector, text):
    relevance = Machine(text, detector).explain(FAULTY)
    assert relevance.dtype == np.float32
    assert relevance.shape == FAULTY.shape
    assert relevance.min() >= 0
    assert relevance.max() == 1
    assert INSIDE[np.unravel_index(relevance.argmax(), relevance.shape)]


@pytest.mark.parametrize(
    "text", ["logmel/32x1/recording", "logmel/32x1+fake/4x1", "fake/4x1+logmel/32x1/mean,std/recording"]
)
@pytest.mark.parametrize("fusion", ["zscore", "rank"])
def test_recordings_as_a_whole_and_fused_representations(text, fusion):
    relevance = Machine(text, "knn", fusion=fusion).explain(FAULTY)
    assert INSIDE[np.unravel_index(relevance.argmax(), relevance.shape)]


def test_the_same_recording_has_the_same_map(logmel):
    np.testing.assert_array_equal(logmel.explain(FAULTY), Machine().explain(FAULTY))


def test_only_windows_that_make_the_score_are_relevant():
    mean, largest = (Machine(pooling=pooling).explain(FAULTY) for pooling in ("mean", "max"))
    scored = [slice(start, start + 32) for start in (0, 16, 32, 48, 64)]
    assert all(mean[:, frames].any() for frames in scored)
    (relevant,) = np.nonzero(largest.any(axis=0))
    assert relevant.min() == 32  # the window from 32 to 63 holds the whole tone
    assert relevant.max() == 63


def test_frames_after_the_last_window_drove_nothing(logmel):
    relevance = logmel.explain(with_tone(noise(101, FRAMES + 10), slice(80, FRAMES + 10)))
    assert relevance[:, 80:FRAMES].any()
    assert not relevance[:, FRAMES:].any()


def test_of_a_long_recording_the_stretch_with_the_tone_is_explained(logmel):
    at = 2 * MOST_FRAMES
    relevance = logmel.explain(with_tone(noise(102, 3 * MOST_FRAMES), slice(at, at + 20)))
    mel, frame = np.unravel_index(relevance.argmax(), relevance.shape)
    assert 20 <= mel < 24
    assert at <= frame < at + 20
    (relevant,) = np.nonzero(relevance.any(axis=0))
    assert relevant.max() - relevant.min() < MOST_FRAMES


def test_a_recording_like_its_examples_has_no_relevance(logmel):
    reference = Reference.of(NORMAL[:1], IMAGES, SPECTROGRAM)
    assert not logmel.explain(NORMAL[0], reference).any()


def test_a_recording_shorter_than_a_window_is_refused(logmel):
    with pytest.raises(ValueError, match="31 frames"):
        logmel.explain(noise(1, 31))


def test_a_band_that_takes_over_the_maximum_is_no_departure_of_all_others():
    quieter = with_tone(noise(103), slice(None)) - 12  # 0 dB is the recording's maximum
    departure = REFERENCE.departure(quieter).mean(axis=1)
    assert departure[TONE].min() > 5
    assert np.delete(departure, np.r_[TONE]).max() < 2
    absolute = Reference.of(NORMAL, IMAGES, ABSOLUTE).departure(quieter).mean(axis=1)
    assert np.delete(absolute, np.r_[TONE]).min() > 5


def test_departure_by_hand():
    reference = Reference.of([np.array([[0, 2, 4], [1, 1, 1]], np.float32)], ImageSettings(window_frames=4), ABSOLUTE)
    np.testing.assert_allclose(reference.mean_db, [2, 1])
    np.testing.assert_allclose(reference.spread_db, [np.std([0, 2, 4]), 0.5])
    np.testing.assert_allclose(
        reference.departure(np.array([[2, -2], [1, 3]], np.float32))[:, 1], [4 / np.std([0, 2, 4]), 4]
    )
    with pytest.raises(ValueError, match="normal recording"):
        Reference.of([], IMAGES, SPECTROGRAM)


def test_the_marked_area_is_what_is_most_relevant_and_never_more_than_allowed():
    relevance = np.arange(100, dtype=np.float32).reshape(10, 10)
    np.testing.assert_array_equal(marked_area(relevance), relevance >= 75)
    np.testing.assert_array_equal(marked_area(relevance, 1.0), relevance > 0)
    assert not marked_area(np.ones((10, 10), np.float32)).any()
    assert not marked_area(np.zeros((10, 10), np.float32)).any()
    sparse = np.zeros((10, 10), np.float32)
    sparse[3, 4] = 0.2
    np.testing.assert_array_equal(marked_area(sparse), sparse > 0)
