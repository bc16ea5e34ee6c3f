"""Clips: what is chosen, and what a browser gets to play."""

import io

import numpy as np
import pandas as pd
import pytest
import report_samples as samples
import soundfile

from humwatch.tasks.reports.clips import choose_clips, encode_clip


def decoded(data: bytes) -> tuple[np.ndarray, int]:
    return soundfile.read(io.BytesIO(data), dtype="float32")


def strongest_hz(signal: np.ndarray, rate_hz: int) -> float:
    return float(np.fft.rfftfreq(signal.size, 1 / rate_hz)[np.abs(np.fft.rfft(signal)).argmax()])


def test_the_same_samples_give_the_same_bytes():
    assert encode_clip(samples.tone(), 16_000, 10.0) == encode_clip(samples.tone(), 16_000, 10.0)


def test_quiet_clips_are_brought_to_one_peak_and_keep_their_shape():
    quiet = samples.tone() * np.float32(0.01)
    data, mime = encode_clip(quiet, 16_000, 10.0)
    signal, rate_hz = decoded(data)
    assert (mime, rate_hz) == ("audio/mpeg", 16_000)
    assert np.abs(signal).max() == pytest.approx(10 ** (-1 / 20), rel=0.05)
    assert np.corrcoef(signal[: quiet.size], quiet[: signal.size])[0, 1] > 0.99


def test_only_the_beginning_is_packed():
    signal, rate_hz = decoded(encode_clip(samples.tone(5.0), 16_000, 2.0)[0])
    assert signal.size / rate_hz == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize(
    ("from_hz", "to_hz"), [(6_000, 8_000), (16_000, 16_000), (20_000, 16_000), (48_000, 24_000), (96_000, 24_000)]
)
def test_rates_that_mp3_lacks_are_resampled(from_hz, to_hz):
    signal, rate_hz = decoded(encode_clip(samples.tone(2.0, from_hz, 500.0), from_hz, 10.0)[0])
    assert rate_hz == to_hz
    assert signal.size / rate_hz == pytest.approx(2.0, abs=0.1)
    assert strongest_hz(signal, rate_hz) == pytest.approx(500, abs=2)


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_ten_seconds_of_noise_stay_below_a_hundred_kilobytes(rate_hz):
    noise = np.random.default_rng(0).normal(0, 0.2, 10 * rate_hz).astype(np.float32)
    assert len(encode_clip(noise, rate_hz, 10.0)[0]) < 100_000


def test_silence_is_a_clip():
    signal, _ = decoded(encode_clip(np.zeros(16_000, np.float32), 16_000, 10.0)[0])
    assert np.abs(signal).max() < 1e-3


@pytest.mark.parametrize("bad", [np.zeros(0), np.zeros((10, 2)), np.array([0.0, np.nan]), np.array([np.inf])])
def test_what_cannot_be_heard_is_refused(bad):
    with pytest.raises(ValueError, match="one channel"):
        encode_clip(bad.astype(np.float32), 16_000, 10.0)


def scores(*rows) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["recording_id", "site", "machine_id", "score", "p_value"])
    constant = {
        "machine_type": "fan",
        "condition": None,
        "backbone": "a",
        "detector": "gmm",
        "seed": 0,
        "in_training": False,
    }
    return frame.assign(**constant)


NIGHT = scores(
    ("a1", "x", "id_00", 1.0, 0.5),
    ("a2", "x", "id_00", 3.0, 0.2),
    ("a3", "x", "id_00", 2.0, 0.3),
    ("b1", "y", "id_00", 9.0, 0.01),
    ("b2", "y", "id_00", 8.0, 0.02),
    ("c1", None, "id_02", 0.1, None),
)


def test_machines_take_turns_the_smallest_p_value_first():
    assert choose_clips(NIGHT, 2, 10)["recording_id"].tolist() == ["b1", "a2", "c1", "b2", "a3"]
    assert choose_clips(NIGHT, 1, 10)["recording_id"].tolist() == ["b1", "a2", "c1"]
    assert choose_clips(NIGHT, 2, 4)["recording_id"].tolist() == ["b1", "a2", "c1", "b2"]
    assert choose_clips(NIGHT, 0, 10).empty
    assert choose_clips(NIGHT, 3, 0).empty
    assert list(choose_clips(NIGHT, 1, 1).columns) == list(NIGHT.columns)


def test_the_order_of_the_rows_of_one_model_does_not_matter():
    assert choose_clips(NIGHT[::-1], 2, 10).equals(choose_clips(NIGHT, 2, 10))


def test_conditions_are_machines_of_their_own():
    loud = NIGHT.assign(condition="6_dB", recording_id="loud_" + NIGHT["recording_id"])
    assert len(choose_clips(pd.concat([NIGHT, loud]), 1, 10)) == 6


def test_only_the_first_model_its_lowest_seed_and_unseen_scored_recordings_count():
    others = [
        NIGHT.assign(detector="knn", score=99.0),
        NIGHT.assign(seed=1, score=99.0),
        scores(("seen", "x", "id_00", 99.0, None)).assign(in_training=True),
        scores(("broken", "x", "id_00", None, None)),
    ]
    assert choose_clips(pd.concat([NIGHT, *others]), 1, 10)["recording_id"].tolist() == ["b1", "a2", "c1"]


def test_no_scores_make_no_clips():
    assert choose_clips(NIGHT.head(0), 3, 10).empty
