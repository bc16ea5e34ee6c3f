"""Bytes of a whole file -> samples -> one channel at one sample rate; what cannot be decoded is `Rejected`."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace
from typing import IO, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from humwatch.storage.reasons import Reason
from humwatch.tasks.sound.containers import refuse_cut, refuse_undecoded, unsupported
from humwatch.tasks.sound.mended import mended
from humwatch.tasks.sound.rejected import Rejected
from humwatch.tasks.sound.wav import WavHeader, is_wav, read_wav_header

LOWEST_SAMPLE_RATE_HZ = 100
"""Below it a header is damaged, and resampling it would fill the memory."""

_HEAD_BYTES = 4 << 10
_FREE_SAMPLES, _SAMPLES_PER_BYTE = 1 << 26, 64  # FLAC packs silence without bound: both exceeded is a bomb
OPEN_ENDED_FRAMES = (1 << 63) - 1
"""libsndfile's frame count for a FLAC stream whose header leaves it open."""
_OPEN_ENDED_BLOCK_FRAMES = 1 << 18
_MOST_CHANNELS = 1024  # libsndfile's
_BIT_DEPTH_16 = 16
_PIECE_FRAMES = 1 << 18  # averaged at once
_UNSUPPORTED = frozenset({4, 18, 106, 110, 123})  # libsndfile's numbers for codecs that it does not know
_LONGER_MPEG = "an MP3 that is longer than its first frame says (varying bit rate, or joined files)"
_MPEG_LENGTHS = (b"Xing", b"Info", b"VBRI")  # in the first frame of an MP3 that says how long it is
_MPEG_TOLERANCE_FRAMES = 2 * 1152  # some writers count the frame that says it


@dataclass(frozen=True)
class Audio:
    """Decoded sound: `stored` (frame, channel), int16 or float32; `subtype` in libsndfile's word (`PCM_16`).

    16-bit PCM, what nearly all corpora hold, stays a view of the file's bytes: only the channels used are converted.
    `note` says what of the file's header was not believed; "" when nothing.
    """

    stored: npt.NDArray[np.int16] | npt.NDArray[np.float32]
    sample_rate_hz: int
    subtype: str
    note: str = ""

    @property
    def samples(self) -> npt.NDArray[np.float32]:
        """All channels, float32 (frame, channel), full scale = 1."""
        return _full_scale_is_one(self.stored)


def decode(data: bytes) -> Audio:
    """Decode a whole file of any format that libsndfile reads, bit for bit as `soundfile.read(dtype="float32")` does.

    What it is is told by its content. Unlike libsndfile it refuses a file that ends before the samples its header
    promises; of a WAV's sizes see `wav.read_wav_header`. A packed WAV ends where its `fact` chunk says: the last block
    is padded.

    Raises:
        Rejected: EMPTY_FILE, NOT_AUDIO, UNSUPPORTED_FORMAT, TRUNCATED, CORRUPT, NO_CHANNELS, NO_SAMPLES, or TOO_LARGE
            for a FLAC that unpacks to more than 2**26 samples and more than 64 a byte. Whatever else a decoder raises
            is CORRUPT: one file that nobody foresaw costs its own row.
    """
    try:
        return _decode(data)
    except (Rejected, MemoryError):
        raise
    except Exception as error:
        raise Rejected(Reason.CORRUPT, f"the decoder failed: {type(error).__name__}: {error}") from error


def select_channel(audio: Audio, channel: int | Literal["mean"]) -> npt.NDArray[np.float32]:
    """One channel, counted from 0, or the mean over all: float32 (frame,), contiguous.

    Raises:
        Rejected: CHANNEL_MISSING.
    """
    if channel == "mean":
        mean = np.empty(len(audio.stored), np.float32)
        for start in range(0, len(mean), _PIECE_FRAMES):
            piece = audio.stored[start : start + _PIECE_FRAMES]
            mean[start : start + len(piece)] = _full_scale_is_one(piece).mean(axis=1, dtype=np.float64)
        return mean
    n_channels = audio.stored.shape[1]
    if not 0 <= channel < n_channels:
        raise Rejected(Reason.CHANNEL_MISSING, f"channel {channel} of {n_channels}")
    return np.ascontiguousarray(_full_scale_is_one(audio.stored[:, channel]))


def resample(signal: npt.NDArray[np.float32], from_hz: int, to_hz: int) -> npt.NDArray[np.float32]:
    """Resample float32 (frame,) with soxr HQ to ceil(frames * to / from), as `librosa.resample` does by default."""
    if from_hz == to_hz:
        return signal
    resampled = np.zeros(math.ceil(len(signal) * (float(to_hz) / from_hz)), np.float32)
    converted = soxr.resample(signal, from_hz, to_hz, quality="HQ")[: len(resampled)]  # may be a frame more or less
    resampled[: len(converted)] = converted
    return resampled


class _Forward(soundfile.SoundFile):  # type: ignore[misc] # soundfile has no types
    """A file that is read on, as soundfile reads what it believes not to be seekable; `seek` works all the same.

    Else soundfile seeks after each read to where the file is already: FLAC is searched anew, from the start where it is
    packed; Vorbis and MP3 may be wrong after it; GSM 6.10 and a FLAC of unknown length refuse.
    """

    def seekable(self) -> bool:
        return False


class Opened(NamedTuple):
    """A file that libsndfile reads.

    Attributes:
        sound: at its beginning.
        note: what of its header was not believed; "" when nothing.
        says_length: `sound.frames` is what the file says; else it is libsndfile's guess for an MP3, or none.
    """

    sound: soundfile.SoundFile
    note: str
    says_length: bool


def open_sound(file: IO[bytes], size_bytes: int) -> Opened:
    """Open a file of sound with libsndfile, or say why it cannot be.

    Raises:
        Rejected: NOT_AUDIO, UNSUPPORTED_FORMAT, TRUNCATED or CORRUPT.
    """
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    refuse_undecoded(head)
    refuse_cut(file, size_bytes)
    file, note = mended(file, size_bytes)
    file.seek(0)
    try:
        sound = _Forward(file)
    except soundfile.LibsndfileError as error:
        if error.code in _UNSUPPORTED and head[:4] != b"fLaC":  # of a damaged FLAC it says the same
            raise unsupported(f"its codec ({error.error_string.rstrip('.')})") from error
        raise Rejected(_reason_not_opened(head, size_bytes), error.error_string) from error
    if sound.samplerate < LOWEST_SAMPLE_RATE_HZ:
        sound.close()
        raise Rejected(Reason.CORRUPT, f"the header says {sound.samplerate} Hz")
    is_guess = sound.frames == OPEN_ENDED_FRAMES or (is_mpeg(sound) and not any(tag in head for tag in _MPEG_LENGTHS))
    return Opened(sound, note, says_length=not is_guess)


def refuse_bomb(n_samples: int, size_bytes: int, samples_per_byte: int = _SAMPLES_PER_BYTE) -> None:
    """Refuse a file that has, or says it has, more than 2**26 samples and more than so many a byte.

    Raises:
        Rejected: TOO_LARGE.
    """
    if n_samples > max(_FREE_SAMPLES, samples_per_byte * size_bytes):
        raise Rejected(Reason.TOO_LARGE, f"{n_samples} samples or more from {size_bytes} bytes")


def is_mpeg(sound: soundfile.SoundFile) -> bool:
    """Whether the codec is MP3 or its kin, in whatever container."""
    return str(sound.subtype).startswith("MPEG")


def refuse_rest(sound: soundfile.SoundFile, file: IO[bytes]) -> None:
    """Refuse an MP3 that goes on where libsndfile, which has read it to the end it knows of, leaves off.

    Without a length in its first frame libsndfile takes the bit rate of that frame for the whole file's.

    Args:
        sound: read to its end.
        file: from which it is read.

    Raises:
        Rejected: UNSUPPORTED_FORMAT.
    """
    if not is_mpeg(sound):
        return
    if _is_mpeg_sync(file.read(2)):
        raise unsupported(_LONGER_MPEG)


def refuse_joined(file: IO[bytes]) -> None:
    """Refuse an MP3 that goes on behind the bytes that its first frame counts, as two files joined do.

    That is the frame named Xing or Info (LAME's tag): flags, then the number of frames, then that of bytes.

    Raises:
        Rejected: UNSUPPORTED_FORMAT.
    """
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    tag = max(head.find(b"Xing"), head.find(b"Info"))
    if tag < 0 or len(head) < tag + 16 or head[tag + 7] & 3 != 3:
        return
    # Behind the header of its frame and the side information, which depend on version and channels.
    possible = [tag - before for before in (36, 21, 13, 38, 23, 15) if before <= tag]
    start = next((at for at in possible if _is_mpeg_sync(head[at : at + 2])), None)
    if start is not None:
        file.seek(start + int.from_bytes(head[tag + 12 : tag + 16], "big"))
        if _is_mpeg_sync(file.read(2)):
            raise unsupported(_LONGER_MPEG)


def _is_mpeg_sync(two_bytes: bytes) -> bool:
    return len(two_bytes) == 2 and two_bytes[0] == 0xFF and two_bytes[1] & 0xE0 == 0xE0


def refuse_unknown_codec(header: WavHeader) -> None:
    """Refuse a WAV whose codec libsndfile does not decode.

    Raises:
        Rejected: UNSUPPORTED_FORMAT.
    """
    if header.undecoded_codec:
        raise unsupported(f"{header.undecoded_codec} in WAV")


def _decode(data: bytes) -> Audio:
    if not data:
        raise Rejected(Reason.EMPTY_FILE, "0 bytes")
    if not is_wav(data[:12]):
        return _decode_with_libsndfile(data)
    header = read_wav_header(io.BytesIO(data), len(data))
    refuse_unknown_codec(header)
    audio = _view_pcm_16(data, header) if header.is_plain else None
    if audio is not None:
        return audio
    audio = _decode_with_libsndfile(data)
    return replace(audio, stored=audio.stored[: header.frames_of(len(audio.stored))])


def _decode_with_libsndfile(data: bytes) -> Audio:
    file = io.BytesIO(data)
    opened = open_sound(file, len(data))
    with opened.sound as sound:
        try:
            samples = _read(sound, len(data))
        except soundfile.LibsndfileError as error:
            raise Rejected(Reason.CORRUPT if _end_decodes(data) else Reason.TRUNCATED, error.error_string) from error
        tolerance = _MPEG_TOLERANCE_FRAMES if is_mpeg(sound) else 0
        if opened.says_length and len(samples) < sound.frames - tolerance:
            raise Rejected(Reason.TRUNCATED, f"{len(samples)} of {sound.frames} samples")
        if not len(samples):
            raise Rejected(Reason.NO_SAMPLES, "the header says 0 frames")
        refuse_rest(sound, file)
        return Audio(samples, int(sound.samplerate), str(sound.subtype), opened.note)


def _reason_not_opened(head: bytes, size_bytes: int) -> Reason:
    if head[:4] == b"fLaC":
        return Reason.CORRUPT if _flac_metadata_is_whole(head, size_bytes) else Reason.TRUNCATED
    known = is_wav(head[:12]) or head[:4] in (b"FORM", b".snd", b"dns.", b"caff", b"riff", b"OggS")
    return Reason.CORRUPT if known else Reason.NOT_AUDIO


def _full_scale_is_one(stored: npt.NDArray[np.int16] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    if stored.dtype == np.float32:
        return stored.astype(np.float32, copy=False)
    return np.multiply(stored, np.float32(2**-15), dtype=np.float32)


def _view_pcm_16(data: bytes, header: WavHeader) -> Audio | None:
    """Return little-endian 16-bit PCM without a copy; None for whatever is less plain, which libsndfile decodes."""
    channels, frame_bytes = header.channels, header.frame_bytes
    is_plain = header.sample_bits == _BIT_DEPTH_16 and frame_bytes == 2 * channels <= 2 * _MOST_CHANNELS
    if not is_plain or header.n_frames == 0 or header.sample_rate_hz < LOWEST_SAMPLE_RATE_HZ:
        return None
    stored = np.frombuffer(data, "<i2", header.n_frames * channels, header.data_start)
    return Audio(stored.reshape(header.n_frames, channels), header.sample_rate_hz, "PCM_16")


def _flac_metadata_is_whole(head: bytes, size_bytes: int) -> bool:
    """Whether the metadata blocks (RFC 9639, section 8) end inside the file, as far as its head tells."""
    at = 4
    while at + 4 <= len(head):
        is_last = head[at] & 0x80
        at += 4 + int.from_bytes(head[at + 1 : at + 4], "big")
        if is_last:
            return at <= size_bytes
    return False


def read_frames(file: soundfile.SoundFile, n_frames: int) -> npt.NDArray[np.float32]:
    """Read on for `n_frames`, or to the end: float32 (frame, channel).

    Raises:
        soundfile.LibsndfileError: it cannot be decoded.
    """
    samples: npt.NDArray[np.float32] = file.read(n_frames, dtype="float32", always_2d=True)
    return samples


def _read(file: soundfile.SoundFile, size_bytes: int) -> npt.NDArray[np.float32]:
    if file.frames != OPEN_ENDED_FRAMES:
        refuse_bomb(file.frames * file.channels, size_bytes)
        return read_frames(file, file.frames)
    blocks: list[npt.NDArray[np.float32]] = []
    while not blocks or len(blocks[-1]) == _OPEN_ENDED_BLOCK_FRAMES:
        blocks.append(read_frames(file, _OPEN_ENDED_BLOCK_FRAMES))
        refuse_bomb(len(blocks) * _OPEN_ENDED_BLOCK_FRAMES * file.channels, size_bytes)
    return np.concatenate(blocks)


def _end_decodes(data: bytes) -> bool:
    """Whether the last frame the header promises is there: then the damage is in the middle."""
    with soundfile.SoundFile(io.BytesIO(data)) as file:  # a new one: the other's decoder is lost
        try:
            file.seek(file.frames - 1)
        except soundfile.LibsndfileError:
            return False
    return True
