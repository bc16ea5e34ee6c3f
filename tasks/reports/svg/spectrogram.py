"""A spectrogram for the page of a machine, and beside it what drove the score: one cell a pixel, axes as text."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from humwatch.tasks.reports.svg.figures import RANGE_DB, data_uri, mel_ticks
from humwatch.tasks.settings import SpectrogramSettings

Cells = npt.NDArray[np.float32]

_PICTURE_PX, _FOOT_PX = 150, 16
_GREY = np.linspace(22, 205, 256)  # leaves room for a colour on top
_DRIVER = np.array([255.0, 122.0, 24.0])


def spectrogram_svg(key: str, name: str, logmel: Cells, settings: SpectrogramSettings) -> Markup:
    """A log-mel spectrogram with axes in seconds and kilohertz, as wide as its place.

    Args:
        key: Prefix of the element ids, unique on the page.
        name: Of the recording.
        logmel: float32 (mel, frame), dB, at least one finite cell; colours span at most 80 dB below the loudest.
        settings: Those that made it.
    """
    return _svg(key, f"Log-mel spectrogram of {name}", _png(_colours(logmel)), logmel.shape, settings)


def drivers_svg(key: str, name: str, logmel: Cells, relevance: Cells, settings: SpectrogramSettings) -> Markup:
    """The same spectrogram in grey with what drove the score in colour: the stronger, the more it weighed.

    Args:
        key: Prefix of the element ids, unique on the page.
        name: Of the recording.
        logmel: float32 (mel, frame), dB.
        relevance: float32 (mel, frame), the cells' share in the score; at or below 0, or NaN: none.
        settings: Those that made the spectrogram.

    Raises:
        ValueError: The map has another shape than the spectrogram.
    """
    if relevance.shape != logmel.shape:
        raise ValueError(f"a map of {relevance.shape} for a spectrogram of {logmel.shape}")
    grey = np.repeat(_GREY[_levels(logmel)][..., None], 3, axis=2)
    weight = np.clip(np.nan_to_num(relevance, nan=0.0), 0, None)
    peak = float(weight.max())
    alpha = 0.9 * (weight / peak if peak > 0 else weight)[..., None]
    picture = ((1 - alpha) * grey + alpha * _DRIVER).round().astype(np.uint8)
    return _svg(key, f"What drove the score of {name}", _png(picture), logmel.shape, settings)


def _levels(logmel: Cells) -> npt.NDArray[np.uint8]:
    """Each cell's place, 0 to 255, in the range below the loudest one; NaN is at the bottom."""
    loudest = float(np.nanmax(logmel))
    quietest = max(float(np.nanmin(logmel)), loudest - RANGE_DB)
    scale = (np.nan_to_num(logmel, nan=quietest) - quietest) / ((loudest - quietest) or 1.0)
    levels: npt.NDArray[np.uint8] = np.clip(255 * scale, 0, 255).astype(np.uint8)
    return levels


def _colours(logmel: Cells) -> npt.NDArray[np.uint8]:
    from matplotlib import colormaps  # noqa: PLC0415 - too slow for a look

    table = (255 * colormaps["magma"](np.arange(256))[:, :3]).round().astype(np.uint8)
    picked: npt.NDArray[np.uint8] = table[_levels(logmel)]
    return picked


def _png(picture: npt.NDArray[np.uint8]) -> bytes:
    """RGB (mel, frame, 3), low frequencies first, as a PNG with low frequencies at the bottom."""
    from PIL import Image  # noqa: PLC0415 - as above

    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(picture[::-1]))
    image.quantize(128, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _svg(key: str, title: str, png: bytes, shape: tuple[int, ...], settings: SpectrogramSettings) -> Markup:
    n_mels, n_frames = shape
    seconds = n_frames * settings.hop_samples / settings.sample_rate_hz
    bands, labels = mel_ticks(n_mels, settings.fmin_hz, settings.fmax_hz or settings.sample_rate_hz / 2)
    heights = [min(max(_PICTURE_PX * (1 - (band + 0.5) / n_mels) + 4, 11), _PICTURE_PX - 3) for band in bands]
    text = [
        Markup('<text class="hz" x="4" y="{:.0f}">{}{}</text>').format(height, label, " kHz" if above is None else "")
        for height, above, label in zip(heights, [*heights[1:], None], labels, strict=True)
        if above is None or height - above > 12
    ]
    text += [
        Markup('<text class="tick" x="{:.1f}%" y="{}" text-anchor="{}">{:g}{}</text>').format(
            100 * second / seconds, _PICTURE_PX + 12, "middle" if second else "start", second, "" if second else " s"
        )
        for second in _seconds(seconds)
    ]
    return Markup(
        '<svg class="spectrogram" width="100%" height="{}" role="img" aria-labelledby="{key}t">'
        '<title id="{key}t">{}</title>'
        '<image width="100%" height="{}" preserveAspectRatio="none" href="{}"/>{}</svg>'
    ).format(_PICTURE_PX + _FOOT_PX, title, _PICTURE_PX, data_uri(png, "image/png"), Markup().join(text), key=key)


def _seconds(length_s: float) -> list[float]:
    """Round seconds on the axis, the last one clear of its end."""
    step = next((step for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 300) if length_s <= 6 * step), 1800)
    return [step * n for n in range(int(0.97 * length_s / step) + 1)]
