"""What a file of sound says of itself before it is decoded, read in few small pieces from wherever it lies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import IO, cast

import soundfile

from humwatch.storage.reasons import Reason
from humwatch.tasks.sound.decode import (
    LOWEST_SAMPLE_RATE_HZ,
    is_mpeg,
    open_sound,
    read_frames,
    refuse_bomb,
    refuse_joined,
    refuse_rest,
    refuse_unknown_codec,
)
from humwatch.tasks.sound.rejected import Rejected
from humwatch.tasks.sound.watched import Watched
from humwatch.tasks.sound.wav import chunks_behind, is_wav, read_wav_header

_COUNTED_FRAMES = 1 << 18
_SAMPLES_PER_BYTE = 256  # twice that of Opus at 6 kbit/s in stereo: a file is cut into no more clips than are in it
_CODECS = {
    (1, 8): "PCM_U8", (1, 16): "PCM_16", (1, 24): "PCM_24", (1, 32): "PCM_32", (3, 32): "FLOAT", (3, 64): "DOUBLE",
    (6, 8): "ALAW", (7, 8): "ULAW",
}  # fmt: skip


@dataclass(frozen=True)
class SoundHeader:
    """What a header says.

    Attributes:
        container: libsndfile's word, `WAV` for all its kin (RF64, BW64, RIFX).
        codec: libsndfile's word, `PCM_16`.
        sample_rate_hz, channels: as it says.
        n_frames: samples of a channel that are there.
        chunks: bodies of a WAV's `bext`, `guan` and `LIST`, where they were asked for.
        note: what of the header was not believed; "" when nothing.
    """

    container: str
    codec: str
    sample_rate_hz: int
    channels: int
    n_frames: int
    chunks: dict[bytes, bytes]
    note: str

    @property
    def duration_s(self) -> float:
        """How long it is."""
        return self.n_frames / self.sample_rate_hz


def read_header(file: IO[bytes], size_bytes: int, *, with_chunks: bool = False) -> SoundHeader:
    """Read the header of a file of sound.

    No samples are decoded, except to count those of a FLAC or MP3 that does not say how many it has.

    Args:
        file: seekable.
        size_bytes: of the file.
        with_chunks: those of a WAV are wanted, which may stand at its end.

    Raises:
        Rejected: as `decode` of the whole file would, as far as a header tells.
        HumwatchError: the file cannot be read; whatever `file` raises.
    """
    file.seek(0)
    if not is_wav(file.read(12)):
        return _of_libsndfile(file, size_bytes, {})
    header = read_wav_header(file, size_bytes)
    refuse_unknown_codec(header)
    chunks = {**header.chunks, **chunks_behind(file, header, size_bytes)} if with_chunks else {}
    if not header.is_sample_by_sample:
        found = _of_libsndfile(file, size_bytes, chunks)
        return replace(found, n_frames=header.frames_of(found.n_frames))
    if header.sample_rate_hz < LOWEST_SAMPLE_RATE_HZ:
        raise Rejected(Reason.CORRUPT, f"the header says {header.sample_rate_hz} Hz")
    codec = _CODECS.get((header.tag, header.sample_bits), f"{header.sample_bits} bits")
    return SoundHeader("WAV", codec, header.sample_rate_hz, header.channels, header.n_frames, chunks, header.note)


def _of_libsndfile(file: IO[bytes], size_bytes: int, chunks: dict[bytes, bytes]) -> SoundHeader:
    watched = Watched(file)
    try:
        opened = open_sound(cast(IO[bytes], watched), size_bytes)
        with opened.sound as sound:
            n_frames = sound.frames if opened.says_length else _counted(sound, size_bytes)
            refuse_bomb(n_frames * sound.channels, size_bytes, _SAMPLES_PER_BYTE)
            watched.raise_what_was_caught()
            if not opened.says_length:
                refuse_rest(sound, cast(IO[bytes], watched))
            elif is_mpeg(sound):
                refuse_joined(file)
            container = "WAV" if sound.format in {"WAV", "WAVEX", "RF64"} else sound.format
            found = SoundHeader(
                container, sound.subtype, sound.samplerate, sound.channels, n_frames, chunks, opened.note
            )
    except soundfile.LibsndfileError as error:
        watched.raise_what_was_caught()
        raise Rejected(Reason.CORRUPT, error.error_string) from error
    finally:
        watched.raise_what_was_caught()
    return found


def _counted(sound: soundfile.SoundFile, size_bytes: int) -> int:
    """Return how many frames a file has that does not say it."""
    n_frames = 0
    while count := len(read_frames(sound, _COUNTED_FRAMES)):
        n_frames += count
        refuse_bomb(n_frames * sound.channels, size_bytes, _SAMPLES_PER_BYTE)
        if count < _COUNTED_FRAMES:
            break
    return n_frames
