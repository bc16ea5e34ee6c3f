"""Which recordings the page lets one hear, and how they are packed.

MP3, because libsndfile writes it with the same bytes each time (an Ogg stream carries a random serial number) and every
browser plays it.
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pandas as pd
import soundfile
import soxr

from humwatch.storage.tables import MACHINE

# Of the rates MPEG layer III knows, those that keep ten seconds below 100 kB.
_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000)
_PEAK = 10 ** (-1 / 20)  # -1 dBFS: headroom for the overshoot of a lossy codec


def encode_clip(samples: npt.NDArray[np.float32], sample_rate_hz: int, max_s: float) -> tuple[bytes, str]:
    """Pack the beginning of a recording for a browser.

    The clip is brought to a peak of -1 dBFS so that quiet machines can be heard; loudness is therefore not comparable
    from clip to clip, and the page says so. Rates MP3 lacks, and rates above 24 kHz, are resampled downwards
    (soxr HQ; below 8 kHz: up to 8 kHz).

    Args:
        samples: float32 (sample,), one channel, full scale = 1, finite.
        sample_rate_hz: Samples per second.
        max_s: What lies beyond so many seconds is left out.

    Returns:
        The bytes (the same for the same input) and their MIME type.

    Raises:
        ValueError: There are no samples, or they are not one channel of finite values.
    """
    if samples.ndim != 1 or samples.size == 0 or not np.isfinite(samples).all():
        raise ValueError("a clip is one channel of at least one finite sample")
    clip = samples[: max(1, round(max_s * sample_rate_hz))].astype(np.float32)
    rate_hz = max((rate for rate in _RATES_HZ if rate <= sample_rate_hz), default=_RATES_HZ[0])
    if rate_hz != sample_rate_hz:
        clip = soxr.resample(clip, sample_rate_hz, rate_hz, quality="HQ")
    peak = float(np.abs(clip).max(initial=0.0))
    if peak > 0:
        clip = clip * np.float32(_PEAK / peak)
    buffer = io.BytesIO()
    soundfile.write(
        buffer, clip, rate_hz, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode="VARIABLE", compression_level=0.0
    )
    return buffer.getvalue(), "audio/mpeg"


def choose_clips(scores: pd.DataFrame, top: int, max_clips: int) -> pd.DataFrame:
    """The recordings worth a look: each machine's most abnormal ones, machines taking turns.

    Only the first row's backbone and detector count, at their lowest seed, and only recordings with a score outside the
    training data. Every machine's highest score comes first, then every machine's second, and so on; within
    a turn the smallest p-value leads, so that a tight `max_clips` keeps the machines most likely to be broken.

    Args:
        scores: The scores table with `site` and `seed`; its first row names the model shown.
        top: Recordings of one machine (and condition) at most.
        max_clips: Recordings at most.

    Returns:
        Rows of `scores`, index kept, in the order of the page.
    """
    rows = scores[~scores["in_training"].astype(bool) & scores["score"].notna()]
    if rows.empty:
        return rows
    first = scores.iloc[0]
    rows = rows[(rows["backbone"] == first["backbone"]) & (rows["detector"] == first["detector"])]
    rows = rows[rows["seed"] == rows["seed"].min()]
    rows = rows.sort_values(["score", "recording_id"], ascending=[False, True], kind="stable")
    turn = rows.groupby(MACHINE, dropna=False, sort=False).cumcount()
    rows = rows.assign(_turn=turn)[turn < top]
    ordered: pd.DataFrame = rows.sort_values(["_turn", "p_value", *MACHINE], kind="stable", na_position="last")
    return ordered.head(max_clips).drop(columns="_turn")
