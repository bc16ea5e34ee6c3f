"""A layout that reads paths better than the rules do: made from the paths, tried on them, told only if it helps."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime

from humwatch.storage.errors import BadConfiguration
from humwatch.storage.sources import Member, archive_suffix
from humwatch.tasks.ingest.doubts import doubts_of_names
from humwatch.tasks.ingest.inspection import frame_of_facts
from humwatch.tasks.ingest.layout import compile_layouts, folders_and_name
from humwatch.tasks.ingest.machine_doubts import is_like_a_time
from humwatch.tasks.ingest.manifest import read_facts
from humwatch.tasks.ingest.name_rules import NameRules
from humwatch.tasks.ingest.recording_facts import CHOICES

_TRIED_ON = 1_000  # paths
_DATES = ("%Y-%m-%d", "%Y%m%d", "%Y_%m_%d", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%y%m%d", "%d%m%Y")
_CLOCKS = ("T%H%M%S", "T%H-%M-%S", "_%H%M%S", "-%H%M%S", "_%H-%M-%S", "%H%M%S", "_%H_%M_%S", " %H-%M-%S")
_SPREAD = (("%Y", "%m", "%d"), ("%Y-%m", "%d"), ("%Y", "%m-%d"), ("%Y", "%m%d"), ("%Y%m", "%d"))
_TIMES_OF_FILES = tuple(f"{day}{clock}" for clock in (*_CLOCKS, "") for day in _DATES)
_TIMES_OF_DAY = ("%H%M%S", "%H-%M-%S", "%H_%M_%S")
_FACTS = ("site", "machine_type", "machine_id")


def suggest_layout(members: Sequence[Member], rules: NameRules, today: date) -> str | None:
    """Return a template under which fewer recordings are refused or doubtful than now; None when none is found.

    Args:
        members: of all sources; some of them are looked at.
        rules: as set; layouts that are set are not taken for granted.
        today: in UTC.
    """
    step = max(1, len(members) // _TRIED_ON)
    tried_on = members[::step]

    def trouble(tried: NameRules) -> tuple[int, int]:
        """How many recordings are refused, then how many things are doubtful."""
        frame = frame_of_facts(tried_on, read_facts(tried_on, (), tried)[0])
        doubts = doubts_of_names(frame, {}, "labelled", today)
        return int(frame["reason"].notna().sum()), sum(doubt.code not in {"no_labels", "one_label"} for doubt in doubts)

    found, least = None, trouble(rules)
    if least == (0, 0):
        return None
    for layout in dict.fromkeys(_candidates([folders_and_name(member.path) for member in tried_on], rules)):
        try:
            left = trouble(replace(rules, layouts=compile_layouts([layout])))
        except BadConfiguration:  # of these paths no template can be made this way, such as with a date said twice
            continue
        if left < least:
            found, least = layout, left
    return found


def _candidates(paths: Sequence[Sequence[str]], rules: NameRules) -> Iterator[str]:
    """Yield templates of the paths that are as deep as most are; every folder that differs is named or known."""
    depth = Counter(len(path) for path in paths).most_common(1)[0][0]
    *folders, files = zip(*(path for path in paths if len(path) == depth), strict=True)
    known = _known_columns(folders, rules)
    differing = [at for at, column in enumerate(folders) if at not in known and len(set(column)) > 1]
    for file, names_machine in _file_templates(files):
        facts = _FACTS[:-1] if names_machine else _FACTS
        for places in _places(differing, [at for at in range(1, len(folders)) if at not in known], len(facts)):
            if not places and not names_machine:
                continue
            named = dict(zip(places, (f"{{{fact}}}" for fact in facts[len(facts) - len(places) :]), strict=True))
            parts = [{**known, **named}.get(at, _any(column)) for at, column in enumerate(folders)]
            first = min(
                [*named, *(at for at, part in known.items() if part.startswith("{") and part != "{}")], default=depth
            )
            yield _with_time_of_day([*(part for part in parts[first:] if part), file], files)


def _places(differing: Sequence[int], names: Sequence[int], most: int) -> Iterator[list[int]]:
    """Yield which folders name the machine: always those that differ, with as many of the others as seem to belong."""
    constant = [at for at in names if at not in differing]
    below = [at for at in constant if differing and at > differing[0]]
    room = most - len(differing)
    if len(below) <= room:
        yield sorted([*differing, *below])
    if below and room > 0:
        above_last = [at for at in below if at < differing[-1]]
        yield sorted([*differing, *(above_last or below)[-1 if above_last else -room :]])
    if room >= 0:
        yield list(differing)


def _with_time_of_day(parts: Sequence[str], files: Sequence[str]) -> str:
    """Return the template; where a date is followed by files called like a time of day, both are one time."""
    *folders, file = parts
    if "{recorded_at:" in file:
        folders = [folder.replace("{recorded_at:", "{batch:") for folder in folders]
        return "/".join([*folders, file])
    stems = [name.rpartition(".")[0] for name in files]
    suffix = file.removeprefix("{}")
    code = next((code for code in _TIMES_OF_DAY if _are_times([f"2000 {stem}" for stem in stems], f"%Y {code}")), None)
    if code and folders and folders[-1].startswith("{recorded_at:") and suffix != file:
        return "/".join([*folders[:-1], f"{folders[-1][:-1]}/{code}}}{suffix}"])
    return "/".join(parts)


def _known_columns(columns: Sequence[Sequence[str]], rules: NameRules) -> dict[int, str]:
    """Return folders that are dates, weeks, labels, splits or mere numbers, as template; "" joins the last."""
    known: dict[int, str] = {}
    for at, column in enumerate(columns):
        if at in known:
            continue
        values = {value.lower() for value in column}
        spread = next((codes for codes in _SPREAD if _spell_dates(columns[at : at + len(codes)], codes)), None)
        if values <= rules.conventions.label_words.keys():
            known[at] = "{label}"
        elif values <= set(CHOICES["split"]):
            known[at] = "{split}"
        elif spread:
            known[at] = f"{{recorded_at:{'/'.join(spread)}}}"
            known |= dict.fromkeys(range(at + 1, at + len(spread)), "")
        elif code := next((code for code in _DATES if _are_times(column, code)), None):
            known[at] = f"{{recorded_at:{code}}}"
        elif all(is_like_a_time(value.removesuffix(archive_suffix(value))) or value.isdigit() for value in column):
            known[at] = _any(column)
    return known


def _file_templates(names: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Yield templates of the files' names, and whether they name the machine."""
    suffixes = {name.rpartition(".")[2] for name in names}
    suffix = f".{suffixes.pop()}" if len(suffixes) == 1 else ".{}"
    stems = [name.rpartition(".")[0] or name for name in names]
    for code in _TIMES_OF_FILES:
        if _are_times(stems, code):
            yield f"{{recorded_at:{code}}}{suffix}", False
            break
        split = [_before_time(stem, code) for stem in stems]
        if all(split):
            after = {pair[1] for pair in split if pair}
            tail = "" if after == {""} else "_{}"
            if all(text == "" or text.startswith("_") for text in after) and ("" not in after or after == {""}):
                if _are_names([pair[0] for pair in split if pair]):
                    yield f"{{machine_id}}_{{recorded_at:{code}}}{tail}{suffix}", True
                yield f"{{}}_{{recorded_at:{code}}}{tail}{suffix}", False
            break
    yield f"{{}}{suffix}", False
    for separator in "_-":
        if _are_names([stem.partition(separator)[0] for stem in stems]):
            yield f"{{machine_id}}{separator}{{}}{suffix}", True


def _are_names(beginnings: Sequence[str]) -> bool:
    """Whether what files' names begin with can tell machines apart: it differs, and is no number (a year)."""
    return len(set(beginnings)) > 1 and not any(text.isdigit() for text in beginnings)


def _before_time(stem: str, code: str) -> tuple[str, str] | None:
    """Return what stands before `_` and a time, and behind it."""
    digits = re.escape(code)
    for directive, n in (("%Y", 4), ("%y", 2), ("%m", 2), ("%d", 2), ("%H", 2), ("%M", 2), ("%S", 2)):
        digits = digits.replace(re.escape(directive), rf"\d{{{n}}}")
    match = re.fullmatch(rf"(.+?)_({digits})(?!\d)(.*)", stem)
    return (match[1], match[3]) if match and _is_time_of(match[2], code) else None


def _spell_dates(columns: Sequence[Sequence[str]], codes: Sequence[str]) -> bool:
    return len(columns) == len(codes) and _are_times(
        ["/".join(row) for row in zip(*columns, strict=True)], "/".join(codes)
    )


def _are_times(texts: Sequence[str], code: str) -> bool:
    return all(_is_time_of(text, code) for text in set(texts))


def _is_time_of(text: str, code: str) -> bool:
    try:
        return 1980 <= datetime.strptime(text, code).year <= 2100  # noqa: DTZ007 - only whether it is one
    except ValueError:
        return False


def _any(column: Sequence[str]) -> str:
    """Return what stands for folders that say nothing: an archive keeps its suffix."""
    suffixes = {archive_suffix(name) for name in column}
    return "{}" + (suffixes.pop() if len(suffixes) == 1 else "")
