"""What each channel was told of a fleet: one notice a message, noted before it is sent and again when it was.

    notices/salt.json                     what the names of channels are salted with
    notices/CHANNEL/000001/begun.json     the message, and all that the channel knows once it has it; before it is sent
    notices/CHANNEL/000001/ended.json     whether it was sent

A notice that begun and never ended (the run was killed in between) may have arrived or not: it counts as told, so that
nobody is told twice. One that ended without being sent does not count.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from humwatch.storage.lake import Lake
from humwatch.storage.records import Record, read_record

_SALT = "notices/salt.json"
# 40 bits tell a lake's channels apart; a tenth of a second a guess leaves little to who would guess an address.
_ID_BYTES = 5
_SCRYPT = {"n": 1 << 14, "r": 8, "p": 1, "maxmem": 1 << 26}


class Told(BaseModel):
    """One thing that a channel knows: its kind, what it is about (a machine's path), and the night it was told."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: str
    about: str
    night: str


class Begun(Record):
    """A message that is about to be sent.

    Attributes:
        night: which it is about.
        title: its heading.
        begun_at: ISO time, UTC.
        told: what the channel knows once it has the message.
    """

    night: str
    title: str
    begun_at: str
    told: list[Told]


class Ended(Record):
    """What became of a message; `why` in words where it was not sent, or nobody knows."""

    state: Literal["sent", "failed", "unsure"]
    why: str = ""
    ended_at: str


@dataclass(frozen=True)
class Notices:
    """What a channel was told.

    Attributes:
        newest: number of the newest notice, 0 before the first.
        told: what the channel knows.
        unsure: the last message that counts, where nobody knows whether it arrived.
        failed: the newest message where it did not arrive, and why.
    """

    newest: int
    told: tuple[Told, ...] = ()
    unsure: Begun | None = None
    failed: tuple[Begun, str] | None = None


def channel_id(lake: Lake, url: str) -> str:
    """Return the name of a channel in this lake: a salted, slow hash of its address, which cannot be read from it."""
    if not lake.exists(_SALT):
        lake.create(_SALT, json.dumps({"format_version": 1, "salt": secrets.token_hex(16)}).encode())
    return _name(lake, url)


def known_channel(lake: Lake, url: str) -> str | None:
    """Return the name of a channel, None in a lake from which nobody was told anything; nothing is written."""
    return _name(lake, url) if lake.exists(_SALT) else None


def _name(lake: Lake, url: str) -> str:
    salt = bytes.fromhex(lake.read_json(_SALT)["salt"])
    return hashlib.scrypt(url.encode(), salt=salt, dklen=_ID_BYTES, **_SCRYPT).hex()


def read_notices(lake: Lake, channel: str) -> Notices:
    """Return what a channel was told."""
    paths = set(lake.list(f"notices/{channel}", ".json"))
    numbers = sorted((int(path.split("/")[2]) for path in paths if path.endswith("/begun.json")), reverse=True)
    failed = None
    for number in numbers:
        begun = read_record(lake, _path(channel, number, "begun"), Begun)
        path = _path(channel, number, "ended")
        ended = read_record(lake, path, Ended) if path in paths else None
        if ended is not None and ended.state == "failed":
            failed = failed or (begun, ended.why)
            continue
        unsure = begun if ended is None or ended.state == "unsure" else None
        return Notices(numbers[0], tuple(begun.told), unsure, failed)
    return Notices(max(numbers, default=0), failed=failed)


def begin_notice(lake: Lake, channel: str, number: int, begun: Begun) -> bool:
    """Note a message before it is sent; False when another run has taken the number, and sends its own."""
    return lake.create(_path(channel, number, "begun"), begun.encode())


def end_notice(lake: Lake, channel: str, number: int, ended: Ended) -> None:
    """Note what became of a message."""
    lake.create(_path(channel, number, "ended"), ended.encode())


def _path(channel: str, number: int, name: str) -> str:
    return f"notices/{channel}/{number:06d}/{name}.json"
