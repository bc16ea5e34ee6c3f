"""Pictures of the page: spectrograms as PNG, score distributions and intervals as SVG.

The SVG carries class names only; colours, dashes and the dark scheme are the style sheet's.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from humwatch.tasks.spectrograms.mel import hz_to_mel

FloatArray = npt.NDArray[np.float64]

_PANEL, _INK = "#14171b", "#d5dae0"  # a dark instrument panel that suits a light page and a dark one
_TICKS_HZ = (125, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000)
RANGE_DB = 80.0
_COLORS = 96  # a palette takes a third of the bytes of full colour
_BINS = 48
_LANE = 34


def spectrogram_png(
    logmel: npt.NDArray[np.float32], sample_rate_hz: int, hop_samples: int, fmin_hz: float, fmax_hz: float | None
) -> bytes:
    """Draw a log-mel spectrogram with axes in seconds and kilohertz.

    Args:
        logmel: float32 (n_mels, frame), dB; NaN (padding) is left blank.
        sample_rate_hz: Samples per second.
        hop_samples: Samples from frame to frame; frames are centred.
        fmin_hz: Lower edge of the mel bands (Slaney scale, as librosa).
        fmax_hz: Upper edge; None: half the sample rate.

    Returns:
        A PNG of 560 x 210 pixels; colours span at most the 80 dB below the loudest cell.

    Raises:
        ValueError: `logmel` is not a matrix with at least one finite cell.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - too slow for a look
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above
    from PIL import Image  # noqa: PLC0415 - as above

    if logmel.ndim != 2 or not np.isfinite(logmel).any():
        raise ValueError("a spectrogram is a matrix with at least one finite cell")
    n_mels, n_frames = logmel.shape
    frame_s = hop_samples / sample_rate_hz
    loudest = float(np.nanmax(logmel))
    figure = Figure(figsize=(5.6, 2.1), dpi=100, facecolor=_PANEL, layout="constrained")
    axes = figure.add_subplot(facecolor=_PANEL)
    image = axes.imshow(
        logmel,
        aspect="auto",
        origin="lower",
        cmap="magma",
        vmin=max(float(np.nanmin(logmel)), loudest - RANGE_DB),
        vmax=loudest,
        interpolation="nearest",
        extent=(-0.5 * frame_s, (n_frames - 0.5) * frame_s, -0.5, n_mels - 0.5),
    )
    bands, labels = mel_ticks(n_mels, fmin_hz, fmax_hz or sample_rate_hz / 2)
    axes.set_yticks(bands, labels)
    axes.set_xlabel("s", labelpad=1)
    axes.set_ylabel("kHz", labelpad=2)
    colorbar = figure.colorbar(image, ax=axes, pad=0.015, aspect=24)
    colorbar.set_label("dB", labelpad=4)
    for one in (axes, colorbar.ax):
        one.tick_params(colors=_INK, labelsize=8, length=3)
        one.xaxis.label.set(color=_INK, size=8)
        one.yaxis.label.set(color=_INK, size=8)
        for spine in one.spines.values():
            spine.set_visible(False)
    colorbar.outline.set_visible(False)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")  # type: ignore[no-untyped-call]
    buffer = io.BytesIO()
    picture.quantize(_COLORS, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def mel_ticks(n_mels: int, fmin_hz: float, fmax_hz: float) -> tuple[list[float], list[str]]:
    """Where round frequencies lie on an axis whose unit is the mel band; band i is centred on mel point i + 1."""
    low, high = (hz_to_mel(edge) for edge in (fmin_hz, fmax_hz))
    bands: list[float] = []
    labels: list[str] = []
    for tick_hz in _TICKS_HZ:
        if not fmin_hz < tick_hz <= fmax_hz:
            continue
        band = (hz_to_mel(tick_hz) - low) / (high - low) * (n_mels + 1) - 1
        band = min(max(band, -0.5), n_mels - 0.5)  # the outermost half band has no centre beyond it
        if bands and band - bands[-1] < n_mels / 12:
            continue
        bands.append(band)
        labels.append(f"{tick_hz / 1000:g}")
    return bands, labels


def distribution_svg(
    key: str, machine: str, lanes: Sequence[tuple[str, FloatArray]], threshold: float | None
) -> Markup:
    """Histograms of one model's scores, one lane a label, with the threshold as a dashed line.

    Args:
        key: Prefix of the element ids, unique on the page.
        machine: Name for the title.
        lanes: (label, scores (recording,) finite); at least one score in all. Each lane is scaled to its own peak.
        threshold: The model's threshold; None draws none.
    """
    edges = _edges(np.concatenate([scores for _, scores in lanes]), threshold)
    bottom = _LANE * len(lanes) + 12

    def x(value: float) -> float:
        return 64 + 250 * float((value - edges[0]) / (edges[-1] - edges[0]))

    parts = [Markup('<path class="frame" d="M64 {}H314"/>').format(bottom)]
    for lane, (label, scores) in enumerate(lanes):
        base = 12 + _LANE * (lane + 1)
        parts.append(
            Markup(
                '<path class="bar {label}" d="{bars}"/><path class="rule" d="M64 {base}H314"/>'
                '<text class="tick" x="60" y="{up}" text-anchor="end">{label}</text>'
                '<text class="tick" x="60" y="{down}" text-anchor="end">n = {n}</text>'
            ).format(
                label=label, bars=_bars(scores, edges, base), base=base, up=base - 14, down=base - 4, n=scores.size
            )
        )
    if threshold is not None:
        at = x(threshold)
        anchor = "end" if at > 189 else "start"
        parts.append(
            Markup(
                '<path class="threshold" d="M{at:.1f} 3V{bottom}"/>'
                '<text class="tick" x="{text:.1f}" y="9" text-anchor="{anchor}">threshold {value:.4g}</text>'
            ).format(at=at, bottom=bottom, text=at - 4 if anchor == "end" else at + 4, anchor=anchor, value=threshold)
        )
    counts = ", ".join(f"{scores.size} {label}" for label, scores in lanes)
    return Markup(
        '<svg class="chart" viewBox="0 0 320 {height}" role="img" aria-labelledby="{key}t {key}d">'
        '<title id="{key}t">Score distribution of {machine}</title>'
        '<desc id="{key}d">Histograms of {counts} recordings, scores {low:.4g} to {high:.4g}; {threshold}.</desc>'
        '{parts}<g class="tick"><text x="64" y="{foot}">{low:.4g}</text>'
        '<text x="189" y="{foot}" text-anchor="middle">score, higher = more abnormal</text>'
        '<text x="314" y="{foot}" text-anchor="end">{high:.4g}</text></g></svg>'
    ).format(
        height=bottom + 14,
        foot=bottom + 11,
        key=key,
        machine=machine,
        counts=counts,
        low=edges[0],
        high=edges[-1],
        threshold="no threshold" if threshold is None else f"threshold {threshold:.4g}",
        parts=Markup().join(parts),
    )


def _edges(scores: FloatArray, threshold: float | None) -> FloatArray:
    """Bin edges that hold every score and the threshold, and are never all the same."""
    values = scores if threshold is None else np.append(scores, threshold)
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, _BINS + 1)


def _bars(scores: FloatArray, edges: FloatArray, base: int) -> str:
    counts, _ = np.histogram(scores, edges)
    width = 250 / _BINS
    heights = counts / max(1, counts.max()) * (_LANE - 8)
    return "".join(
        f"M{64 + width * i:.1f} {base}v-{height:.1f}h{width - 0.6:.1f}V{base}z"
        for i, height in enumerate(heights)
        if height
    )


def interval_svg(value: float, low: float | None, high: float | None) -> Markup:
    """A point with its interval on the scale 0 to 1, the tick at 0.5; the figures stand beside it in text."""
    span = "" if low is None or high is None else f"M{100 * low:.0f} 5H{100 * high:.0f}"
    return Markup(
        '<svg class=iv viewBox="0 0 100 10" aria-hidden=true><path d="M50 0V10{}"/><circle cx={:.0f} cy=5 r=3 /></svg>'
    ).format(span, 100 * value)


def data_uri(data: bytes, mime: str) -> str:
    """The bytes as an address that needs no network."""
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"
