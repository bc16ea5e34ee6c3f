"""The one exception of decoding."""

from __future__ import annotations

from humwatch.storage.reasons import Reason


class Rejected(Exception):
    """A recording cannot be decoded: `reason` for the tables, `detail` for people."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
