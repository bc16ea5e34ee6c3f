"""Drawings over nights: values where they belong, gaps where there are none, names of what happened."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from humwatch.tasks.reports.svg.charts import Level, Mark, history_svg, sparkline_svg
from humwatch.tasks.reports.svg.spectrogram import drivers_svg, spectrogram_svg
from humwatch.tasks.settings import SpectrogramSettings

NIGHTS = [f"2026-01-{day:02d}" for day in range(1, 6)]


def path(svg, style):
    return re.search(rf'<path class="{style}" d="([^"]*)"', svg)[1]


def points(svg, style="dots"):
    return [tuple(map(float, point.split())) for point in re.findall(r"[ML]([\d.]+ -?[\d.]+)", path(svg, style))]


def test_a_line_goes_through_its_values_in_their_proportions():
    svg = history_svg("k", "Title", NIGHTS, [0.0, 1.0, 2.0, 4.0, 3.0], floor=0.0)
    x, y = np.array(points(svg)).T
    assert np.diff(x) == pytest.approx([np.diff(x)[0]] * 4, abs=1)
    assert (y[0] - y) / (y[0] - y[1]) == pytest.approx([0, 1, 2, 4, 3], abs=0.02)
    assert y[0] == 100
    assert y.min() > 0


def test_a_night_without_a_value_is_a_gap():
    svg = history_svg("k", "Title", NIGHTS, [1.0, None, 2.0, 3.0, None])
    assert len(points(svg)) == 3
    assert re.sub(r"[\d. ]", "", path(svg, "line")) == "MML"


def test_levels_marks_and_the_shade_have_names_and_places():
    svg = history_svg(
        "k",
        "Title",
        NIGHTS,
        [0.0, 1.0, 2.0, 9.0, 9.5],
        levels=[Level("alarm", [None, *[9.0] * 4], "alarm"), Level("attention", [5.0] * 5, "attention", below=True)],
        marks=[
            Mark(NIGHTS[2], "onset", "onset"),
            Mark("2025-12-01", "long ago", "onset"),
            Mark(NIGHTS[4], "model b", "model"),
        ],
        shaded_from=NIGHTS[2],
        floor=0.0,
    )
    dots = points(svg)
    alarm, attention = points(svg, "level alarm"), points(svg, "level attention")
    assert alarm[-1][1] == dots[3][1]
    assert alarm[0][0] == dots[1][0]  # none is drawn where there was none
    assert attention[0][0] == dots[0][0]
    assert alarm[-1][0] == attention[-1][0] > dots[-1][0]
    assert ">alarm 9<" in svg
    assert ">attention 5<" in svg
    assert ">onset<" in svg
    assert ">model b<" in svg
    assert "long ago" not in svg
    assert path(svg, "mark onset").startswith(f"M{dots[2][0]:.0f} ")
    assert path(svg, "shade").startswith(f"M{dots[2][0]:.0f} ")


def test_names_that_would_run_into_each_other_are_left_out():
    marks = [Mark(night, f"model {night}", "model") for night in NIGHTS]
    svg = history_svg("k", "Title", NIGHTS, [1.0] * 5, marks=marks)
    assert svg.count('class="mark model"') == 5
    assert 1 <= svg.count(">model 2026") < 5


@pytest.mark.parametrize(
    "values", [[None] * 5, [0.0] * 5, [-3.0] * 5, [1e-9, 2e-9, 1e-9, 0.0, 1e-9], [1e6, 2e6, 1e6, 0, 5]]
)
def test_any_values_can_be_drawn(values):
    svg = history_svg("k", "Title", NIGHTS, values)
    assert "nan" not in svg
    assert "inf" not in svg
    assert all(0 <= y <= 100 for _, y in points(svg))


def test_one_night_can_be_drawn():
    assert len(points(history_svg("k", "Title", NIGHTS[:1], [1.0]))) == 1


def test_counts_are_bars_on_a_scale_of_whole_numbers():
    svg = history_svg("k", "Title", NIGHTS, [0, 1, 0, 0, 1], bars=True, floor=0.0)
    assert path(svg, "bars").count("z") == 5
    scale = re.findall(r'<text class="tick" x="0"[^>]*>([^<]*)<', svg)
    assert scale == ["0", "1"]


def test_names_in_drawings_stay_text():
    svg = history_svg("k", "<script>", ["<b>"], [1.0], marks=[Mark("<b>", "<i>", "model")])
    assert not re.search(r"<(script|b|i)>", svg)
    assert "&lt;script&gt;" in svg


def test_a_sparkline_tells_how_often_the_level_was_reached():
    svg = sparkline_svg([0.0, None, 0.5, 1.0, 1.0], "alarm")
    assert 'aria-label="4 nights, 2 at alarm level"' in svg
    heights = [float(point.split()[1]) for point in re.findall(r"[ML]([\d.]+ [\d.]+)", svg.split("<path d=")[1])]
    limit = float(re.search(r"M0 ([\d.]+)H", svg)[1])
    assert heights[0] == 20
    assert heights[2] == heights[3] == pytest.approx(limit)
    assert 'aria-label="no nights"' in sparkline_svg([None, None], "silent")


def test_a_spectrogram_has_its_cells_as_pixels_and_marks_what_drove_the_score():
    logmel = np.full((64, 40), -60.0, dtype=np.float32)
    logmel[10] = -20.0
    relevance = np.zeros((64, 40), dtype=np.float32)
    relevance[50, 5:9] = 1.0
    settings = SpectrogramSettings()
    shown, drove = (
        pixels(spectrogram_svg("s", "a.wav", logmel, settings)),
        pixels(drivers_svg("d", "a.wav", logmel, relevance, settings)),
    )
    assert shown.shape == drove.shape == (64, 40, 3)
    assert shown[63 - 10].mean() > shown[63 - 30].mean()
    red, _, blue = (drove[..., channel].astype(int) for channel in range(3))
    marked = red - blue > 60
    assert marked[63 - 50, 5:9].all()
    assert marked.sum() == 4


def pixels(svg):
    data = re.search(r'href="data:image/png;base64,([^"]+)"', svg)[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def test_a_map_of_another_shape_is_refused():
    logmel = np.zeros((64, 40), dtype=np.float32)
    with pytest.raises(ValueError, match="a map of"):
        drivers_svg("d", "a.wav", logmel, logmel[:, 1:], SpectrogramSettings())
