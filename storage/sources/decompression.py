"""Unpacking: one interface to every method of zip members, and the streams of compressed tars.

No decompressor gives more bytes than it is asked for, so that a small archive cannot fill the memory. Deflate64 and
Zstandard come from packages that the extra `archives` installs.
"""

from __future__ import annotations

import bz2
import gzip
import importlib
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, Protocol, cast

from isal import igzip_lib

from humwatch.storage.errors import PackageMissing
from humwatch.storage.sources.member import Compression, Member


def _installed(*names: str) -> Any:
    """Return the first of some modules that is installed; None if none is."""
    for name in names:
        with suppress(ImportError):
            return importlib.import_module(name)
    return None


inflate64 = _installed("inflate64")
zstd = _installed("compression.zstd", "backports.zstd")  # the first comes with Python 3.14

_DAMAGE: tuple[type[Exception], ...] = (
    zlib.error,
    lzma.LZMAError,
    igzip_lib.IsalError,  # type: ignore[arg-type] # its stub declares an instance
    gzip.BadGzipFile,
    EOFError,
    *([zstd.ZstdError] if zstd else []),
)
_BZIP2_DAMAGE = "Invalid data stream"  # of an OSError: bz2 has no error of its own
_LZMA_HEADER = struct.Struct("<2xH")  # of a zip member: the encoder's version, and how many bytes of properties follow
_LZMA_PROPERTIES_BYTES = 5
_DEFLATE64_STEP_BYTES = 64  # 18 bits may stand for 65,538 bytes: a step unpacks to less than 2 MiB


class Damaged(Exception):
    """Packed bytes cannot be unpacked."""


class Decompressor(Protocol):
    """What unpacks, in steps, as `bz2.BZ2Decompressor` does."""

    @property
    def eof(self) -> bool:
        """Whether the end of the packed data was seen; nothing more comes then."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether nothing more comes unless it is given more packed bytes."""
        ...

    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes:
        """Take in packed bytes; return the unpacked ones that follow, `max_length` at most."""
        ...


def zip_decompressor(member: Member) -> Decompressor:
    """Return what unpacks a member of a zip archive; to be used within `unpacking`.

    Raises:
        PackageMissing: the extra `archives` is not installed, and the method needs it.
    """
    require(member.compression, member.source_uri)
    makers: dict[str, Callable[[], Any]] = {
        "deflate": lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE, hist_bits=zlib.MAX_WBITS),
        "deflate64": _Deflate64,
        "bzip2": bz2.BZ2Decompressor,
        "lzma": lambda: _ZipLzma(member.size_bytes),
        "zstd": lambda: zstd.ZstdDecompressor(),  # noqa: PLW0108 - it may not be there
    }
    return cast(Decompressor, makers[member.compression]())


def open_stream(file: IO[bytes], compression: Compression, uri: str) -> IO[bytes]:
    """Return the file of a compressed tar as one of its unpacked bytes; to be used within `unpacking`.

    Raises:
        PackageMissing: the extra `archives` is not installed, and the method needs it.
    """
    require(compression, uri)
    openers: dict[str, Callable[[], Any]] = {
        "gzip_stream": lambda: gzip.GzipFile(fileobj=file),
        "bzip2_stream": lambda: bz2.BZ2File(file),
        "xz_stream": lambda: lzma.LZMAFile(file),  # noqa: SIM115 - who asked reads it
        "zstd_stream": lambda: zstd.ZstdFile(file),
    }
    return cast(IO[bytes], openers[compression]())


def require(compression: Compression, uri: str) -> None:
    """Make sure that what unpacks a member or the whole of the archive `uri` is installed.

    Raises:
        PackageMissing: it is not.
    """
    package = {"deflate64": inflate64, "zstd": zstd, "zstd_stream": zstd}.get(compression, True)
    if package is None:
        method = compression.removesuffix("_stream")
        raise PackageMissing(f"{uri}: to unpack {method}, install an extra: pip install 'humwatch[archives]'")


@contextmanager
def unpacking() -> Iterator[None]:
    """Turn what the libraries raise of bytes that cannot be unpacked into one error.

    Raises:
        Damaged: instead of theirs.
    """
    try:
        yield
    except _DAMAGE as error:
        raise Damaged(str(error)) from error
    except OSError as error:
        if str(error) != _BZIP2_DAMAGE:
            raise
        raise Damaged(str(error)) from error


class _ZipLzma:
    """LZMA as zip members have it (APPNOTE 5.8.8): properties, then the data, with or without an end mark.

    The same data with another header are an `.lzma` file, which `lzma` reads, and which says where the data end.
    """

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._lzma = lzma.LZMADecompressor(lzma.FORMAT_ALONE)
        self._head = b""
        self._begun = False

    @property
    def eof(self) -> bool:
        return self._lzma.eof

    @property
    def needs_input(self) -> bool:
        return self._lzma.needs_input

    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes:
        if self._begun:
            return self._lzma.decompress(data, max_length)
        self._head += data
        start = _LZMA_HEADER.size + _LZMA_PROPERTIES_BYTES
        if len(self._head) < start:
            return b""
        if _LZMA_HEADER.unpack_from(self._head) != (_LZMA_PROPERTIES_BYTES,):
            raise lzma.LZMAError("its LZMA properties are of an unknown form")
        properties, packed = self._head[_LZMA_HEADER.size : start], self._head[start:]
        self._begun, self._head = True, b""
        return self._lzma.decompress(properties + struct.pack("<Q", self._size_bytes) + packed, max_length)


class _Deflate64:
    """Deflate64; the library gives all that comes of what it is given, so it is given little at a time."""

    def __init__(self) -> None:
        self._inflater = inflate64.Inflater()
        self._packed = b""
        self._unpacked = bytearray()

    @property
    def eof(self) -> bool:
        return bool(self._inflater.eof) and not self._unpacked

    @property
    def needs_input(self) -> bool:
        return not self._packed and not self._unpacked

    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes:
        packed = memoryview(self._packed + data if self._packed else data)
        taken = 0
        while len(self._unpacked) < max_length and taken < len(packed) and not self._inflater.eof:
            try:
                self._unpacked += self._inflater.inflate(packed[taken : taken + _DEFLATE64_STEP_BYTES])
            except ValueError as error:
                raise zlib.error(str(error)) from error
            taken += _DEFLATE64_STEP_BYTES
        self._packed = b"" if self._inflater.eof else bytes(packed[taken:])
        unpacked = bytes(self._unpacked[:max_length])
        del self._unpacked[:max_length]
        return unpacked
