"""Bytes of objects that never change, kept so that a store that is far is asked for them once."""

from __future__ import annotations

import threading
from collections import OrderedDict

_MOST_BYTES = 32 << 20
_MOST_BYTES_OF_ONE = 4 << 20


class Remembered:
    """Bytes by name, those that were not asked for longest forgotten first; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._data: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    def get(self, name: str) -> bytes | None:
        """Return what is remembered under a name."""
        with self._lock:
            if name in self._data:
                self._data.move_to_end(name)
            return self._data.get(name)

    def put(self, name: str, data: bytes) -> None:
        """Remember bytes; large ones are not worth it."""
        if len(data) > _MOST_BYTES_OF_ONE:
            return
        with self._lock:
            self._size += len(data) - len(self._data.pop(name, b""))
            self._data[name] = data
            while self._size > _MOST_BYTES:
                self._size -= len(self._data.popitem(last=False)[1])
