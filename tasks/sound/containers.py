"""Containers other than WAV: what is none that is decoded here, and whether a file ends before its header says."""

from __future__ import annotations

from typing import IO

from humwatch.storage.reasons import Reason
from humwatch.tasks.sound.chunks import UNKNOWN_AU_SIZE, au_samples, samples_chunk
from humwatch.tasks.sound.rejected import Rejected

_NOT_DECODED = {
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "Windows Media Audio (ASF)",
    b"wvpk": "WavPack",
    b"MAC ": "Monkey's Audio",
    b"#!AMR": "AMR",
    b"\x1aE\xdf\xa3": "Matroska or WebM",
    b"DSD ": "DSF",
    b"FRM8": "DSDIFF",
    b"TTA1": "True Audio",
    b"MPCK": "Musepack",
    b"MP+": "Musepack",
    b"ADIF": "AAC (ADIF)",
    b".ra\xfd": "RealAudio",
    b".RMF": "RealMedia",
    b"\x0bw": "AC-3",
    b"\x7f\xfe\x80\x01": "DTS",
}
"""By how such a file begins."""
_OGG_CODECS = (b"\x01vorbis", b"OpusHead")


def refuse_undecoded(head: bytes) -> None:
    """Refuse what libsndfile has no decoder for, in words that help.

    Args:
        head: how the file begins, 4 KiB where it has so many.

    Raises:
        Rejected: UNSUPPORTED_FORMAT.
    """
    name = next((name for magic, name in _NOT_DECODED.items() if head.startswith(magic)), "")
    if head[4:8] == b"ftyp":
        name = "MPEG-4 audio (M4A)"
    elif len(head) > 2 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        name = "AAC (ADTS)"
    elif head.startswith(b"OggS") and b"\x7fFLAC" in head[:64]:
        name = "FLAC in Ogg"
    elif head.startswith(b"OggS") and len(head) > 64 and not any(codec in head for codec in _OGG_CODECS):
        name = "an Ogg stream that is neither Vorbis nor Opus"
    elif head.startswith(b"fLaC") and len(head) > 22 and (head[20] & 1) << 4 | head[21] >> 4 == 31:
        name = "FLAC with 32 bits a sample"
    if name:
        raise unsupported(name)


def unsupported(name: str) -> Rejected:
    """Return the rejection of a format or codec that is not decoded here."""
    return Rejected(
        Reason.UNSUPPORTED_FORMAT, f"{name} is not decoded here: convert it, such as `ffmpeg -i NAME NAME.flac`"
    )


def refuse_cut(file: IO[bytes], size_bytes: int) -> None:
    """Refuse an AIFF, AU, CAF or W64 that ends before its header says: libsndfile reads what is there.

    Raises:
        Rejected: TRUNCATED.
    """
    promised = _promised_bytes(file)
    if promised > size_bytes:
        raise Rejected(Reason.TRUNCATED, f"{size_bytes} of {promised} bytes")


def _promised_bytes(file: IO[bytes]) -> int:
    """Return where the header says that the samples end; 0 where it says nothing."""
    file.seek(0)
    au = au_samples(file.read(12))
    if au is not None:
        return 0 if au.n_bytes == UNKNOWN_AU_SIZE else au.start + au.n_bytes
    chunk = samples_chunk(file)
    return 0 if chunk is None or chunk.is_endless else chunk.end
