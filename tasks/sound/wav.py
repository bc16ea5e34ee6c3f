"""WAV as recorders leave it: where the samples are, what codec they have, and what of the header is not to be believed.

RIFF (and RIFX, big-endian), RF64 (EBU Tech 3306) and BW64 (ITU-R BS.2088). libsndfile reads what is there and says
nothing of what is missing, stops at 4 GiB and does not know BW64: so sizes are judged here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import IO

from humwatch.storage.reasons import Reason
from humwatch.tasks.sound.rejected import Rejected

MAGICS = (b"RIFF", b"RIFX", b"RF64", b"BW64")

_PCM, _FLOAT, _A_LAW, _MU_LAW, _EXTENSIBLE = 0x0001, 0x0003, 0x0006, 0x0007, 0xFFFE
_SAMPLE_BY_SAMPLE = frozenset({_PCM, _FLOAT, _A_LAW, _MU_LAW})
# The part of a GUID after the tag: "this is what the old tag meant".
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
_UNKNOWN_SIZE = 0xFFFFFFFF
_WRAPS_AT = 1 << 32  # bytes: where a 32-bit size begins again
_USUAL_BLOCK_FRAMES = 512
_MOST_HEADER_CHUNKS = 1000
_TOLD = (b"bext", b"guan", b"LIST")  # chunks that say when and with what a recording was made
_MOST_CHUNK_BYTES = 1 << 20  # of these: they have some thousand

NEVER_FINISHED = "the header was never finished: read to the end of the file"

# Tags that libsndfile decodes: PCM, float, A-law, mu-law; Microsoft, IMA and NMS ADPCM, GSM 6.10, G.721, MP3; and
# GUIDs that stand for no tag, such as Ambisonics'.
_DECODED = _SAMPLE_BY_SAMPLE | {0x0002, 0x0011, 0x0038, 0x0031, 0x0040, 0x0055, _EXTENSIBLE}
# Some that it does not, as Microsoft's mmreg.h names them.
_CODECS = {
    0x0050: "MPEG layer 2", 0x0064: "G.726", 0x0065: "G.722", 0x028F: "G.722", 0x0014: "G.723", 0x0042: "G.723.1",
    0x0020: "Yamaha ADPCM",
    0x00FF: "AAC", 0x1600: "AAC (ADTS)", 0x1602: "AAC (LATM)", 0x1610: "AAC (HE)", 0x0092: "AC-3", 0x2000: "AC-3",
    0x0160: "Windows Media Audio 1", 0x0161: "Windows Media Audio 2", 0x0162: "Windows Media Audio 9 Professional",
    0x0163: "Windows Media Audio 9 Lossless", 0x0045: "G.726", 0x0085: "DSP TrueSpeech", 0x0083: "G.729",
    0x028E: "Sipro", 0xF1AC: "FLAC", 0x566F: "Vorbis", 0x704F: "Opus", 0x5756: "WavPack",
}  # fmt: skip


@dataclass(frozen=True)
class WavHeader:
    """A WAV's header up to its samples.

    Attributes:
        byte_order: "<", or ">" for RIFX.
        fmt: body of the `fmt ` chunk; at least 16 bytes.
        tag: codec; of WAVE_FORMAT_EXTENSIBLE the one that its GUID stands for, where it does.
        channels, sample_rate_hz, frame_bytes, sample_bits: as the header says.
        fact_frames: frames as the `fact` chunk says; None without one.
        data_start: first byte of the samples.
        data_bytes: of samples that are there.
        chunks: bodies of `bext`, `guan` and `LIST` before the samples; at most 1 MiB each.
        is_exact: the size of the samples is right.
        is_plain: so it is, in a RIFF file, and the tag says PCM: what any reader reads alike.
        note: what of the header was not believed; "" when nothing.
    """

    byte_order: str
    fmt: bytes
    tag: int
    channels: int
    sample_rate_hz: int
    frame_bytes: int
    sample_bits: int
    fact_frames: int | None
    data_start: int
    data_bytes: int
    chunks: dict[bytes, bytes]
    is_exact: bool
    is_plain: bool
    note: str

    @property
    def undecoded_codec(self) -> str:
        """The name of a codec that libsndfile does not decode; "" of one that it does."""
        return "" if self.tag in _DECODED else _CODECS.get(self.tag, f"codec 0x{self.tag:04X}")

    @property
    def is_sample_by_sample(self) -> bool:
        """Whether any frame can be cut out: PCM, float, A-law and mu-law, of frames as large as their samples.

        Of others (a block size that is wrong, 24 bits in 32) libsndfile decides what a frame is.
        """
        samples_bytes = self.channels * -(-self.sample_bits // 8)
        return self.tag in _SAMPLE_BY_SAMPLE and self.frame_bytes == samples_bytes > 0

    def frames_of(self, n_decoded: int) -> int:
        """Return how many of the frames that a packed codec's blocks decode to are sound: the last block is padded.

        The `fact` chunk is believed where it differs by two blocks at most: that of a stereo IMA ADPCM may be half.
        """
        block = int.from_bytes(self.fmt[18:20], "big" if self.byte_order == ">" else "little") or _USUAL_BLOCK_FRAMES
        fact = self.fact_frames or 0
        is_believed = fact > 0 and n_decoded - 2 * block <= fact < n_decoded
        return fact if is_believed and not self.is_sample_by_sample else n_decoded

    @property
    def n_frames(self) -> int:
        """Frames that are there, of a codec with `is_sample_by_sample`."""
        return self.data_bytes // self.frame_bytes


def is_wav(head: bytes) -> bool:
    """Whether a file that begins with `head` (12 bytes) is a WAV, or the beginning of one that was cut."""
    return head[:4] in MAGICS and b"WAVE".startswith(head[8:12])


def read_wav_header(file: IO[bytes], size_bytes: int) -> WavHeader:
    """Read the chunks of a WAV up to its samples.

    Sizes of `data` that mean "to the end": what writers to a pipe leave (all ones, or next to 2**31 or 2**32), 0 with
    samples behind it (the recorder lost power), too large by the header (36 or 44 bytes), and of a file above 4 GiB
    whatever is left when a 32-bit size wraps.

    Args:
        file: seekable.
        size_bytes: of the file.

    Raises:
        Rejected: TRUNCATED, CORRUPT, NO_CHANNELS.
    """
    file.seek(0)
    head = file.read(12)
    order = ">" if head[:4] == b"RIFX" else "<"
    size64: int | None = None
    fmt = fact = None
    chunks: dict[bytes, bytes] = {}
    at = 12
    for _ in range(_MOST_HEADER_CHUNKS):
        file.seek(at)
        chunk_head = file.read(8)
        if len(chunk_head) < 8:
            break
        name, size = struct.unpack(f"{order}4sI", chunk_head)
        body = at + 8
        if name == b"data":
            if fmt is None:
                raise Rejected(Reason.CORRUPT, "no fmt chunk before the samples")
            promised = size64 if size64 is not None and size == _UNKNOWN_SIZE else size
            there, note = _bytes_there(file, promised, body, size_bytes, is_64_bit=size64 is not None)
            return _header(head, order, fmt, fact, body, there, chunks, note, is_exact=not note and promised == there)
        kept = file.read(size) if name in (b"ds64", b"fmt ", b"fact", *_TOLD) and size <= _MOST_CHUNK_BYTES else b""
        if name == b"ds64" and len(kept) >= 16:
            (size64,) = struct.unpack_from("<Q", kept, 8)
        elif name == b"fmt ":
            fmt = fmt or kept
            if kept[2:4] == b"\0\0":
                raise Rejected(Reason.NO_CHANNELS, "the fmt chunk says 0 channels")
        elif name == b"fact" and len(kept) >= 4:
            (fact,) = struct.unpack_from(f"{order}I", kept)
        elif name in _TOLD:
            chunks[name] = kept
        at = body + size + size % 2  # chunks are padded to an even size
    (riff_size,) = struct.unpack_from(f"{order}I", head.ljust(8, b"\0"), 4)
    is_cut = size_bytes < max(12, 8 + riff_size)
    raise Rejected(Reason.TRUNCATED if is_cut else Reason.CORRUPT, "no data chunk")


def chunks_behind(file: IO[bytes], header: WavHeader, size_bytes: int) -> dict[bytes, bytes]:
    """Return the bodies of `bext`, `guan` and `LIST` behind the samples: GUANO is written there.

    To see whether there are any, a packed member must be unpacked to its end.
    """
    found: dict[bytes, bytes] = {}
    at = header.data_start + header.data_bytes + header.data_bytes % 2
    for _ in range(_MOST_HEADER_CHUNKS):
        file.seek(at)
        chunk_head = file.read(8) if at + 8 <= size_bytes else b""
        if len(chunk_head) < 8:
            break
        name, size = struct.unpack(f"{header.byte_order}4sI", chunk_head)
        if name in _TOLD and size <= _MOST_CHUNK_BYTES:
            found[name] = file.read(size)
        at += 8 + size + size % 2
    return found


def wav_of(header: WavHeader, samples: bytes) -> bytes:
    """Return a plain WAV of some of a file's samples, as its header describes them."""
    return plain_head(header, len(samples)) + samples


def plain_head(header: WavHeader, n_bytes: int) -> bytes:
    """Return the beginning of a plain WAV up to its samples, which are `n_bytes` below 4 GiB."""
    order = header.byte_order
    fmt = struct.pack(f"{order}4sI", b"fmt ", len(header.fmt)) + header.fmt + bytes(len(header.fmt) % 2)
    fact = b"" if header.fact_frames is None else struct.pack(f"{order}4sII", b"fact", 4, header.fact_frames)
    data = struct.pack(f"{order}4sI", b"data", n_bytes)
    size = 4 + len(fmt) + len(fact) + len(data) + n_bytes
    return b"".join([b"RIFX" if order == ">" else b"RIFF", struct.pack(f"{order}I", size), b"WAVE", fmt, fact, data])


def _header(
    head: bytes, order: str, fmt: bytes, fact: int | None, start: int, there: int, chunks: dict[bytes, bytes],
    note: str, *, is_exact: bool,
) -> WavHeader:  # fmt: skip
    if len(fmt) < 16:
        raise Rejected(Reason.CORRUPT, "no fmt chunk that can be read")
    tag, channels, rate_hz, _, frame_bytes, bits = struct.unpack_from(f"{order}HHIIHH", fmt)
    # Valid bits (12 of 16 are 12), channel mask, and a GUID that begins with an old tag.
    is_old_tag = tag == _EXTENSIBLE and fmt[26:40] == _GUID_TAIL
    full = fmt[18:20] == struct.pack(f"{order}H", bits)
    return WavHeader(
        byte_order=order,
        fmt=fmt,
        tag=struct.unpack_from(f"{order}H", fmt, 24)[0] if is_old_tag else tag,
        channels=channels,
        sample_rate_hz=rate_hz,
        frame_bytes=frame_bytes,
        sample_bits=bits,
        fact_frames=fact,
        data_start=start,
        data_bytes=there,
        chunks=chunks,
        is_exact=is_exact,
        is_plain=head[:4] == b"RIFF" and is_exact and (tag == _PCM or (is_old_tag and full)),
        note=note,
    )


def _bytes_there(file: IO[bytes], promised: int, start: int, size_bytes: int, *, is_64_bit: bool) -> tuple[int, str]:
    """Return how many bytes of samples there are, and what of the promise was not believed."""
    there = size_bytes - start
    if promised > there:
        if _means_to_the_end(promised):
            return there, ""
        if promised - there in (start - 8, start) and not is_64_bit:
            return there, f"the size of the samples counts the header ({promised} for {there} bytes)"
        raise Rejected(Reason.TRUNCATED, f"{there} of {promised} bytes of samples")
    if promised == 0 and there and not _is_chunks(file, start, size_bytes):
        return there, NEVER_FINISHED
    if not is_64_bit and there >= _WRAPS_AT:
        wrapped = there if _means_to_the_end(promised) else promised + ((there - promised) & -_WRAPS_AT)
        return wrapped, "samples above 4 GiB, which the header cannot say" if wrapped != promised else ""
    return promised, ""


def _is_chunks(file: IO[bytes], at: int, size_bytes: int) -> bool:
    """Whether chunks follow from `at` to the end of the file."""
    while at + 8 <= size_bytes:
        file.seek(at)
        name, size = struct.unpack("<4sI", file.read(8))
        if not name.isascii() or not name.strip().isalnum():
            return False
        at += 8 + size + size % 2
    return at in (size_bytes, size_bytes + 1)


def _means_to_the_end(size: int) -> bool:
    """Whether a data size is what writers to a pipe leave: ffmpeg 2**32 - 1, sox and arecord just about 2**31."""
    return size == (1 << 64) - 1 or any(limit - (1 << 16) <= size <= limit for limit in (1 << 31, (1 << 32) - 1))
