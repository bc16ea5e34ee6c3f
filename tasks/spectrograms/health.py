"""What is measured on a decoded recording; the verdict on it is `humwatch.tasks.plan.verdicts`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from humwatch.tasks.plan.verdicts import FLOOR_DBFS
from humwatch.tasks.settings import HealthSettings
from humwatch.tasks.sound.decode import Audio

_FRAME_S = 0.05
_FIFTHS = np.arange(5) / 5  # of a frame: the 10 ms pieces that are looked at for samples that never change
_PIECE_SAMPLES = 1 << 20  # of a signal that are measured at once
# Largest positive sample of the coarsest common converter: 16 bits are often kept in 24, 32 or float.
_FULL_SCALE_16_BIT = 1 - 2.0**-15
_FULL_SCALE_8_BIT = 1 - 2.0**-7


@dataclass(frozen=True)
class Health:
    """Facts of the channel heard, before resampling; levels and fractions over its finite samples.

    Attributes:
        sample_rate_hz: of the file.
        channels: in the file.
        channels_heard: how many of them these facts are of.
        duration_s: all samples / rate.
        rms_dbfs: total RMS, DC included; 0 dBFS = a full-scale square wave; at least `FLOOR_DBFS`.
        ac_rms_dbfs: RMS about the mean: the same without the DC offset.
        peak_dbfs: largest magnitude; same scale and floor.
        clipped_fraction: share of samples at full scale (16-bit full scale or above; for 8-bit files, theirs), 0-1.
        silent_fraction: share of 50 ms frames quieter than `silent_rms_dbfs` (the last may be shorter), 0-1.
        constant_fraction: share of samples in whole 10 ms pieces that never change and are no clipping, 0-1: gaps that
            are filled with zeros or with the last sample. The noise of a microphone changes from sample to sample.
        dc_offset: mean, full scale = 1.
        nonfinite_fraction: share of NaN and infinite samples, 0-1. With no finite sample the rest is that of silence.
        dead_channel: the samples never change, digital silence included.
        sound_hash: the same for the same samples at the same rate, whatever the file they are in.
    """

    sample_rate_hz: int
    channels: int
    channels_heard: int
    duration_s: float
    rms_dbfs: float
    ac_rms_dbfs: float
    peak_dbfs: float
    clipped_fraction: float
    silent_fraction: float
    constant_fraction: float
    dc_offset: float
    nonfinite_fraction: float
    dead_channel: bool
    sound_hash: str


def measure(audio: Audio, signal: npt.NDArray[np.float32], settings: HealthSettings) -> Health:
    """Measure `signal`, float32 (frame,), at least one sample: a channel heard of `audio`, at the file's own rate.

    In pieces, so that a long recording takes no more memory than a short one.
    """
    frame = max(1, round(_FRAME_S * audio.sample_rate_hz))
    full_scale = _FULL_SCALE_8_BIT if audio.subtype in ("PCM_U8", "PCM_S8") else _FULL_SCALE_16_BIT
    n_finite = n_clipped = n_frames = n_silent = n_constant = 0
    total = total_power = 0.0
    lowest, highest = np.inf, -np.inf
    for piece in _finite_pieces(signal, frame):
        lowest, highest = min(lowest, piece.min()), max(highest, piece.max())
        total += piece.sum()
        if max(-lowest, highest) >= full_scale:
            n_clipped += int(np.count_nonzero(np.abs(piece) >= full_scale))
        power = np.square(piece)
        total_power += power.sum()
        starts = np.arange(0, len(piece), frame)
        frame_power = np.add.reduceat(power, starts) / np.diff(starts, append=len(piece))
        n_silent += int(np.count_nonzero(_dbfs(frame_power) < settings.silent_rms_dbfs))
        n_frames += len(starts)
        n_constant += _n_constant(piece, starts, frame, full_scale)
        n_finite += len(piece)
    if not n_finite:
        lowest = highest = 0.0
    mean_power, offset = total_power / max(1, n_finite), total / max(1, n_finite)
    return Health(
        sample_rate_hz=audio.sample_rate_hz,
        channels=audio.stored.shape[1],
        channels_heard=1,
        duration_s=len(signal) / audio.sample_rate_hz,
        rms_dbfs=float(_dbfs(mean_power)),
        ac_rms_dbfs=float(_dbfs(mean_power - offset**2)),
        peak_dbfs=float(_dbfs(max(-lowest, highest) ** 2)),
        clipped_fraction=n_clipped / max(1, n_finite),
        silent_fraction=n_silent / n_frames if n_frames else 1.0,
        constant_fraction=n_constant / max(1, n_finite),
        dc_offset=float(offset),
        nonfinite_fraction=1 - n_finite / len(signal),
        dead_channel=bool(lowest == highest),
        sound_hash=blake2b(signal.data, digest_size=8, salt=str(audio.sample_rate_hz).encode()).hexdigest(),
    )


def _finite_pieces(signal: npt.NDArray[np.float32], frame: int) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the finite samples of a signal, none where there are none; all pieces but the last are whole frames."""
    rest = np.zeros(0, np.float32)
    for start in range(0, len(signal), _PIECE_SAMPLES):
        piece = signal[start : start + _PIECE_SAMPLES]
        finite = np.isfinite(piece)
        joined = np.concatenate([rest, piece if finite.all() else piece[finite]])
        is_last = start + _PIECE_SAMPLES >= len(signal)
        end = len(joined) if is_last else len(joined) - len(joined) % frame
        rest = joined[end:]
        if end:
            yield joined[:end].astype(np.float64)


def _n_constant(piece: npt.NDArray[np.float64], starts: npt.NDArray[np.intp], frame: int, full_scale: float) -> int:
    """Return how many samples lie in whole fifths of frames of `frame` samples that never change, below full scale."""
    edges = np.unique(starts[:, None] + (frame * _FIFTHS).astype(np.intp))
    edges = edges[edges < len(piece)]
    lengths = np.diff(edges, append=len(piece))
    lowest, highest = np.minimum.reduceat(piece, edges), np.maximum.reduceat(piece, edges)
    constant = (lowest == highest) & (np.abs(highest) < full_scale) & (lengths >= frame // len(_FIFTHS))
    return int(lengths[constant].sum())


def worst_of(channels: Sequence[Health]) -> Health:
    """Return the facts of several channels as those of their recording: of each fact that of the channel worst in it.

    So one broken microphone of eight is told, where a mean over all would hide it: the level is the quietest channel's,
    the peak the loudest's, fractions and DC offset the largest, and one dead channel is enough. `sound_hash` is that of
    all samples.
    """
    if len(channels) == 1:
        return channels[0]
    hashes = "".join(channel.sound_hash for channel in channels).encode()
    return replace(
        channels[0],
        channels_heard=len(channels),
        rms_dbfs=min(channel.rms_dbfs for channel in channels),
        ac_rms_dbfs=min(channel.ac_rms_dbfs for channel in channels),
        peak_dbfs=max(channel.peak_dbfs for channel in channels),
        clipped_fraction=max(channel.clipped_fraction for channel in channels),
        silent_fraction=max(channel.silent_fraction for channel in channels),
        constant_fraction=max(channel.constant_fraction for channel in channels),
        dc_offset=max((channel.dc_offset for channel in channels), key=abs),
        nonfinite_fraction=max(channel.nonfinite_fraction for channel in channels),
        dead_channel=any(channel.dead_channel for channel in channels),
        sound_hash=blake2b(hashes, digest_size=8).hexdigest(),
    )


def told_of(channels: Sequence[Health]) -> str:
    """Return which of several channels is the worst in what a recording may be rejected for; "" of a single one."""
    if len(channels) == 1:
        return ""
    quietest = min(range(len(channels)), key=lambda index: channels[index].rms_dbfs)
    clipped = max(range(len(channels)), key=lambda index: channels[index].clipped_fraction)
    told = [f"channel {quietest} is the quietest, {channels[quietest].rms_dbfs:.1f} dBFS"]
    if share := channels[clipped].clipped_fraction:
        told.append(f"channel {clipped} is clipped most, {share:.1%}")
    told += [f"channel {index} never changes" for index, channel in enumerate(channels) if channel.dead_channel]
    told += [f"channel {index} is not finite" for index, channel in enumerate(channels) if channel.nonfinite_fraction]
    return "; ".join(told)


def _dbfs(power: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return 10 * np.log10(np.maximum(power, 10 ** (FLOOR_DBFS / 10)))
