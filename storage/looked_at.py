"""A lake that is only looked at: what would change it ends the look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from humwatch.storage.lake import Lake


class SomethingToDo(BaseException):
    """What is looked at has something left to do. No error, so nothing that handles errors shall take it for one."""


class LakeLookedAt(Lake):
    """A lake that is read as any other; whatever would write to it raises `SomethingToDo` and changes nothing."""

    def about_to_write(self) -> NoReturn:
        """End the look."""
        raise SomethingToDo

    def write(self, path: str, data: bytes) -> NoReturn:  # noqa: ARG002 - as the lake has it
        """End the look."""
        raise SomethingToDo

    def create(self, path: str, data: bytes) -> NoReturn:  # noqa: ARG002
        """End the look."""
        raise SomethingToDo

    def delete(self, path: str) -> NoReturn:  # noqa: ARG002
        """End the look."""
        raise SomethingToDo

    def delete_objects(self, paths: Sequence[str]) -> NoReturn:  # noqa: ARG002
        """End the look."""
        raise SomethingToDo
