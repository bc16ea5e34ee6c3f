"""Pictures against analytic answers: where a frequency lies, what area a curve has, how high a bar is."""

import io
import re
import xml.etree.ElementTree as ET

import librosa
import numpy as np
import pytest
from PIL import Image

from humwatch.tasks.reports.svg import figures
from humwatch.tasks.reports.svg.curves import RocLine, roc_svg
from humwatch.tasks.reports.svg.figures import distribution_svg, interval_svg, spectrogram_png


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"), dtype=float)


def noise(frames: int = 313) -> np.ndarray:
    return np.random.default_rng(0).uniform(-80, 0, (64, frames)).astype(np.float32)


def test_a_spectrogram_is_small_and_always_the_same():
    png = spectrogram_png(noise(), 16_000, 512, 0.0, None)
    assert png == spectrogram_png(noise(), 16_000, 512, 0.0, None)
    assert Image.open(io.BytesIO(png)).size == (560, 210)
    assert len(png) < 60_000  # white noise is the worst case


def test_a_machines_spectrogram_is_below_forty_kilobytes():
    t = np.arange(160_000) / 16_000
    hum = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 20)) + 0.05 * np.random.default_rng(0).normal(
        size=t.size
    )
    mel = librosa.power_to_db(
        librosa.feature.melspectrogram(y=hum.astype(np.float32), sr=16_000, n_fft=1024, n_mels=64)
    )
    assert len(spectrogram_png(mel.astype(np.float32), 16_000, 512, 0.0, None)) < 40_000


def test_low_bands_are_at_the_bottom_and_time_runs_to_the_right():
    logmel = np.full((64, 100), -80, dtype=np.float32)
    logmel[:16, 50:] = 0
    picture = pixels(spectrogram_png(logmel, 16_000, 512, 0.0, None))
    axes = picture[12:165, 65:490]
    assert axes[-30:, -100:].mean() > 200
    assert axes[-30:, :100].mean() < 40
    assert axes[:30].mean() < 40


@pytest.mark.parametrize(
    ("n_mels", "fmin_hz", "fmax_hz"), [(64, 0.0, 8000.0), (128, 50.0, 11_025.0), (40, 0.0, 24_000.0)]
)
def test_ticks_lie_on_the_band_of_their_frequency(n_mels, fmin_hz, fmax_hz):
    bands, labels = figures.mel_ticks(n_mels, fmin_hz, fmax_hz)
    centres_hz = librosa.mel_frequencies(n_mels + 2, fmin=fmin_hz, fmax=fmax_hz)
    inside = [(band, float(label) * 1000) for band, label in zip(bands, labels, strict=True) if 0 <= band <= n_mels - 1]
    assert len(inside) >= 4
    for band, hz in inside:
        assert np.interp(band + 1, np.arange(n_mels + 2), centres_hz) == pytest.approx(hz, rel=0.01)


def test_padding_and_silence_are_drawn_and_nothing_is_refused():
    logmel = noise(50)
    logmel[:, 30:] = np.nan
    assert spectrogram_png(logmel, 16_000, 512, 0.0, None) != spectrogram_png(logmel[:, :30], 16_000, 512, 0.0, None)
    assert spectrogram_png(np.zeros((64, 1), np.float32), 16_000, 512, 0.0, None)
    for nothing in (np.full((64, 3), np.nan, np.float32), np.zeros((64, 0), np.float32), np.zeros(64, np.float32)):
        with pytest.raises(ValueError, match="finite"):
            spectrogram_png(nothing, 16_000, 512, 0.0, None)


def curve(svg: str, number: int = 0) -> np.ndarray:
    path = [one for one in ET.fromstring(svg).iter("path") if one.get("class", "").startswith("roc")][number]
    points = np.array([pair.split() for pair in path.get("d").lstrip("M").split("L")], dtype=float)
    return np.c_[(points[:, 0] - 22) / 100, (104 - points[:, 1]) / 100]


def test_a_perfect_model_goes_through_the_corner():
    svg = roc_svg("k", "m", [RocLine(0, "perfect", np.array([0.0, 1.0]), np.array([2.0, 3.0]))], 0.1)
    points = curve(svg)
    assert [0.0, 1.0] in points.tolist()
    assert np.trapezoid(points[:, 1], points[:, 0]) == 1


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(3)
    normal, abnormal = rng.normal(0, 1, 40).round(1), rng.normal(0.8, 1, 30).round(1)
    pairs = np.subtract.outer(abnormal, normal)
    expected = (pairs > 0).mean() + 0.5 * (pairs == 0).mean()
    lines = [RocLine(0, "a", abnormal, normal), RocLine(1, "b", normal, abnormal)]
    points = curve(roc_svg("k", "m", lines, 0.1), 1)
    assert np.trapezoid(points[:, 1], points[:, 0]) == pytest.approx(expected, abs=0.003)
    assert (np.diff(points, axis=0) >= 0).all()


def test_the_strip_of_the_partial_auc_is_as_wide_as_its_rate():
    svg = roc_svg("k", "m", [RocLine(0, "a", np.zeros(2), np.ones(2))], 0.25)
    assert ET.fromstring(svg).find("rect").get("width") == "25.0"


def bars(svg: str, label: str) -> np.ndarray:
    path = next(one for one in ET.fromstring(svg).iter("path") if one.get("class") == f"bar {label}")
    return np.array(re.findall(r"M([\d.]+) \d+v-([\d.]+)", path.get("d")), dtype=float)


def test_bars_are_the_counts_of_their_lane():
    normal, abnormal = np.array([0.0, 0.0, 0.0, 10.0]), np.array([5.0])
    svg = distribution_svg("k", "m", [("normal", normal), ("abnormal", abnormal)], 7.5)
    left, height = bars(svg, "normal").T
    assert height.tolist() == [26.0, pytest.approx(26 / 3, abs=0.05)]
    assert left[0] == 64
    assert left[1] == pytest.approx(314 - 250 / 48, abs=0.1)
    assert bars(svg, "abnormal")[:, 0] == pytest.approx(64 + 250 * 0.5, abs=250 / 48)
    threshold = next(one for one in ET.fromstring(svg).iter("path") if one.get("class") == "threshold")
    assert threshold.get("d").startswith(f"M{64 + 250 * 0.75:.1f} ")
    assert "n = 4" in svg
    assert "threshold 7.5" in svg


def test_one_value_and_no_threshold_still_make_a_chart():
    svg = distribution_svg("k", "m", [("unlabelled", np.full(3, 2.0))], None)
    assert bars(svg, "unlabelled").shape == (1, 2)
    assert 'class="threshold"' not in svg
    assert "no threshold" in svg


def test_a_threshold_beyond_every_score_is_inside_the_chart():
    svg = distribution_svg("k", "m", [("normal", np.array([0.0, 1.0]))], 100.0)
    threshold = next(one for one in ET.fromstring(svg).iter("path") if one.get("class") == "threshold")
    assert threshold.get("d").startswith("M314.0 ")


def test_names_are_escaped_and_every_chart_describes_itself():
    name = "<script>alert(1)</script>"
    lines = [RocLine(0, name, np.zeros(2), np.ones(2))]
    for svg in (roc_svg("k", name, lines, 0.1), distribution_svg("k", name, [("normal", np.ones(2))], None)):
        assert "<script" not in svg
        root = ET.fromstring(svg)
        assert root.get("role") == "img"
        assert name in root.find("title").text
        assert root.find("desc").text
        assert root.get("aria-labelledby").split() == [root.find("title").get("id"), root.find("desc").get("id")]


def test_an_interval_spans_its_ends_on_the_unit_scale():
    assert "M61 5H88" in interval_svg(0.74, 0.61, 0.88)
    assert "cx=74 " in interval_svg(0.74, 0.61, 0.88)
    assert "H88" not in interval_svg(0.74, None, None)
