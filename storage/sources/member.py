"""What listing a source gives: one row for every recording, good or bad, and the manifests found on the way."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from humwatch.storage.errors import SourceUnreadable, TerminalError
from humwatch.storage.reasons import Reason

Compression = Literal[
    "none", "sparse", "deflate", "deflate64", "bzip2", "lzma", "zstd",
    "gzip_stream", "bzip2_stream", "xz_stream", "zstd_stream",
]  # fmt: skip

STREAMS: Mapping[str, Compression] = {
    **dict.fromkeys((".tar.gz", ".tgz"), "gzip_stream"),
    **dict.fromkeys((".tar.bz2", ".tbz2", ".tbz"), "bzip2_stream"),
    **dict.fromkeys((".tar.xz", ".txz"), "xz_stream"),
    **dict.fromkeys((".tar.zst", ".tzst"), "zstd_stream"),
}
"""Suffixes of compressed tars, which are read from their start only."""

ARCHIVE_SUFFIXES = (".zip", ".tar", *STREAMS)
MANIFEST_NAME = "manifest.csv"
MAX_MANIFEST_BYTES = 64 << 20


@dataclass(frozen=True)
class Member:
    """One recording of a source.

    Attributes:
        source_uri: the file that holds the bytes: the archive, or the audio file itself.
        member: its name inside the archive; "" for a plain file.
        path: SOURCE's base name + "/" + the path below SOURCE (+ "/" + the member's name), forward slashes, what names
            are read from. Unique in a listing: a repeated name ends in "#2", "#3", ...
        size_bytes: unpacked size as the directory declares it.
        byte_start, byte_end: range of `source_uri` to fetch, end exclusive: for zip from the local header on, for tar
            the data; None for members of a compressed tar and for plain files. A hard link in a tar has the range of
            the file that it links to, in a compressed tar that of the unpacked bytes.
        compression: how the range is packed. `sparse`: a file of a tar whose holes are left out, header and all. Those
            that end in `_stream` are of a whole compressed tar.
        crc32: of the unpacked bytes: known for every zip member, for no member of a plain tar.
        content_tag: changes when the bytes do: CRC and size, else size and modification time, else an ETag.
        problem: why it cannot be read, found while listing.
        ends_crc32: of the first and the last 2 KiB of a member of a plain tar, which has no checksum of its own.
    """

    source_uri: str
    member: str
    path: str
    size_bytes: int
    byte_start: int | None
    byte_end: int | None
    compression: Compression
    crc32: int | None
    content_tag: str
    problem: Reason | None
    ends_crc32: int | None = None

    def holds(self, content_tag: str) -> bool:
        """Whether it has the bytes that were listed under a tag, as far as can be told."""
        return content_tag in (self.content_tag, self.tag_of_changed)

    @property
    def tag_of_changed(self) -> str:
        """The tag where an archive was written again and this member has other bytes, but size and time of before."""
        return self.content_tag if self.ends_crc32 is None else f"{self.content_tag}-{self.ends_crc32:08x}"


@dataclass(frozen=True)
class ManifestFile:
    """The text of a manifest; its rows name recordings by their path below `prefix`, which is "" or ends in "/"."""

    uri: str
    prefix: str
    text: str


@dataclass(frozen=True)
class ReadProblem:
    """Why the bytes of a member could not be had."""

    reason: Reason
    detail: str


@dataclass(frozen=True)
class Listing:
    """What a source holds.

    Attributes:
        members: sorted by (source_uri, member).
        manifests: those inside and beside the source, sorted by URI.
        errors: archives of a folder that could not be listed; the others are in `members`.
        ignored: how many other files there are, in folders and inside archives, which are not read, by `suffix_of`
            their names, most of them first. Hidden files, macOS by-products and manifests are not counted.
    """

    members: tuple[Member, ...]
    manifests: tuple[ManifestFile, ...]
    errors: tuple[TerminalError, ...]
    ignored: Mapping[str, int]


class Contents(NamedTuple):
    """What one archive holds: a part of a `Listing`."""

    members: list[Member]
    manifests: list[ManifestFile]
    ignored: Counter[str]


def archive_suffix(name: str) -> str:
    """Return the archive suffix (`.tar.gz`) that a file name ends in, as written there; "" when it is no archive."""
    for suffix in ARCHIVE_SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[-len(suffix) :]
    return ""


def is_stream(compression: str) -> bool:
    """Whether it is the compression of a whole archive, whose members are read in one pass from its start."""
    return compression.endswith("_stream")


def is_recording(name: str, extensions: Collection[str]) -> bool:
    """Whether a path (forward slashes) names a recording: known extension, nothing hidden, no macOS by-product."""
    _, dot, extension = name.rpartition("/")[2].rpartition(".")
    return bool(dot) and extension.lower() in extensions and not is_by_product(name)


def is_by_product(name: str) -> bool:
    """Whether a path (forward slashes) is that of something hidden or of what macOS adds to archives."""
    parts = [part for part in name.split("/") if part not in {"", ".", ".."}]
    return not parts or any(part.startswith(".") or part == "__MACOSX" for part in parts)


def suffix_of(name: str) -> str:
    """Return the lower-case suffix of a file name (`.mp3`), with the `.tar` before it (`.tar.lz`); "" for none."""
    found = re.search(r"[^/](?P<suffix>(\.tar)?\.[^./]+)$", name.lower())
    return found["suffix"] if found else ""


def is_manifest(name: str) -> bool:
    """Whether a path (forward slashes) inside an archive or folder is that of a manifest, in any case."""
    return name.rpartition("/")[2].lower() == MANIFEST_NAME and "__MACOSX" not in name.split("/")


def clean_name(name: str) -> str:
    """Return a name with forward slashes, without `.` steps and empty ones, and printable."""
    parts = printable(name.replace("\\", "/")).split("/")
    return "/".join(part for index, part in enumerate(parts) if part != "." and (part or index == 0))


def printable(text: str) -> str:
    """Return `text` as valid Unicode: bytes of a name that are no text become escape sequences."""
    return text.encode("utf-8", "backslashreplace").decode()


def is_unsafe(name: str) -> bool:
    """Whether a name is absolute, has a drive letter, or leaves the folder it is relative to."""
    return name.startswith("/") or re.match(r"[A-Za-z]:", name) is not None or ".." in name.split("/")


def number_repeats(members: Iterable[Member]) -> list[Member]:
    """Return members in order; of several of one path the first stays, the others are marked DUPLICATE_NAME."""
    seen: dict[str, int] = {}
    numbered = []
    for member in members:
        count = seen[member.path] = seen.get(member.path, 0) + 1
        numbered.append(
            member
            if count == 1
            else replace(member, path=f"{member.path}#{count}", problem=member.problem or Reason.DUPLICATE_NAME)
        )
    return numbered


def manifest_file(data: bytes, uri: str, path: str) -> ManifestFile:
    """Return a manifest whose rows are relative to the folder of `path`.

    Raises:
        SourceUnreadable: it is neither UTF-8 nor UTF-16 text, or longer than 64 MiB.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise SourceUnreadable(f"{uri}: a manifest may have {MAX_MANIFEST_BYTES} bytes at most")
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise SourceUnreadable(f"{uri}: not UTF-8 text ({error}); in Excel save it as 'CSV UTF-8'") from error
    folder, slash, _ = path.rpartition("/")
    return ManifestFile(uri, folder + slash, text)
