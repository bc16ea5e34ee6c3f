"""Facts from the names of folders, archives and files; what a manifest or the configured expression says wins.

A night is a date in a folder's or archive's name, a date that consecutive folders spell (`2026/11/21`, `2026-11/21`),
or one of Hive's keys (`year=2026/month=11/day=21`, `dt=2026-11-21`); where folders have none, and neither a condition
nor a split stands for the batch, it is the date in the file's name. Hive's keys `machine=`, `type=`, `site=` and their
like name the machine. A machine that would be called like a year, a month, a day or a Hive key is refused.

File names of DCASE Task 2, 2020 to 2025, as its data set pages give them; MIMII puts the condition (signal-to-noise
ratio) into archive names (`-6_dB_fan.zip`), Zenodo record 3384388.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from humwatch.storage.errors import BadConfiguration
from humwatch.storage.reasons import Reason
from humwatch.storage.sources import archive_suffix
from humwatch.tasks.plan.times import date_of, date_of_folders, parse_time, strip_dates, time_of

FACT_NAMES = (
    "site", "machine_type", "machine_id", "batch", "condition",
    "domain", "label", "split", "recorded_at", "attributes",
)  # fmt: skip
"""Columns of a manifest and, with `index`, named groups of a name pattern."""

LABEL_WORDS = {
    **dict.fromkeys(("normal", "ok", "good", "healthy"), "normal"),
    **dict.fromkeys(("abnormal", "anomaly", "anomalous", "anomalies", "ng", "nok", "bad", "faulty"), "abnormal"),
}
"""What folders, file names, manifests and name patterns call a label, in lower case."""
_CHOICES = {"domain": ("source", "target"), "split": ("train", "test", "supplemental")}

_CONDITION = re.compile(r"(-?)(?<![a-z0-9.])(\d+(?:\.\d+)?)_?dB(?![a-z0-9])", re.IGNORECASE)
_SPLIT_FOLDER = re.compile(r"(?:(?P<domain>source|target)_)?(?P<split>train|test|supplemental)", re.IGNORECASE)
_PASSED_FOLDER = re.compile(r".*_data", re.IGNORECASE)
_NUMBERED_ID = re.compile(r"(?:id|section)_\d+", re.IGNORECASE)
_LOOKS_LIKE_ID = re.compile(r".*\d[a-z]?", re.IGNORECASE)
_DCASE_NAMES = (
    re.compile(
        r"(?P<machine_id>section_\d+)(?:_(?P<domain>source|target))?(?:_(?P<split>train|test|supplemental))?"
        r"(?:_(?P<label>normal|anomaly))?_\d+(?:_(?P<attributes>.+))?",
        re.IGNORECASE,
    ),
    re.compile(r"(?:(?P<label>normal|anomaly)_)?(?P<machine_id>id_\d+)_\d+", re.IGNORECASE),
)
_LABEL_NAME = re.compile(rf"(?P<label>{'|'.join(LABEL_WORDS)})(?:[_-]?\d+)?", re.IGNORECASE)
_REPEAT = re.compile(r"#\d+$")

_HIVE = re.compile(r"(?P<key>[A-Za-z_]+)=(?P<value>.+)")
_HIVE_DATES = ("year", "month", "day")
_HIVE_NIGHTS = ("dt", "date", "night")
_HIVE_FACTS = {
    "site": "site", "machine_type": "machine_type", "type": "machine_type", "line": "machine_type",
    "area": "machine_type", "machine_id": "machine_id", "machine": "machine_id", "asset": "machine_id",
    "id": "machine_id", "sensor": "machine_id", "condition": "condition",
}  # fmt: skip
# What no machine is called: a year, a year and month, a date that can be read two ways, a key of Hive.
_NO_ID = re.compile(r"(?:19|20)\d\d|(?:19|20)\d\d[-_.]\d\d?|\d{1,2}[-_.]\d{1,2}[-_.]\d{4}|\w+=.*")
_NO_TYPE = re.compile(rf"\d{{1,2}}|{_NO_ID.pattern}")  # nor a type like a month or a day


class Origin(StrEnum):
    """Which rule said a fact; the value is what `humwatch inspect` shows."""

    MANIFEST = "manifest"
    NAME_PATTERN = "name_pattern"
    HIVE_KEY = "Hive key"
    FOLDER_DATE = "folder date"
    FOLDER = "folder"
    ARCHIVE_NAME = "archive name"
    DCASE_NAME = "DCASE name"
    FILE_NAME = "file name"
    DEFAULT = "default"


@dataclass(frozen=True)
class Facts:
    """What is known of a recording before it is opened.

    Attributes:
        machine_type: "unknown" when no folder or archive names it; machine_id: "all" when the type has no IDs.
        batch: date, else condition, else the split of DCASE names, else "all".
        condition: normal form `-6_dB`, or as given; label: normal | abnormal | None; domain: source | target | None.
        split: train | test | supplemental (neither) | None; recorded_at: in UTC; attributes: the tail of a DCASE name.
        problem: CONFLICTING_NAMES when two sources of truth disagree, UNCLEAR_MACHINE when its name is none.
        origins: which rule said it, for each of the facts above that is not None.
    """

    site: str | None
    machine_type: str
    machine_id: str
    batch: str
    condition: str | None
    domain: str | None
    label: str | None
    split: str | None
    recorded_at: datetime | None
    attributes: str | None
    problem: Reason | None
    origins: Mapping[str, Origin]


class _Claim(NamedTuple):
    """A fact that a part of a path states."""

    value: Any
    origin: Origin


_Claims = defaultdict[str, list[_Claim]]


class _Folder(NamedTuple):
    """A folder's or archive's name without suffix, dates and conditions."""

    name: str
    origin: Origin


def compile_pattern(name_pattern: str | None) -> re.Pattern[str] | None:
    """Return the configured expression, ready for `read_name`.

    Raises:
        BadConfiguration: it is no regular expression, or has a group that is no fact.
    """
    if name_pattern is None:
        return None
    try:
        pattern = re.compile(name_pattern)
    except re.error as error:
        raise BadConfiguration(f"ingest.name_pattern is not a regular expression: {error}") from error
    allowed = {*FACT_NAMES, "index"}
    if unknown := sorted(pattern.groupindex.keys() - allowed):
        raise BadConfiguration(
            f"ingest.name_pattern has unknown groups {', '.join(unknown)}; known are {', '.join(sorted(allowed))}"
        )
    return pattern


def checked_facts(texts: Mapping[str, str | None], where: str) -> dict[str, Any]:
    """Return facts given as text in the form `Facts` has them; empty texts say nothing, the label `unknown` says None.

    Raises:
        BadConfiguration: a value is not one the column can have; `where` begins the message.
    """
    facts: dict[str, Any] = {}
    for name, text in texts.items():
        value = (text or "").strip()
        if not value:
            continue
        try:
            facts[name] = _checked(name, value)
        except (KeyError, ValueError) as error:
            raise BadConfiguration(f"{where}: {value!r} is no {name}") from error
    return facts


def read_name(path: str, name_pattern: re.Pattern[str] | None = None, given: Mapping[str, Any] | None = None) -> Facts:
    """Return what a recording's path says (`humwatch.storage.sources.Member.path`: SOURCE's name, folders, file name).

    Args:
        path: with forward slashes.
        name_pattern: searched in the path; its named groups win over what the rules below it find.
        given: facts that win over everything else (a manifest's), in the form of `checked_facts`.

    Raises:
        BadConfiguration: the pattern caught a value its group cannot have.
    """
    path = _REPEAT.sub("", path)
    stated = {name: _Claim(value, Origin.NAME_PATTERN) for name, value in _pattern_facts(path, name_pattern).items()}
    stated |= {name: _Claim(value, Origin.MANIFEST) for name, value in (given or {}).items()}
    *parents, file_name = [part for part in path.split("/") if part not in {"", ".", ".."}]
    stem = file_name.rpartition(".")[0] or file_name
    claims: _Claims = defaultdict(list)
    parents, hive = _without_hive(parents)
    parents, spread = _without_spread_date(parents)
    chain: list[_Folder] = []
    for parent in parents:
        folder = _folder(parent, claims)
        if folder.name and not _claims_of_folder(folder, claims):
            chain.append(folder)
    dcase = next((match for regex in _DCASE_NAMES if (match := regex.fullmatch(stem))), None)
    machine_type, folder_id = _machine(chain, dcase["machine_id"] if dcase else None)
    claims["machine_type"] += [machine_type] if machine_type else []
    claims["machine_id"] += [folder_id] if folder_id else []
    _claims_of_file(stem, dcase, claims)
    found = {name: values[-1] for name, values in claims.items() if values} | hive | stated
    if "recorded_at" not in found and (time := time_of(stem)):
        found["recorded_at"] = _Claim(time, Origin.FILE_NAME)
    found.setdefault("machine_type", _Claim("unknown", Origin.DEFAULT))
    found.setdefault("machine_id", _Claim("all", Origin.DEFAULT))
    if "batch" not in found:
        stand_ins = ("condition", "split") if dcase else ("condition",)
        found["batch"] = _batch(parents, spread, [found[name] for name in stand_ins if name in found], stem, found)
    disagree = any(len({claim.value for claim in values}) > 1 for name, values in claims.items() if name not in stated)
    unclear = ("machine_type" not in stated and _NO_TYPE.fullmatch(found["machine_type"].value)) or (
        "machine_id" not in stated and _NO_ID.fullmatch(found["machine_id"].value)
    )
    values: dict[str, Any] = {name: found[name].value if name in found else None for name in FACT_NAMES}
    return Facts(
        **values,
        problem=Reason.CONFLICTING_NAMES if disagree else Reason.UNCLEAR_MACHINE if unclear else None,
        origins={name: found[name].origin for name in FACT_NAMES if name in found and found[name].value is not None},
    )


def file_key(path: str, name_pattern: re.Pattern[str] | None = None) -> str:
    """Return what identifies the same take under several conditions: `fan/id_00/normal/00000000.wav`.

    That is the path below the innermost archive without its conditions; where the pattern has a group `index`, the
    machine, label and index instead.
    """
    path = _REPEAT.sub("", path)
    match = name_pattern.search(path) if name_pattern and "index" in name_pattern.groupindex else None
    if match and match["index"]:
        facts = read_name(path, name_pattern)
        return "/".join(filter(None, (facts.machine_type, facts.machine_id, facts.label, match["index"])))
    *parents, file_name = path.split("/")
    inner: list[str] = []
    for parent in parents:
        inner = [] if archive_suffix(parent) else [*inner, _strip_conditions(parent)]
    return "/".join([*filter(None, inner), file_name])


def _without_hive(parents: list[str]) -> tuple[list[str], dict[str, _Claim]]:
    """Return the folders that are no `key=value` of Hive, and what those say: facts, a date as `batch`."""
    found = {part: (match["key"].lower(), match["value"]) for part in parents if (match := _HIVE.fullmatch(part))}
    keys = dict(found.values())
    facts = {_HIVE_FACTS[key]: _Claim(value, Origin.HIVE_KEY) for key, value in keys.items() if key in _HIVE_FACTS}
    pieces = [keys[key].zfill(2) for key in _HIVE_DATES if key in keys]
    night = date_of_folders(pieces) or next((date_of(keys[key]) for key in _HIVE_NIGHTS if key in keys), None)
    if night:
        facts["batch"] = _Claim(night, Origin.HIVE_KEY)
    understood = {*_HIVE_FACTS, *(_HIVE_DATES if len(pieces) == len(_HIVE_DATES) else ()), *_HIVE_NIGHTS}
    return [part for part in parents if part not in found or found[part][0] not in understood], facts


def _without_spread_date(parents: list[str]) -> tuple[list[str], str | None]:
    """Return the folders without the innermost two or three that spell a date, and the date."""
    for length in (3, 2):
        for start in range(len(parents) - length, -1, -1):
            if date := date_of_folders(parents[start : start + length]):
                return parents[:start] + parents[start + length :], date
    return parents, None


def _batch(
    parents: Sequence[str], spread: str | None, stand_ins: Sequence[_Claim], stem: str, found: Mapping[str, _Claim]
) -> _Claim:
    """Return the folders' date, else what stands in for a night, else the date of the file's name, else "all"."""
    date = spread or next((date for parent in reversed(parents) if (date := date_of(parent))), None)
    if date:
        return _Claim(date, Origin.FOLDER_DATE)
    if claim := next((claim for claim in stand_ins if claim.value), None):
        return claim
    if recorded := found.get("recorded_at"):
        return _Claim(recorded.value.date().isoformat(), recorded.origin)
    date = date_of(stem)
    return _Claim(date, Origin.FILE_NAME) if date else _Claim("all", Origin.DEFAULT)


def _folder(parent: str, claims: _Claims) -> _Folder:
    suffix = archive_suffix(parent)
    name = parent.removesuffix(suffix)
    origin = Origin.ARCHIVE_NAME if suffix else Origin.FOLDER
    claims["condition"] += [_Claim(_condition(match), origin) for match in _CONDITION.finditer(name)]
    return _Folder(_tidied(strip_dates(_strip_conditions(name)), name), origin)


def _claims_of_folder(folder: _Folder, claims: _Claims) -> bool:
    """Take label, split and domain from a folder that says nothing else; whether it is such a folder."""
    if label := LABEL_WORDS.get(folder.name.lower()):
        claims["label"].append(_Claim(label, folder.origin))
        return True
    if split := _SPLIT_FOLDER.fullmatch(folder.name):
        for key, value in split.groupdict().items():
            claims[key] += [_Claim(value.lower(), folder.origin)] if value else []
        return True
    return _PASSED_FOLDER.fullmatch(folder.name) is not None


def _machine(chain: Sequence[_Folder], file_id: str | None) -> tuple[_Claim | None, _Claim | None]:
    """Return the machine type, and the ID that folders give, from the folders that name neither label nor split."""
    claims = [_Claim(folder.name, folder.origin) for folder in chain]
    numbered = [index for index, folder in enumerate(chain) if _NUMBERED_ID.fullmatch(folder.name)]
    if numbered or file_id:
        above = claims[: numbered[-1]] if numbered else claims
        types = [claim for claim in above if not _NUMBERED_ID.fullmatch(claim.value)]
        return (types[-1] if types else None), (claims[numbered[-1]] if numbered else None)
    archives = [index for index, folder in enumerate(chain) if folder.origin is Origin.ARCHIVE_NAME]
    archive = claims[archives[-1]] if archives else None
    inner = claims[archives[-1] + 1 :] if archives else claims
    if len(inner) >= 2:
        return inner[-2], inner[-1]
    if not inner:
        return archive, None
    if archive is None or inner[0].value == archive.value or not _LOOKS_LIKE_ID.fullmatch(inner[0].value):
        return inner[0], None
    return archive, inner[0]


def _claims_of_file(stem: str, dcase: re.Match[str] | None, claims: _Claims) -> None:
    """Take what a name of DCASE or MIMII says, or one that is a label and perhaps a number."""
    name = dcase or _LABEL_NAME.fullmatch(stem)
    origin = Origin.DCASE_NAME if dcase else Origin.FILE_NAME
    for key, value in (name.groupdict() if name else {}).items():
        if value:
            claims[key].append(_Claim(_checked(key, value), origin))


def _pattern_facts(path: str, name_pattern: re.Pattern[str] | None) -> dict[str, Any]:
    match = name_pattern.search(path) if name_pattern else None
    if not match:
        return {}
    groups = {name: text for name, text in match.groupdict().items() if name != "index"}
    return checked_facts(groups, f"ingest.name_pattern on {path}")


def _checked(name: str, value: str) -> str | datetime | None:
    if name == "label":
        return None if value.lower() == "unknown" else LABEL_WORDS[value.lower()]
    if name in _CHOICES:
        return _CHOICES[name][_CHOICES[name].index(value.lower())]
    if name == "recorded_at":
        return parse_time(value)
    if name == "condition" and (match := _CONDITION.fullmatch(value)):
        return _condition(match)
    return value


def _condition(match: re.Match[str]) -> str:
    return f"{float(match[1] + match[2]) + 0.0:g}_dB"  # + 0.0 makes -0 plain 0


def _strip_conditions(name: str) -> str:
    return _tidied(_CONDITION.sub("", name), name)


def _tidied(stripped: str, name: str) -> str:
    """Return what is left of a name once something was cut out, without the separators around the cut."""
    return name if stripped == name else re.sub(r"[_\-. ]{2,}", "_", stripped).strip("_-. ")
