"""Zarr stores with the same filesystem and the same errors as the lake's other objects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager

from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore, LocalStore

from humwatch.storage.filesystem import open_fs, translated_errors


def remote_store(uri: str) -> Store:
    """Return the Zarr store rooted at `uri`, in the event loop that Zarr runs."""
    fs, path = open_fs(uri, asynchronous=True)
    return _RemoteStore(fs if fs.async_impl else AsyncFileSystemWrapper(fs, asynchronous=True), path=path)


def local_store(path: str) -> Store:
    """Return the Zarr store rooted at a folder of this machine."""
    return _LocalStore(path)


class _LocalStore(LocalStore):
    """Says in Humwatch's errors that the disk is full."""

    async def set(self, key: str, value: Buffer) -> None:
        with translated_errors(str(self.root)):
            await super().set(key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        with translated_errors(str(self.root)):
            super().set_sync(key, value)


class _RemoteStore(FsspecStore):
    """What goes wrong comes out as Humwatch's errors, so that a stage can tell what is worth a retry."""

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        with self._errors():
            return await super().get(key, prototype, byte_range)

    async def set(self, key: str, value: Buffer, byte_range: tuple[int, int] | None = None) -> None:
        with self._errors():
            await super().set(key, value, byte_range)

    async def exists(self, key: str) -> bool:
        with self._errors():
            return await super().exists(key)

    async def delete(self, key: str) -> None:
        with self._errors():
            await super().delete(key)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        with self._errors():
            async for name in super().list_dir(prefix):
                yield name

    def _errors(self) -> AbstractContextManager[None]:
        return translated_errors(str(self.fs.unstrip_protocol(self.path)))
