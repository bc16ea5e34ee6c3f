"""Facts from the names of folders, archives and files, by rules for what plants, recorders and data sets write.

What is said outright comes first: a manifest, then a layout (`humwatch.tasks.ingest.layout`), then the configured
expression. The rules find the rest.

A night is a date in a folder's or archive's name, a date that consecutive folders spell (`2026/11/21`, `2026-11/21`),
or one of Hive's keys (`year=2026/month=11/day=21`, `dt=2026-11-21`); where folders have none, and neither a condition
nor a split stands for the batch, it is the date in the file's name. Hive's keys `machine=`, `type=`, `site=` and their
like name the machine. A machine that would be called like a year, a month, a day or a Hive key is refused. Folders and
archives called like a week, month or quarter, archives called like a part of something, and the folders that recorders
make for each take (`ZOOM0001`) name no machine.

File names of DCASE Task 2, 2020 to 2025, as its data set pages give them; MIMII puts the condition (signal-to-noise
ratio) into archive names (`-6_dB_fan.zip`), Zenodo record 3384388.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from humwatch.storage.reasons import Reason
from humwatch.storage.sources import archive_suffix
from humwatch.tasks.ingest.layout import folders_and_name
from humwatch.tasks.ingest.name_rules import DEFAULT_RULES, NameRules
from humwatch.tasks.ingest.recording_facts import CONDITION, FACT_NAMES, Facts, Origin, checked, normal_condition
from humwatch.tasks.plan.times import date_of, date_of_folders, strip_dates, text_before_time, time_of

_SPLIT_FOLDER = re.compile(r"(?:(?P<domain>source|target)_)?(?P<split>train|test|supplemental)", re.IGNORECASE)
# Folders that name nothing: of data sets, and of the takes of Zoom and Tascam recorders.
_PASSED_FOLDER = re.compile(r".*_data|(?:zoom|tascam_)\d{4}|folder\d\d", re.IGNORECASE)
_YEAR = r"(?:19|20)\d\d"
# A week, a month, a quarter, which are no machines; and a part of something, which as an archive is none.
_MONTH = (
    "(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    "|nov(?:ember)?|dec(?:ember)?)"
)
_PERIOD = re.compile(
    rf"(?:{_YEAR}[-_ ]?)?(?:(?:week|wk|kw|cw|month|quarter)[-_ ]?\d{{1,2}}|{_MONTH})(?:[-_ ]?{_YEAR})?"
    rf"|{_YEAR}[-_ ]?[wq]\d{{1,2}}",
    re.IGNORECASE,
)
_PART = re.compile(r"(?:part|batch|chunk|vol(?:ume)?|dis[kc]|card|night|day|shift|w|q)[-_ ]?\d+", re.IGNORECASE)
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
# What stands before a time and names a machine; 16 digits are the number of an AudioMoth.
_MACHINE_BEFORE_TIME = re.compile(rf"{_LOOKS_LIKE_ID.pattern}|[0-9A-F]{{16}}", re.IGNORECASE)
# What recorders and people call a take, and so no machine.
_TAKE = re.compile(
    r"(?:take|rec|recording|file|track|audio|sound|test|sample|clip|ch|channel|mic|zoom|tascam)[-_ ]?\d*[a-z]?",
    re.IGNORECASE,
)
_FIRST_HEX_SECONDS = int(datetime(2010, 1, 1, tzinfo=UTC).timestamp())  # years before AudioMoths; no MIMII index
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


class _Claim(NamedTuple):
    """A fact that a part of a path states."""

    value: Any
    origin: Origin


_Claims = defaultdict[str, list[_Claim]]


class _Folder(NamedTuple):
    """A folder's or archive's name without suffix, dates and conditions."""

    name: str
    origin: Origin


_MACHINE = {"site", "machine_type", "machine_id"}
_DEFAULTS = {
    "machine_type": _Claim("unknown", Origin.DEFAULT),
    "machine_id": _Claim("all", Origin.DEFAULT),
    "batch": _Claim("all", Origin.DEFAULT),
}


def read_name(path: str, rules: NameRules = DEFAULT_RULES, given: Mapping[str, Any] | None = None) -> Facts:
    """Return what a recording's path says (`humwatch.storage.sources.Member.path`: SOURCE's name, folders, file name).

    Args:
        path: with forward slashes.
        rules: of the settings; what its layouts and pattern say wins over the rules of this module.
        given: facts that win over everything else (a manifest's), in the form of `checked_facts`.

    Raises:
        BadConfiguration: the pattern caught a value its group cannot have.
    """
    path = _REPEAT.sub("", path)
    *parents, file_name = folders_and_name(path)
    source = _folder(parents[0]).name if parents else ""
    laid_out = rules.by_layout(path)
    stated = _claims(rules.by_pattern(path), Origin.NAME_PATTERN)
    stated |= _claims(laid_out or {}, Origin.LAYOUT) | _claims(given or {}, Origin.MANIFEST)
    if rules.layouts and laid_out is None and not _MACHINE & (given or {}).keys():
        return _facts({name: claim for name, claim in stated.items() if name not in _MACHINE}, Reason.NO_LAYOUT)
    stem = file_name.rpartition(".")[0] or file_name
    claims: _Claims = defaultdict(list)
    parents, hive = _without_hive(parents)
    parents, spread = _without_spread_date(parents)
    chain = _machine_folders(parents, rules, claims)
    dcase = next((match for regex in _DCASE_NAMES if (match := regex.fullmatch(stem))), None)
    machine_type, folder_id = _machine(chain, dcase["machine_id"] if dcase else None)
    claims["machine_type"] += [machine_type] if machine_type else []
    claims["machine_id"] += [folder_id] if folder_id else []
    _claims_of_file(stem, dcase, rules, claims)
    settled = {*stated, *(_MACHINE if laid_out and _MACHINE & laid_out.keys() else ())}
    disagree = any(len({claim.value for claim in said}) > 1 for name, said in claims.items() if name not in settled)
    found = {name: said[-1] for name, said in claims.items() if said} | hive
    found = {name: claim for name, claim in found.items() if name not in settled} | stated
    if "batch" not in found:
        stand_ins = ("condition", "split") if dcase else ("condition",)
        night = _folder_date(parents, spread) or next((found[name] for name in stand_ins if name in found), None)
        found["batch"] = night or _file_date(stem, found.get("recorded_at"), rules) or _DEFAULTS["batch"]
    facts = _facts(found, Reason.CONFLICTING_NAMES if disagree else None)
    if facts.problem is None and _is_unclear(facts, settled):
        return replace(facts, problem=Reason.UNCLEAR_MACHINE)
    from_folders = not (dcase or _MACHINE & {*settled, *hive})
    return replace(facts, above=_above(chain, {source, facts.machine_type, facts.machine_id}) if from_folders else None)


def with_time_of_file(facts: Facts, recorded_at: datetime, rules: NameRules) -> Facts:
    """Return the facts with the time that stands in the file itself, and its night, where names say none."""
    if facts.recorded_at is not None:
        return facts
    found: dict[str, Any] = {"recorded_at": recorded_at}
    if facts.origins["batch"] is Origin.DEFAULT:
        found["batch"] = rules.conventions.clock.night_of(recorded_at)
    return replace(facts, **found, origins={**facts.origins, **dict.fromkeys(found, Origin.FILE_CONTENT)})


def file_key(path: str, rules: NameRules = DEFAULT_RULES) -> str:
    """Return what identifies the same take under several conditions: `fan/id_00/normal/00000000.wav`.

    That is the path below the innermost archive without its conditions; where the layout or the pattern has an `index`,
    the machine, label and index instead.
    """
    path = _REPEAT.sub("", path)
    if index := rules.index_of(path):
        facts = read_name(path, rules)
        return "/".join(filter(None, (facts.machine_type, facts.machine_id, facts.label, index)))
    *parents, file_name = path.split("/")
    inner: list[str] = []
    for parent in parents:
        inner = [] if archive_suffix(parent) else [*inner, _strip_conditions(parent)]
    return "/".join([*filter(None, inner), file_name])


def _claims(values: Mapping[str, Any], origin: Origin) -> dict[str, _Claim]:
    return {name: _Claim(value, origin) for name, value in values.items()}


def _facts(found: Mapping[str, _Claim], problem: Reason | None) -> Facts:
    found = {**_DEFAULTS, **found}
    values: dict[str, Any] = {name: found[name].value if name in found else None for name in FACT_NAMES}
    origins = {name: found[name].origin for name in FACT_NAMES if values[name] is not None}
    return Facts(**values, problem=problem, origins=origins)


def _is_unclear(facts: Facts, settled: Collection[str]) -> bool:
    """Whether rules would call a machine what none is called."""
    return bool(
        ("machine_type" not in settled and _NO_TYPE.fullmatch(facts.machine_type))
        or ("machine_id" not in settled and _NO_ID.fullmatch(facts.machine_id))
    )


def _without_hive(parents: Sequence[str]) -> tuple[list[str], dict[str, _Claim]]:
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


def _folder_date(parents: Sequence[str], spread: str | None) -> _Claim | None:
    date = spread or next((date for parent in reversed(parents) if (date := date_of(parent))), None)
    return _Claim(date, Origin.FOLDER_DATE) if date else None


def _file_date(stem: str, recorded_at: _Claim | None, rules: NameRules) -> _Claim | None:
    """Return the night of the time of recording, else the date in the file's name."""
    if recorded_at:
        return _Claim(rules.conventions.clock.night_of(recorded_at.value), recorded_at.origin)
    date = date_of(stem)
    return _Claim(date, Origin.FILE_NAME) if date else None


def _machine_folders(parents: Sequence[str], rules: NameRules, claims: _Claims) -> list[_Folder]:
    """Return the folders and archives that can name a machine; what the others say goes to `claims`."""
    folders = []
    for parent in parents:
        folder = _folder(parent)
        claims["condition"] += [
            _Claim(normal_condition(match), folder.origin) for match in CONDITION.finditer(_without_suffix(parent))
        ]
        if folder.name and not _claims_of_folder(folder, rules, claims):
            folders.append(folder)
    parts = [folder for folder in folders[:-1] if folder.origin is Origin.ARCHIVE_NAME and _PART.fullmatch(folder.name)]
    return [folder for folder in folders if folder not in parts]


def _folder(parent: str) -> _Folder:
    name = _without_suffix(parent)
    origin = Origin.FOLDER if name == parent else Origin.ARCHIVE_NAME
    return _Folder(_tidied(strip_dates(_strip_conditions(name)), name), origin)


def _without_suffix(parent: str) -> str:
    return parent.removesuffix(archive_suffix(parent))


def _claims_of_folder(folder: _Folder, rules: NameRules, claims: _Claims) -> bool:
    """Take label, split and domain from a folder that says nothing else; whether it names no machine."""
    if label := rules.conventions.label_words.get(folder.name.lower()):
        claims["label"].append(_Claim(label, folder.origin))
        return True
    if split := _SPLIT_FOLDER.fullmatch(folder.name):
        for key, value in split.groupdict().items():
            claims[key] += [_Claim(value.lower(), folder.origin)] if value else []
        return True
    return bool(_PASSED_FOLDER.fullmatch(folder.name) or _PERIOD.fullmatch(folder.name))


def _above(chain: Sequence[_Folder], known: Collection[str]) -> str:
    """Return the folders that name neither what is known nor a time or part, such as `plantA`.

    Numbered IDs are those of data sets, whose archives are parts of one.
    """
    numbered = any(_NUMBERED_ID.fullmatch(name) for name in known)
    names = [folder.name for folder in chain if not (numbered and folder.origin is Origin.ARCHIVE_NAME)]
    dated = any(re.fullmatch(_YEAR, name) for name in names)
    meaningless = _NO_TYPE if dated else _NO_ID
    return "/".join(
        name for name in names if not (name in known or _PART.fullmatch(name) or meaningless.fullmatch(name))
    )


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


def _claims_of_file(stem: str, dcase: re.Match[str] | None, rules: NameRules, claims: _Claims) -> None:
    """Take what a name of DCASE or MIMII says, or one that is a label and perhaps a number, and the time."""
    name = dcase or rules.label_name.fullmatch(stem)
    origin = Origin.DCASE_NAME if dcase else Origin.FILE_NAME
    for key, value in (name.groupdict() if name else {}).items():
        if value:
            claims[key].append(_Claim(checked(key, value, rules.conventions), origin))
    recorded_at = time_of(stem, rules.conventions.clock) or (_hex_seconds(stem) if rules.hex_seconds else None)
    if recorded_at:
        claims["recorded_at"].append(_Claim(recorded_at, Origin.FILE_NAME))
    if not claims["machine_id"] and (machine := _machine_before_time(stem)):
        claims["machine_id"].append(_Claim(machine, Origin.FILE_NAME))


def _machine_before_time(stem: str) -> str | None:
    """Return `pump_03` of `pump_03_2026-11-01T01-00-00`; None where that is no machine's name."""
    name = text_before_time(stem)
    return name if name and _MACHINE_BEFORE_TIME.fullmatch(name) and not _TAKE.fullmatch(name) else None


def _hex_seconds(stem: str) -> datetime | None:
    """Return the time that eight hexadecimal digits are in seconds since 1970, as AudioMoths wrote it before 2020."""
    seconds = int(stem, 16) if re.fullmatch(r"[0-9A-Fa-f]{8}", stem) else 0
    return datetime.fromtimestamp(seconds, UTC) if seconds >= _FIRST_HEX_SECONDS else None


def _strip_conditions(name: str) -> str:
    return _tidied(CONDITION.sub("", name), name)


def _tidied(stripped: str, name: str) -> str:
    """Return what is left of a name once something was cut out, without the separators around the cut."""
    return name if stripped == name else re.sub(r"[_\-. ]{2,}", "_", stripped).strip("_-. ")
