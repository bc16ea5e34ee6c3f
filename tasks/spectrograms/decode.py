"""Bytes of a WAV or FLAC file -> samples -> one channel at one sample rate; what cannot be decoded is `Rejected`."""

from __future__ import annotations

import io
import math
import struct
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from humwatch.storage.reasons import Reason

_WAV_MAGICS = (b"RIFF", b"RIFX", b"RF64")
_FORMATS = ("WAV", "WAVEX", "RF64", "FLAC")
_LOWEST_SAMPLE_RATE_HZ = 100  # below it a header is damaged, and resampling it would fill the memory
_FREE_SAMPLES, _SAMPLES_PER_BYTE = 1 << 28, 64  # FLAC packs silence without bound: both exceeded is a bomb
_OPEN_ENDED_FRAMES = (1 << 63) - 1  # libsndfile's frame count for a FLAC stream whose header leaves it open
_OPEN_ENDED_BLOCK_FRAMES = 1 << 18
_FMT = struct.Struct("<HHIIHH")  # tag, channels, rate, bytes a second, bytes a frame, bits of a sample
_PCM, _EXTENSIBLE = 0x0001, 0xFFFE
_PCM_GUID = bytes.fromhex("0100000000001000800000aa00389b71")
_MOST_CHANNELS = 1024  # libsndfile's
_SEEK_FAILED = 39  # libsndfile's SFE_BAD_SEEK


class Rejected(Exception):
    """A recording cannot be decoded: `reason` for the tables, `detail` for people."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


@dataclass(frozen=True)
class Audio:
    """Decoded sound: `stored` (frame, channel), int16 or float32; `subtype` in libsndfile's word (`PCM_16`).

    16-bit PCM, what nearly all corpora hold, stays a view of the file's bytes: only the channels used are converted.
    """

    stored: npt.NDArray[np.int16] | npt.NDArray[np.float32]
    sample_rate_hz: int
    subtype: str

    @property
    def samples(self) -> npt.NDArray[np.float32]:
        """All channels, float32 (frame, channel), full scale = 1."""
        return _full_scale_is_one(self.stored)


def decode(data: bytes) -> Audio:
    """Decode a whole WAV (RIFF, RIFX, RF64) or FLAC file, bit for bit as `soundfile.read(dtype="float32")` does.

    Unlike libsndfile it refuses a file that ends before the samples its header promises. Sizes that writers to a pipe
    leave in the header (all ones, or next to 2**31 or 2**32) mean "to the end".

    Raises:
        Rejected: EMPTY_FILE, NOT_AUDIO, TRUNCATED, CORRUPT, NO_CHANNELS, NO_SAMPLES, or TOO_LARGE for a FLAC that
            unpacks to more than 2**28 samples and more than 64 a byte. Whatever else a decoder raises is CORRUPT: one
            file that nobody foresaw costs its own row.
    """
    try:
        return _decode(data)
    except (Rejected, MemoryError):
        raise
    except Exception as error:
        raise Rejected(Reason.CORRUPT, f"the decoder failed: {type(error).__name__}: {error}") from error


def _decode(data: bytes) -> Audio:
    if not data:
        raise Rejected(Reason.EMPTY_FILE, "0 bytes")
    is_wav = data[:4] in _WAV_MAGICS and b"WAVE".startswith(data[8:12])
    if is_wav:
        chunks = _check_wav_chunks(data)
        audio = _view_pcm_16(data, chunks) if data[:4] == b"RIFF" else None
        if audio is not None:
            return audio
    try:
        file = soundfile.SoundFile(io.BytesIO(data))
    except soundfile.LibsndfileError as error:
        if data[:4] == b"fLaC":
            reason = Reason.CORRUPT if _flac_metadata_is_whole(data) else Reason.TRUNCATED
        else:
            reason = Reason.CORRUPT if is_wav else Reason.NOT_AUDIO
        raise Rejected(reason, error.error_string) from error
    with file:
        if file.format not in _FORMATS:
            raise Rejected(Reason.NOT_AUDIO, f"a file of format {file.format}")
        if file.samplerate < _LOWEST_SAMPLE_RATE_HZ:
            raise Rejected(Reason.CORRUPT, f"the header says {file.samplerate} Hz")
        try:
            samples = _read(file, max(_FREE_SAMPLES, _SAMPLES_PER_BYTE * len(data)))
        except soundfile.LibsndfileError as error:
            raise Rejected(Reason.CORRUPT if _end_decodes(data) else Reason.TRUNCATED, error.error_string) from error
        if not len(samples):
            raise Rejected(Reason.NO_SAMPLES, "the header says 0 frames")
        return Audio(samples, int(file.samplerate), str(file.subtype))


def select_channel(audio: Audio, channel: int | Literal["mean"]) -> npt.NDArray[np.float32]:
    """One channel, counted from 0, or the mean over all: float32 (frame,), contiguous.

    Raises:
        Rejected: CHANNEL_MISSING.
    """
    if channel == "mean":
        mean: npt.NDArray[np.float64] = audio.samples.mean(axis=1, dtype=np.float64)
        return mean.astype(np.float32)
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


def _full_scale_is_one(stored: npt.NDArray[np.int16] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    if stored.dtype == np.float32:
        return stored.astype(np.float32, copy=False)
    return np.multiply(stored, np.float32(2**-15), dtype=np.float32)


def _view_pcm_16(data: bytes, chunks: list[tuple[bytes, int, int]]) -> Audio | None:
    """Return little-endian 16-bit PCM without a copy; None for whatever is less plain, which libsndfile decodes."""
    formats = [data[at : at + size] for name, at, size in chunks if name == b"fmt "]
    _, start, size = chunks[-1]
    if len(formats) != 1 or len(formats[0]) < _FMT.size:
        return None
    tag, channels, rate_hz, _, frame_bytes, bits = _FMT.unpack_from(formats[0])
    # Valid bits, channel mask and the format's GUID, which says PCM.
    is_extensible = tag == _EXTENSIBLE and formats[0][18:20] == b"\x10\0" and formats[0][24:40] == _PCM_GUID
    is_plain = (tag == _PCM or is_extensible) and bits == 16 and frame_bytes == 2 * channels <= 2 * _MOST_CHANNELS
    n_frames = size // frame_bytes if is_plain else 0
    if not n_frames or start + size > len(data) or rate_hz < _LOWEST_SAMPLE_RATE_HZ:
        return None
    stored = np.frombuffer(data, "<i2", n_frames * channels, start).reshape(n_frames, channels)
    return Audio(stored, rate_hz, "PCM_16")


def _check_wav_chunks(data: bytes) -> list[tuple[bytes, int, int]]:
    """Walk the chunks up to the samples (EBU Tech 3306 for RF64): libsndfile reads what is there and says nothing.

    Returns:
        Name, first byte and size of each, that of the samples last.
    """
    order = ">" if data[:4] == b"RIFX" else "<"
    size64: int | None = None
    chunks: list[tuple[bytes, int, int]] = []
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from(f"{order}4sI", data, at)
        body = at + 8
        chunks.append((name, body, size))
        if name == b"ds64" and body + 16 <= len(data):
            (size64,) = struct.unpack_from("<Q", data, body + 8)
        elif name == b"fmt " and data[body + 2 : body + 4] == b"\0\0":
            raise Rejected(Reason.NO_CHANNELS, "the fmt chunk says 0 channels")
        elif name == b"data":
            promised = size64 if size64 is not None and size == 0xFFFFFFFF else size
            if promised > len(data) - body and not _means_to_the_end(promised):
                raise Rejected(Reason.TRUNCATED, f"{len(data) - body} of {promised} bytes of samples")
            return chunks
        at = body + size + size % 2  # chunks are padded to an even size
    (riff_size,) = struct.unpack_from(f"{order}I", data.ljust(8, b"\0"), 4)
    is_cut = len(data) < max(12, 8 + riff_size)
    raise Rejected(Reason.TRUNCATED if is_cut else Reason.CORRUPT, "no data chunk")


def _means_to_the_end(size: int) -> bool:
    """Whether a data size is what writers to a pipe leave: ffmpeg 2**32 - 1, sox and arecord just about 2**31."""
    return size == (1 << 64) - 1 or any(limit - (1 << 16) <= size <= limit for limit in (1 << 31, (1 << 32) - 1))


def _flac_metadata_is_whole(data: bytes) -> bool:
    """Whether the metadata blocks (RFC 9639, section 8) end inside the file."""
    at = 4
    while at + 4 <= len(data):
        is_last = data[at] & 0x80
        at += 4 + int.from_bytes(data[at + 1 : at + 4], "big")
        if is_last:
            return at <= len(data)
    return False


def _read(file: Any, max_samples: int) -> npt.NDArray[np.float32]:
    if file.frames == _OPEN_ENDED_FRAMES:
        return _read_open_ended(file, max_samples)
    _check_size(file.frames * file.channels, max_samples)
    # By number: without one soundfile refuses what libsndfile cannot seek in, such as GSM 6.10.
    samples: npt.NDArray[np.float32] = file.read(file.frames, dtype="float32", always_2d=True)
    return samples


def _read_open_ended(file: Any, max_samples: int) -> npt.NDArray[np.float32]:
    """Read a FLAC stream of unknown length.

    soundfile seeks to where it has read to, and libsndfile refuses to seek to the end of such a stream, although it
    has filled the buffer: the rows still NaN are those past the end (FLAC holds integers).
    """
    blocks: list[npt.NDArray[np.float32]] = []
    is_open = True
    while is_open:
        block = np.full((_OPEN_ENDED_BLOCK_FRAMES, file.channels), np.nan, np.float32)
        try:
            file.read(out=block)
        except soundfile.LibsndfileError as error:
            if error.code != _SEEK_FAILED:
                raise
            is_open = False
        blocks.append(block if is_open else block[~np.isnan(block[:, 0])])
        _check_size(len(blocks) * block.size, max_samples)
    return np.concatenate(blocks)


def _check_size(n_samples: int, max_samples: int) -> None:
    if n_samples > max_samples:
        raise Rejected(Reason.TOO_LARGE, f"{n_samples} samples or more from far fewer bytes")


def _end_decodes(data: bytes) -> bool:
    """Whether the last frame the header promises is there: then the damage is in the middle."""
    with soundfile.SoundFile(io.BytesIO(data)) as file:  # a new one: the other's decoder is lost
        try:
            file.seek(file.frames - 1)
        except soundfile.LibsndfileError:
            return False
    return True
