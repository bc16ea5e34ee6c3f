"""Layouts: templates of paths, such as `{site}/{machine_id}/{recorded_at:%Y/%m/%d}/{}.wav`.

A template speaks of the end of a path: of as many last folders and archives as it has, whatever lies above them; case
does not matter. `{}` is anything within one folder or name, `{FACT}` the same, kept as a fact; a fact that occurs twice
must read the same twice. `{recorded_at:...}` and `{batch:...}` may have strptime codes, over several folders as well:

- a date alone is the night (batch), under either name;
- a date and a time of day is recorded_at, and its night follows from it unless the template or a folder says it;
- a time of day alone, as `{batch:%Y-%m-%d}/{recorded_at:%H%M%S}.wav`, is one of the night that `{batch:...}` gives;
- a `Z` at the end of the codes says UTC; without it and without `%z` a time is local to ingest.time_zone.

A template that names a site, machine type or ID names the machine as a whole: what it leaves out is not guessed.
The parser is the library parse, which is to str.format what strptime is to strftime.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import parse

from humwatch.storage.errors import BadConfiguration
from humwatch.tasks.ingest.recording_facts import FACT_NAMES, Conventions, checked

_FIELDS = (*FACT_NAMES, "index")
_TIMES = ("recorded_at", "batch")
_DATE = re.compile(r"(?=.*%[Yy])(?=.*(%j|%[mbB].*%d|%d.*%[mbB]))")
_KNOWN_CODES = "%Y %y %m %b %B %d %j %a %A %H %I %p %M %S %f %z"
_CODES = re.compile(rf"(?:{'|'.join(_KNOWN_CODES.split())}|[A-Za-z0-9 _\-:.,/])+")
_TIME_OF_DAY = re.compile(r"%[HIpMSfz]")


@dataclass(frozen=True)
class Layout:
    """A template, ready to read paths; see `compile_layouts`."""

    template: str
    depth: int
    utc: bool
    parser: parse.Parser

    def read(self, path: str, conventions: Conventions) -> dict[str, Any] | None:
        """Return the facts (and `index`) that a path says, in the form of `Facts`.

        None when the path does not fit: it is not as deep, differs, or a value is not one that the fact can have.
        """
        parts = folders_and_name(path)
        if len(parts) < self.depth:
            return None
        text = unicodedata.normalize("NFC", "/".join(parts[-self.depth :]))
        try:
            result = self.parser.parse(text)
            return self._facts(result.named, conventions) if result else None
        except (KeyError, ValueError, OverflowError):  # no date, no label, no number
            return None

    def _facts(self, values: Mapping[str, Any], conventions: Conventions) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        for name, value in values.items():
            if isinstance(value, datetime):
                utc = value.replace(tzinfo=UTC) if self.utc else value
                facts["recorded_at"] = conventions.clock.in_utc(utc)
            elif isinstance(value, date):
                facts["batch"] = value.isoformat()
            elif isinstance(value, time):
                facts["recorded_at"] = conventions.clock.at(values["batch"], value)
            else:
                facts[name] = checked(name, value, conventions)
        return facts


def folders_and_name(path: str) -> list[str]:
    """Return the folders and archives of a path, outermost first, and the file's name."""
    return [part for part in path.split("/") if part not in {"", ".", ".."}]


def compile_layouts(templates: Sequence[str]) -> tuple[Layout, ...]:
    """Return the configured templates, ready to read paths.

    Raises:
        BadConfiguration: a template is none; the message says which and why.
    """
    return tuple(_compiled(template) for template in templates)


def _compiled(template: str) -> Layout:
    try:
        codes = _codes(template)
        _check_times(codes)
        parser = parse.compile(unicodedata.normalize("NFC", template))
    except ValueError as error:
        raise BadConfiguration(f"ingest.layout {template!r}: {error}") from error
    return Layout(template, template.count("/") + 1, codes.get("recorded_at", "").endswith("Z"), parser)


def _codes(template: str) -> dict[str, str]:
    """Return the fields of a template with their strptime codes, "" where they have none."""
    if any(part in {"", ".", ".."} for part in template.split("/")):
        raise ValueError("it must be folders and a file name, with one / between them and none before")
    codes: dict[str, str] = {}
    touches = False
    for literal, name, code, conversion in string.Formatter().parse(template):
        if name is None:
            continue
        if touches and not literal:
            raise ValueError(f"nothing tells where {{{name}}} begins: write something before it, or use a name_pattern")
        touches = True
        if name and name not in _FIELDS:
            raise ValueError(f"{{{name}}} is unknown; known are {', '.join(_FIELDS)}, and {{}} for anything")
        if conversion or (code and name not in _TIMES):
            raise ValueError(f"{{{name}}} takes no codes; {' and '.join(_TIMES)} alone take those of strptime")
        if codes.setdefault(name, code or "") != (code or ""):
            raise ValueError(f"{{{name}}} has two kinds of codes; a date apart from its time of day is {{batch:...}}")
    return codes


def _check_times(codes: Mapping[str, str]) -> None:
    """Refuse codes that do not make a date or a time."""
    for name in _TIMES:
        code = codes.get(name, "")
        if code and not (code.startswith("%") and _CODES.fullmatch(code)):
            raise ValueError(f"{code!r} is no time: it begins with a code, of {_KNOWN_CODES}; others are unknown")
    recorded, batch = codes.get("recorded_at"), codes.get("batch", "")
    if batch and (not _DATE.match(batch) or _TIME_OF_DAY.search(batch)):
        raise ValueError("{batch:...} needs the codes of a date (year, month and day) and no others")
    if recorded is None:
        return
    has_date, has_time = _DATE.match(recorded), _TIME_OF_DAY.search(recorded)
    if not has_date and not (batch and has_time):
        raise ValueError(
            "{recorded_at:...} needs the codes of a date (year, month and day), or those of a time of day and "
            "beside it {batch:...} with those of a date"
        )
    if not has_date and re.search("%[^HIpMSf]|Z$", recorded):
        raise ValueError("{recorded_at:...} without a date is a local time of day: hour, minute and second alone")
    if has_time and "%H" not in recorded and not ("%I" in recorded and "%p" in recorded):
        raise ValueError("{recorded_at:...} needs the hour: %H, or %I and %p")
    if has_date and not has_time and "batch" in codes:
        raise ValueError("{recorded_at:...} is a date, and so is {batch}: one of them is enough")
