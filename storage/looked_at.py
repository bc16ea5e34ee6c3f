"""A lake that is only looked at: what would change it ends the look."""

from __future__ import annotations

from typing import NoReturn

from humwatch.storage.lake import Lake


class SomethingToDo(BaseException):
    """What is looked at has something left to do. No error, so nothing that handles errors shall take it for one."""


class LakeLookedAt(Lake):
    """A lake that is read as any other; whatever would change it raises `SomethingToDo` and changes nothing."""

    def about_to_write(self) -> NoReturn:
        """End the look."""
        raise SomethingToDo
