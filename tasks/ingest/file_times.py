"""Times of recording that stand in WAV files themselves.

In the order in which they are believed; those that say their zone come first:

- GUANO, chunk `guan`: the field `Timestamp`, the start of the recording in ISO 8601 with an offset, `Z`, or local
  (GUANO specification 1.0). Song Meters and many bat detectors write it.
- AudioMoth's comment, `ICMT` in the list `INFO`: `Recorded at 19:22:55 14/12/2020 (UTC-5) by AudioMoth ...`, the zone
  in hours, perhaps with minutes (`UTC+5:30`), or `(UTC)`: so Open Acoustic Devices' firmware prints it.
- Broadcast Wave, chunk `bext`: date and time of origination, local, with any separator (EBU Tech 3285). Zoom, Tascam
  and Sound Devices write it.
- `ICRD` in the list `INFO`, the date of creation, where a time of day follows it (Microsoft's Multimedia Programming
  Interface asks for the date alone).

A clock that was never set is not believed: 1970, or 1980-01-01, where FAT's calendar begins.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from enum import StrEnum

from humwatch.tasks.plan.times import Clock

_AUDIOMOTH = re.compile(
    r"Recorded at (?P<clock>\d\d:\d\d:\d\d)(?:\.\d+)? (?P<date>\d\d/\d\d/\d{4}) "
    r"\(UTC(?:(?P<sign>[+-])(?P<hours>\d\d?)(?::?(?P<minutes>\d\d))?)?\)"
)
# In bext: description (256 bytes), originator and its reference (32 each), date, time.
_BEXT = re.compile(
    rb".{320}(?P<year>\d{4})[-_:. /](?P<month>\d\d)[-_:. /](?P<day>\d\d)"
    rb"(?P<hour>\d\d)[-_:. ](?P<minute>\d\d)[-_:. ](?P<second>\d\d)",
    re.DOTALL,
)
_FIRST_BELIEVED = datetime(1980, 1, 2, tzinfo=UTC)
_PADDING = " \t\r\n\x0b\x0c\x00"


class TimeSource(StrEnum):
    """Where in a file a time stands."""

    GUANO = "GUANO"
    AUDIOMOTH = "AudioMoth comment"
    BEXT = "bext"
    ICRD = "ICRD"


@dataclass(frozen=True)
class FileTime:
    """A time of recording, in UTC, and where in the file it stands."""

    recorded_at: datetime
    source: TimeSource


def time_in_wav(chunks: Mapping[bytes, bytes], zone: tzinfo) -> FileTime | None:
    """Return the time of recording that a WAV file's chunks give; None when there is none that can be believed.

    Args:
        chunks: bodies by name: `guan`, `bext`, and the list INFO (its body begins with `INFO`) as `LIST`.
        zone: of times that say none.
    """
    info = dict(_entries_of_info(chunks.get(b"LIST", b"")))
    texts = (
        (TimeSource.GUANO, _guano(chunks.get(b"guan", b""))),
        (TimeSource.AUDIOMOTH, _audiomoth(info.get(b"ICMT", ""))),
        (TimeSource.BEXT, _bext(chunks.get(b"bext", b""))),
        (TimeSource.ICRD, info.get(b"ICRD", "")),
    )
    for source, text in texts:
        moment = _moment(text, zone)
        if moment and moment >= _FIRST_BELIEVED:
            return FileTime(moment, source)
    return None


def _moment(text: str, zone: tzinfo) -> datetime | None:
    """Return an ISO 8601 time with a time of day, in UTC."""
    if not re.search(r"\d[T ]\d", text):
        return None
    try:
        return Clock(zone).in_utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def _guano(body: bytes) -> str:
    for line in body.decode("utf-8", "replace").split("\n"):
        key, _, value = line.partition(":")
        if key.strip(_PADDING) == "Timestamp":
            return value.strip(_PADDING)
    return ""


def _audiomoth(comment: str) -> str:
    match = _AUDIOMOTH.search(comment)
    if not match:
        return ""
    day, month, year = match["date"].split("/")
    zone = f"{match['sign'] or '+'}{int(match['hours'] or 0):02}:{match['minutes'] or '00'}"
    return f"{year}-{month}-{day}T{match['clock']}{zone}"


def _bext(body: bytes) -> str:
    match = _BEXT.match(body)
    if not match:
        return ""
    year, month, day, hour, minute, second = (group.decode("ascii") for group in match.groups())
    return f"{year}-{month}-{day}T{hour}:{minute}:{second}"


def _entries_of_info(body: bytes) -> Iterator[tuple[bytes, str]]:
    """Yield the entries of a list INFO; one that is longer than the list ends with it."""
    at = 4 if body.startswith(b"INFO") else len(body)
    while at + 8 <= len(body):
        name, size = struct.unpack_from("<4sI", body, at)
        yield name, body[at + 8 : at + 8 + size].decode("utf-8", "replace").strip(_PADDING)
        at += 8 + size + size % 2
