"""Zip archives: their central directory, and one member's bytes from a piece of the file.

Follows PKWARE's APPNOTE.TXT 6.3; `zipfile` reads the central directory (zip64 included), so only the tail of the
file is fetched. Members are unpacked from their local header on, whose name and extra field may differ in length from
the central ones. ISA-L inflates and checks in 0.6 of zlib's time (docs/performance.md).
"""

from __future__ import annotations

import stat
import struct
import zipfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection
from typing import IO

from isal import isal_zlib

from humwatch.storage.errors import SourceUnreadable
from humwatch.storage.reasons import EXPLANATIONS, Reason
from humwatch.storage.sources.decompression import Damaged, require, unpacking, zip_decompressor
from humwatch.storage.sources.member import (
    MAX_MANIFEST_BYTES,
    Compression,
    Contents,
    ManifestFile,
    Member,
    ReadProblem,
    clean_name,
    is_by_product,
    is_manifest,
    is_recording,
    is_unsafe,
    manifest_file,
    suffix_of,
)

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_LONGEST_HEADER = _LOCAL_HEADER.size + 2 * 0xFFFF  # the fixed part, a name and an extra field
_UTF_8, _CRC_COMES_LATER = 0x800, 0x8
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # traditional, strong, and masked central directory
_COMPRESSIONS: dict[int, Compression] = {
    0: "none", 8: "deflate", 9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstd"
}  # fmt: skip
_ONLY_DISK = {0, 0xFFFF}
_COUNTING_STEP = 1 << 20


def list_zip(file: IO[bytes], uri: str, path: str, extensions: Collection[str], max_member_bytes: int) -> Contents:
    """Return the contents of a zip archive opened for reading; `path` begins their paths.

    Raises:
        SourceUnreadable: it is no zip archive, cut off, one disk of several, or holds a manifest that cannot be read.
        OSError: the file cannot be read.
    """
    members: list[Member] = []
    manifests: list[ManifestFile] = []
    ignored: Counter[str] = Counter()
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            if any(info.volume not in _ONLY_DISK for info in infos):
                raise SourceUnreadable(f"{uri}: one disk of a zip archive split over several; join them first")
            starts = sorted({info.header_offset for info in infos} | {archive.start_dir})
            for info in infos:
                name = clean_name(info.filename)
                if info.is_dir():
                    continue
                if is_recording(name, extensions):
                    members.append(_member(info, _next_start(starts, info), uri, path, max_member_bytes))
                elif is_manifest(name):
                    member = _member(info, _next_start(starts, info), uri, path, MAX_MANIFEST_BYTES)
                    manifests.append(_manifest(file, member))
                elif not is_by_product(name):
                    ignored[suffix_of(name)] += 1
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, struct.error) as error:
        if isinstance(error, SourceUnreadable):
            raise
        if isinstance(error.__context__, OSError):
            # zipfile says "not a zip file" also when the read itself failed, which may be worth a retry.
            raise error.__context__ from None
        raise SourceUnreadable(f"{uri}: not a zip archive that can be read, or cut off ({error})") from error
    for compression in {member.compression for member in members if member.problem is None}:
        require(compression, uri)
    return Contents(members, manifests, ignored)


def unzip(data: memoryview, member: Member, max_member_bytes: int) -> bytes | ReadProblem:
    """Return a member's unpacked bytes; `data` begins at its local header and reaches at least to its end."""
    if len(data) < _LOCAL_HEADER.size:
        return ReadProblem(Reason.TRUNCATED, "the archive ends inside the member's header")
    signature, *_, name_bytes, extra_bytes = _LOCAL_HEADER.unpack_from(data)
    if signature != b"PK\3\4":
        return ReadProblem(Reason.CORRUPT, "there is no zip member where the directory says")
    packed = data[_LOCAL_HEADER.size + name_bytes + extra_bytes :]
    if member.compression == "none":
        unpacked: bytes | ReadProblem = bytes(packed[: member.size_bytes])
    else:
        unpacked = _decompress(packed, member, max_member_bytes)
    if isinstance(unpacked, ReadProblem):
        return unpacked
    return checked(unpacked, member)


def bytes_of_local_header(data: memoryview) -> int:
    """Return how many bytes of `data`, which begins with a local header, come before the member's own."""
    *_, name_bytes, extra_bytes = _LOCAL_HEADER.unpack_from(data)
    return int(_LOCAL_HEADER.size + name_bytes + extra_bytes)


def names_zip_member(data: memoryview, member: Member) -> bool:
    """Whether `data` begins with this member's local header, with the checksum that was listed where it has one."""
    if len(data) < _LOCAL_HEADER.size:
        return False
    signature, _, flags, _, _, _, crc32, _, _, name_bytes, _ = _LOCAL_HEADER.unpack_from(data)
    name = bytes(data[_LOCAL_HEADER.size : _LOCAL_HEADER.size + name_bytes])
    text = name.decode("utf-8" if flags & _UTF_8 else "cp437", "replace")
    same_bytes = flags & _CRC_COMES_LATER or crc32 == member.crc32
    return bool(signature == b"PK\3\4" and clean_name(text) == member.member and same_bytes)


def checked(data: bytes, member: Member) -> bytes | ReadProblem:
    """Return `data` if it has the size and checksum that were listed."""
    if len(data) < member.size_bytes:
        return ReadProblem(Reason.TRUNCATED, f"{len(data)} of {member.size_bytes} bytes are there")
    if member.crc32 is not None and isal_zlib.crc32(data) != member.crc32:
        return ReadProblem(Reason.CORRUPT, "the bytes do not match their CRC-32")
    return data


def _decompress(packed: memoryview, member: Member, max_member_bytes: int) -> bytes | ReadProblem:
    size_bytes = member.size_bytes
    decompressor = zip_decompressor(member)
    try:
        with unpacking():
            unpacked = decompressor.decompress(packed, size_bytes + 1)
            total = len(unpacked)
            # Where the header lies, what is left is counted without keeping it, to tell a bomb from a mistake.
            while size_bytes < total <= max_member_bytes and not decompressor.eof:
                more = len(decompressor.decompress(b"", _COUNTING_STEP))
                if not more:
                    break
                total += more
    except Damaged as error:
        return ReadProblem(Reason.CORRUPT, f"cannot be unpacked: {error}")
    if total > max_member_bytes:
        return ReadProblem(Reason.TOO_LARGE, f"unpacks to more than {max_member_bytes} bytes, not to {size_bytes}")
    if total > size_bytes or (total < size_bytes and decompressor.eof):
        return ReadProblem(Reason.CORRUPT, f"unpacks to {total} bytes, not to {size_bytes}")
    return unpacked


def _next_start(starts: list[int], info: zipfile.ZipInfo) -> int:
    """Return where the member's bytes end at the latest: the next header, or its own longest possible end."""
    following = bisect_right(starts, info.header_offset)
    after = starts[following] if following < len(starts) else info.header_offset
    return min(after, info.header_offset + _LONGEST_HEADER + info.compress_size)


def _member(info: zipfile.ZipInfo, byte_end: int, uri: str, path: str, max_member_bytes: int) -> Member:
    name = clean_name(info.filename)
    return Member(
        source_uri=uri,
        member=name,
        path=f"{path}/{name}",
        size_bytes=info.file_size,
        byte_start=info.header_offset,
        byte_end=byte_end,
        compression=_COMPRESSIONS.get(info.compress_type, "none"),
        crc32=info.CRC,
        content_tag=f"crc32-{info.CRC:08x}-{info.file_size:x}",
        problem=_problem(info, name, byte_end, max_member_bytes),
    )


def _problem(info: zipfile.ZipInfo, name: str, byte_end: int, max_member_bytes: int) -> Reason | None:
    if is_unsafe(name) or stat.S_ISLNK(info.external_attr >> 16):
        return Reason.UNSAFE_PATH
    if info.flag_bits & _ENCRYPTED:
        return Reason.ENCRYPTED
    if info.compress_type not in _COMPRESSIONS:
        return Reason.UNSUPPORTED_COMPRESSION
    if info.file_size > max_member_bytes:
        return Reason.TOO_LARGE
    if info.file_size == 0:
        return Reason.EMPTY_FILE
    if byte_end <= info.header_offset:
        return Reason.CORRUPT
    return None


def _manifest(file: IO[bytes], member: Member) -> ManifestFile:
    uri = f"{member.source_uri}/{member.member}"
    if member.problem is Reason.EMPTY_FILE:
        return manifest_file(b"", uri, member.path)
    if member.problem is not None:
        raise SourceUnreadable(f"{uri}: cannot be read ({EXPLANATIONS[member.problem]})")
    start, end = member.byte_start or 0, member.byte_end or 0
    file.seek(start)
    data = unzip(memoryview(file.read(end - start)), member, MAX_MANIFEST_BYTES)
    if isinstance(data, ReadProblem):
        raise SourceUnreadable(f"{uri}: cannot be read ({data.detail})")
    return manifest_file(data, uri, member.path)
