"""Archives made on the spot, and a filesystem that keeps count of every ranged request."""

import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from typing import ClassVar

import fsspec
import inflate64
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractBufferedFile

from humwatch.storage.sources.decompression import zstd

EXTENSIONS = ("wav", "flac")
LIMIT = 1 << 20


def zip_bytes(files, method=zipfile.ZIP_STORED, *, zip64=False):
    """Zip `files` (name -> bytes, or pairs where names repeat)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items() if isinstance(files, dict) else files:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            with archive.open(info, "w", force_zip64=zip64) as file:
                file.write(data)
    return buffer.getvalue()


def deflate64(data):
    deflater = inflate64.Deflater()
    return deflater.deflate(data) + deflater.flush()


def lzma_without_end_mark(data):
    """As 7-Zip packs; `lzma` writes an end mark. The first chunk of LZMA2 holds such data."""
    chunk = lzma.compress(data, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}])
    assert chunk[0] >= 0xE0
    packed_bytes = int.from_bytes(chunk[3:5], "big") + 1
    return struct.pack("<2BHBI", 19, 0, 5, chunk[5], 1 << 20) + chunk[6 : 6 + packed_bytes]


def zip_by(files, method, pack):
    """Zip `files` by a method that `zipfile` may not know; `pack` packs one."""
    local, central = b"", b""
    for name, data in files.items():
        packed = pack(data)
        fields = struct.pack("<5H3I2H", 63, 0, method, 0, 33, zlib.crc32(data), len(packed), len(data), len(name), 0)
        central += b"PK\1\2" + struct.pack("<H", 63) + fields + struct.pack("<3H2I", 0, 0, 0, 0, len(local))
        central += name.encode()
        local += b"PK\3\4" + fields + name.encode() + packed
    count = len(files)
    return local + central + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(central), len(local), 0)


ZIPS = {
    "stored": zip_bytes,
    "deflated": lambda files: zip_bytes(files, zipfile.ZIP_DEFLATED),
    "deflate64": lambda files: zip_by(files, 9, deflate64),
    "bzip2": lambda files: zip_bytes(files, zipfile.ZIP_BZIP2),
    "lzma": lambda files: zip_bytes(files, zipfile.ZIP_LZMA),
    "zstd": lambda files: zip_by(files, 93, zstd.compress),
}
"""What makes a zip archive of files, by the method."""


def tar_bytes(files, mode="w", mtime=1_700_000_000):
    """Tar `files`; a value may be a ready `tarfile.TarInfo` instead of bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in files.items() if isinstance(files, dict) else files:
            if isinstance(data, tarfile.TarInfo):
                archive.addfile(data)
                continue
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), mtime
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


STREAMED = {
    "x.tar.gz": lambda files: tar_bytes(files, "w:gz"),
    "x.tgz": lambda files: tar_bytes(files, "w:gz"),
    "x.tar.bz2": lambda files: tar_bytes(files, "w:bz2"),
    "x.tbz2": lambda files: tar_bytes(files, "w:bz2"),
    "x.tbz": lambda files: tar_bytes(files, "w:bz2"),
    "x.tar.xz": lambda files: tar_bytes(files, "w:xz"),
    "x.txz": lambda files: tar_bytes(files, "w:xz"),
    "x.tar.zst": lambda files: zstd.compress(tar_bytes(files)),
    "x.tzst": lambda files: zstd.compress(tar_bytes(files)),
}
"""What makes a compressed tar of files, by the name it should have."""


def patch_central(archive, **fields):
    """Overwrite fields of the first central directory entry: flags, method, crc, packed, size, disk, offset."""
    where = {
        "flags": (8, "<H"),
        "method": (10, "<H"),
        "crc": (16, "<I"),
        "packed": (20, "<I"),
        "size": (24, "<I"),
        "disk": (34, "<H"),
        "offset": (42, "<I"),
    }
    data = bytearray(archive)
    start = data.index(b"PK\1\2")
    for field, value in fields.items():
        offset, form = where[field]
        struct.pack_into(form, data, start + offset, value)
    return bytes(data)


class CountedFile(AbstractBufferedFile):
    def _fetch_range(self, start, end):
        return self.fs.cat_file(self.path, start=start, end=end)


class CountedFileSystem(MemoryFileSystem):
    """Memory that behaves like an object store: files are read by ranged requests, and each is noted."""

    protocol = "counted"
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list] = [""]
    requests: ClassVar[list] = []
    failing: ClassVar[list] = []

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("counted://"))

    def cat_file(self, path, start=None, end=None, **kwargs):
        if self.failing and self.requests:
            raise self.failing[0]
        key = self._strip_protocol(path)
        if key not in self.store:
            raise FileNotFoundError(key)
        data = self.store[key].getvalue()[start:end]
        self.requests.append((start, len(data)))
        return data

    def _open(self, path, mode="rb", block_size=None, **kwargs):
        if mode == "rb":
            return CountedFile(self, path, mode, block_size=block_size)
        return super()._open(path, mode, block_size=block_size, **kwargs)


def counted(name, data):
    """Put `data` at counted://`name` with an empty count; return the URI."""
    fsspec.register_implementation("counted", CountedFileSystem, clobber=True)
    fs = fsspec.filesystem("counted", use_listings_cache=False)
    fs.store.clear()
    fs.failing.clear()
    with fs.open(f"/{name}", "wb") as file:
        file.write(data)
    fs.requests.clear()
    return f"counted://{name}"


class _Forbidding(MemoryFileSystem):
    def cat_file(self, path, **kwargs):
        if not self.exists(path):
            raise PermissionError(path)
        return super().cat_file(path, **kwargs)


class BucketFileSystem(AsyncFileSystemWrapper):
    """Memory as an object store, which says "forbidden" of what is not there, as S3 does without ListBucket."""

    protocol = "bucket"

    def __init__(self, **kwargs):
        super().__init__(_Forbidding(), **kwargs)

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol(path.removeprefix("bucket://"))


fsspec.register_implementation("bucket", BucketFileSystem, clobber=True)
