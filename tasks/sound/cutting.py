"""Clips of a long recording, decoded one after the other in one pass over the file; none of it is held whole."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import IO, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import soundfile

from humwatch.storage.reasons import Reason
from humwatch.tasks.sound.decode import Audio, decode, open_sound, read_frames, refuse_unknown_codec
from humwatch.tasks.sound.rejected import Rejected
from humwatch.tasks.sound.watched import Watched
from humwatch.tasks.sound.wav import WavHeader, is_wav, read_wav_header, wav_of

_SKIPPED_FRAMES = 1 << 18
_LEAD_IN_S = 1.0
"""Lossy codecs are decoded from this much before what is wanted: after a seek their decoders (Vorbis, MP3) are wrong at
first, by up to 4,000 samples."""
_EXACT_SEEKS = ("PCM", "FLOAT", "DOUBLE", "ULAW", "ALAW", "MS_ADPCM", "IMA_ADPCM")
_SHORTEST_REST_S = 0.001  # less than that left over is no clip


class Clip(NamedTuple):
    """A piece of a recording, in seconds from its start."""

    start_s: float
    length_s: float

    def frames(self, sample_rate_hz: int) -> tuple[int, int]:
        """Return its first frame and how many it has, both to the nearest one."""
        return round(self.start_s * sample_rate_hz), round(self.length_s * sample_rate_hz)


def clips_of(duration_s: float, longest_s: float, clip_s: float) -> list[Clip]:
    """Return the clips that a recording is cut into; none when it is not longer than `longest_s`.

    All have `clip_s`; the last one ends with the recording (to a millisecond) and so may overlap the one before it.
    """
    if duration_s <= longest_s:
        return []
    n_clips = max(1, math.ceil((duration_s - _SHORTEST_REST_S) / clip_s))
    last_s = max(0.0, math.floor((duration_s - clip_s) * 1000) / 1000)
    return [Clip(min(index * clip_s, last_s), clip_s) for index in range(n_clips)]


def decode_clips(file: IO[bytes], size_bytes: int, clips: Sequence[Clip]) -> Iterator[Audio | Rejected]:
    """Yield each clip's sound, equal to the same samples of the whole file; a clip that cannot be had is a `Rejected`.

    Of PCM, float, A-law and mu-law WAV only the clips' own bytes are read, and the header; other files are read on from
    clip to clip.

    Args:
        file: seekable.
        size_bytes: of the file.
        clips: in the order of the recording.

    Raises:
        HumwatchError: the file cannot be read; whatever `file` raises.
    """
    try:
        file.seek(0)
        header = read_wav_header(file, size_bytes) if is_wav(file.read(12)) else None
        if header is not None:
            refuse_unknown_codec(header)
    except Rejected as rejected:
        yield from (rejected for _ in clips)
        return
    if header is not None and header.is_sample_by_sample:
        yield from (_cut_out(file, header, clip) for clip in clips)
    else:
        yield from _decode_on(file, size_bytes, clips)


def _cut_out(file: IO[bytes], header: WavHeader, clip: Clip) -> Audio | Rejected:
    first, n_frames = clip.frames(header.sample_rate_hz)
    if first >= header.n_frames:
        return _beyond(clip, header.n_frames / header.sample_rate_hz)
    file.seek(header.data_start + first * header.frame_bytes)
    wanted = min(n_frames, header.n_frames - first) * header.frame_bytes
    samples = file.read(wanted)
    if len(samples) < wanted:
        return Rejected(Reason.TRUNCATED, f"{len(samples)} of {wanted} bytes of the clip")
    try:
        return replace(decode(wav_of(header, samples)), note=header.note)
    except Rejected as rejected:
        return rejected


def _decode_on(file: IO[bytes], size_bytes: int, clips: Sequence[Clip]) -> Iterator[Audio | Rejected]:
    watched = Watched(file)
    told = 0
    try:
        opened = open_sound(cast(IO[bytes], watched), size_bytes)
        with opened.sound as sound:
            reader = _Reader(sound)
            for clip in clips:
                audio = reader.read(clip)
                watched.raise_what_was_caught()
                yield audio if isinstance(audio, Rejected) else replace(audio, note=opened.note)
                told += 1
    except Rejected as rejected:
        watched.raise_what_was_caught()
        yield from (rejected for _ in clips[told:])
    except soundfile.LibsndfileError as error:
        watched.raise_what_was_caught()
        broken = Rejected(Reason.CORRUPT, error.error_string)
        yield from (broken for _ in clips[told:])


class _Reader:
    """Reads clips one after the other; the last one is held, so that the next may overlap it without a way back."""

    def __init__(self, sound: soundfile.SoundFile) -> None:
        self._sound = sound
        self._at = 0  # the frame to be read next: unseekable codecs cannot tell
        self._held = np.zeros((0, sound.channels), np.float32)  # frames up to there
        self._has_ended = False

    def read(self, clip: Clip) -> Audio | Rejected:
        """Return a clip's sound, or why it cannot be had."""
        sound = self._sound
        first, n_frames = clip.frames(sound.samplerate)
        if first >= sound.frames:
            return _beyond(clip, sound.frames / sound.samplerate)
        wanted = min(n_frames, sound.frames - first)
        if not first <= self._at <= first + min(wanted, len(self._held)) and not self._has_ended:
            self._go_to(first)
        if self._at < first or (self._has_ended and self._at < first + wanted):
            return self._ends_before_clip()
        kept = self._held[len(self._held) - (self._at - first) :]
        read = self._read_on(wanted - len(kept))
        samples = np.concatenate([kept, read]) if len(kept) else read
        if len(samples) < wanted:
            return self._ends_before_clip()
        self._held = samples
        return Audio(samples, int(sound.samplerate), str(sound.subtype))

    def _go_to(self, frame: int) -> None:
        """Go to a frame, or to the end before it: where a codec cannot seek, it is read on."""
        is_exact = str(self._sound.subtype).startswith(_EXACT_SEEKS)
        begin = frame if is_exact else max(0, frame - round(_LEAD_IN_S * self._sound.samplerate))
        if not begin <= self._at <= frame:
            with contextlib.suppress(soundfile.LibsndfileError):
                self._at = int(self._sound.seek(begin))
        self._held = self._held[:0]
        while self._at < frame and len(self._read_on(min(frame - self._at, _SKIPPED_FRAMES))):
            pass

    def _read_on(self, n_frames: int) -> npt.NDArray[np.float32]:
        samples = read_frames(self._sound, n_frames)
        self._at += len(samples)
        self._has_ended = len(samples) < n_frames
        return samples

    def _ends_before_clip(self) -> Rejected:
        return Rejected(Reason.TRUNCATED, f"it ends at {self._at / self._sound.samplerate:g} s, before the clip does")


def _beyond(clip: Clip, duration_s: float) -> Rejected:
    return Rejected(Reason.TRUNCATED, f"the file ends at {duration_s:g} s, before the clip at {clip.start_s:g} s")
