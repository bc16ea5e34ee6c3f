"""Doubts about machines: called like a date or a label, one for everything, one for two, two for one."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from humwatch.storage.sources import archive_suffix
from humwatch.tasks.ingest.recording_facts import LABEL_WORDS
from humwatch.tasks.ingest.wording import SAY_THE_LABEL, SAY_THE_LAYOUT, Doubt
from humwatch.tasks.plan.times import date_of, strip_dates
from humwatch.tasks.words import counted, some

FACTS_OF_MACHINES = ("path", "site", "machine_type", "machine_id", "condition", "batch", "label")

_MACHINE = ["site", "machine_type", "machine_id"]
_MONTHS = (
    "jan(uary|uar)?|feb(ruary|ruar)?|mar(ch)?|maerz|märz|apr(il)?|may|mai|june?|juni?|july?|juli?|aug(ust)?|"
    "sept?(ember)?|o[ck]t(ober)?|nov(ember)?|de[cz](ember)?"
)
_SPANS = "week|wk|kw|cw|woche|uke|day|tag|night|nacht|shift|schicht|month|monat|q"
_LIKE_A_TIME = re.compile(
    rf"(?:\d{{2,4}}[-_ ]?)?(?:{_MONTHS})(?:[-_ ]?\d{{2,4}})?|(?:\d{{4}}[-_ ]?)?(?:{_SPANS})[-_ ]?\d{{1,4}}|"
    r"\d{4}[-_ ]?w\d\d?|(?:19|20)\d\d[-_.]\d\d|(?:mon|tues|wednes|thurs|fri|satur|sun)day",
    re.IGNORECASE,
)
_LIKE_A_LABEL = {
    *LABEL_WORDS, "broken", "damage", "damaged", "error", "failed", "failure",
    "fault", "faults", "worn", "defekt", "fehler", "gut", "schlecht",
}  # fmt: skip
_SPLITS = ("train", "test", "dev_data", "eval_data")
_WORDS = re.compile(r"[A-ZÄÖÜ]?[a-zäöü]+|[A-ZÄÖÜ]+(?![a-zäöü])")
_A_NUMBER_ONLY = re.compile(r"(?:id|section)?[-_ ]?\d+|all", re.IGNORECASE)
_HEX_SECONDS = re.compile(r"[0-9A-Fa-f]{8}")  # of older AudioMoths
_BEGINS_A_DATE = re.compile(r"[-_ .]?(?<!\d)(?:19|20)\d\d[-_]?\d\d[-_]?\d\d")
_MANY = 10  # machines, before it is odd that most have one recording
_A_SHORT_NAME = 2  # characters: so short a name is in many others
_LOOKED_AT = 2_000  # file names of one machine: more say nothing new


def doubts_of_machines(good: pd.DataFrame) -> Iterator[Doubt]:
    """Yield what is doubtful about the machines of recordings (columns `FACTS_OF_MACHINES`, none rejected)."""
    if good.empty:
        return
    machines = good.drop_duplicates(_MACHINE)
    yield from _called_like(
        machines,
        "machine_named_like_date",
        "a date, week or month: what was one machine is a new one each time",
        is_like_a_time,
        SAY_THE_LAYOUT,
    )
    yield from _called_like(
        machines,
        "machine_named_like_label",
        "a label: normal and faulty sound of one machine would not meet",
        _is_label,
        SAY_THE_LABEL,
    )
    yield from _source_as_type(machines)
    yield from _everything_in_one(good)
    yield from _alike(machines)
    yield from _under_two_types(machines)
    yield from _one_in_another(machines)
    yield from _in_two_places(good)
    yield from _one_recording_each(good)


def _called_like(
    machines: pd.DataFrame, code: str, what: str, suspicious: Callable[[str], bool], advice: str
) -> Iterator[Doubt]:
    for column, kind in (("machine_type", "machine type"), ("machine_id", "machine ID")):
        names = [name for name in sorted(machines[column].unique()) if suspicious(name)]
        if names:
            example = machines["path"][machines[column] == names[0]].iloc[0]
            are = "is" if len(names) == 1 else "are"
            yield Doubt(
                code,
                f"{counted(len(names), kind)} {are} called like {what}: {some(names)} (such as {example})",
                advice,
            )


def is_like_a_time(name: str) -> bool:
    """Whether a folder is called like a date, week, month or day."""
    return _LIKE_A_TIME.fullmatch(name) is not None or date_of(name) is not None


def _is_label(name: str) -> bool:
    return any(word.lower() in _LIKE_A_LABEL for word in _WORDS.findall(name))


def _source_as_type(machines: pd.DataFrame) -> Iterator[Doubt]:
    """SOURCE's own name for a type, and what looks like types for IDs: `nights/20190312/pump/...`."""
    source = machines["path"].str.partition("/")[0]
    is_source = [kind == _without_suffix(name) for kind, name in zip(machines["machine_type"], source, strict=True)]
    ids = machines["machine_id"]
    suspicious = machines[pd.Series(is_source, index=machines.index) & (ids != "all") & ~ids.str.contains(r"\d")]
    if len(suspicious):
        first = suspicious.iloc[0]
        yield Doubt(
            "source_as_type",
            f"the machine type {first['machine_type']} is SOURCE's own name, and its IDs look like types: "
            f"{some(sorted(set(suspicious['machine_id'])))} (such as {first['path']})",
            f"if they are types: {SAY_THE_LAYOUT}; else nothing",
        )


def _without_suffix(source: str) -> str:
    suffix = archive_suffix(source)
    return source[: -len(suffix)] if suffix else source


def _everything_in_one(good: pd.DataFrame) -> Iterator[Doubt]:
    """One machine where file names seem to tell several apart."""
    for names, rows in good[good["machine_id"] == "all"].groupby(_MACHINE, dropna=False, sort=True):
        beginnings = sorted({_beginning(path) for path in rows["path"].head(_LOOKED_AT)} - {""})
        machine = "/".join(name for name in names if isinstance(name, str))
        example = f"(such as {rows['path'].iloc[0]})"
        if 1 < len(beginnings) <= max(2, len(rows) // 2):
            yield Doubt(
                "one_machine",
                f"{counted(len(rows), 'recording')} are one machine, {machine}, but their file names begin in "
                f"{len(beginnings)} ways: {some(beginnings)} {example}",
                f"if these are machines: --set ingest.layout='{{machine_id}}_{{}}.wav'; else {SAY_THE_LAYOUT}",
            )
        elif "unknown" in names or (len(rows) == len(good) > 1 and rows["label"].isna().all()):
            yield Doubt(
                "one_machine",
                f"nothing tells machines apart: {counted(len(rows), 'recording')} are one, {machine} {example}",
                f"if there are several: {SAY_THE_LAYOUT}",
            )


def _beginning(path: str) -> str:
    """Return what a file's name says before its date or number; "" where that is a label, a time or nothing."""
    stem = path.rpartition("/")[2].rpartition(".")[0]
    if _HEX_SECONDS.fullmatch(stem):
        return ""
    before = _BEGINS_A_DATE.split(stem)[0]
    if before == stem:
        before = re.sub(r"[-_ ]?\d+$", "", stem)
    return "" if before.lower() in LABEL_WORDS else before.strip("-_ .")


def _alike(machines: pd.DataFrame) -> Iterator[Doubt]:
    """Names that differ in case, separators or leading zeros only."""
    same: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for site, machine_type, machine_id in machines[_MACHINE].itertuples(index=False, name=None):
        same[site, _bare(machine_type), _bare(machine_id)].add(f"{machine_type}/{machine_id}")
    pairs = sorted(" and ".join(sorted(names)) for names in same.values() if len(names) > 1)
    if pairs:
        yield Doubt(
            "two_machines_for_one",
            f"{counted(len(pairs), 'machine')} may have two names each: {some(pairs)}",
            "rename the folders, or give a manifest with the columns path, machine_type and machine_id",
        )


def _bare(name: str) -> str:
    return re.sub(r"0+(?=\d)", "", re.sub(r"[-_ .]", "", name.casefold()))


def _under_two_types(machines: pd.DataFrame) -> Iterator[Doubt]:
    named = machines[~machines["machine_id"].str.fullmatch(_A_NUMBER_ONLY)]
    types = named.groupby(["site", "machine_id"], dropna=False, sort=True)["machine_type"].agg(
        lambda kinds: sorted(set(kinds))
    )
    several = types[types.map(len) > 1]
    if len(several):
        (_, machine_id), of_it = several.index[0], several.iloc[0]
        yield Doubt(
            "one_id_in_several_types",
            f"{counted(len(several), 'machine ID')} in several machine types, a machine in each: {machine_id} in "
            f"{some(of_it)}",
            f"if it is one machine: {SAY_THE_LAYOUT}",
        )


def _one_in_another(machines: pd.DataFrame) -> Iterator[Doubt]:
    """A machine's own folder above another's: some paths have a level more, such as a kind of defect."""
    ids = set(machines["machine_id"])
    below = machines[machines["machine_type"].isin(ids) & (machines["machine_type"] != machines["machine_id"])]
    if len(below):
        first = below.iloc[0]
        yield Doubt(
            "machine_in_machine",
            f"{first['machine_type']} is a machine's ID for some recordings and the type of others, whose ID is "
            f"{some(sorted(set(below['machine_id'])))} (such as {first['path']})",
            f"if that is a label: {SAY_THE_LABEL}; else {SAY_THE_LAYOUT}",
        )


def _in_two_places(good: pd.DataFrame) -> Iterator[Doubt]:
    """One machine under different folders at one time: two plants' machines may have one name."""
    folders = good.assign(folder=good["path"].str.rpartition("/")[0])
    folders = folders.drop_duplicates(["folder", *_MACHINE, "condition", "batch"])
    places = [
        _above(folder, machine_type, machine_id)
        for folder, machine_type, machine_id in zip(
            folders["folder"], folders["machine_type"], folders["machine_id"], strict=True
        )
    ]
    folders = folders.assign(place=pd.Series(places, index=folders.index, dtype=object)).dropna(subset=["place"])
    at_once = folders.groupby([*_MACHINE, "condition", "batch"], dropna=False, sort=True)["place"].agg(
        lambda of: sorted(set(of))
    )
    several = at_once[at_once.map(len) > 1]
    if several.empty:
        return
    site, machine_type, machine_id, *_ = several.index[0]
    n = len(several.reset_index()[_MACHINE].drop_duplicates())
    machine = "/".join(name for name in (site, machine_type, machine_id) if isinstance(name, str))
    yield Doubt(
        "one_machine_in_two_places",
        f"{counted(n, 'machine')} under several folders at a time: {machine} under {some(several.iloc[0])}; if these "
        "are different machines, one model would hear them all",
        "name the folder that tells them apart: --set ingest.layout='{site}/{machine_type}/{machine_id}/{}.wav'",
    )


def _above(folder: str, machine_type: str, machine_id: str) -> str | None:
    """Return the folders above those that name the machine, without what says a date, a label or a part of a series.

    None where no folder names it.
    """
    parts = folder.split("/")
    own = {_bare(name) for name in (machine_type, machine_id)}
    naming = [
        at
        for at, part in enumerate(parts)
        if any(name == _bare(part) or (len(name) > _A_SHORT_NAME and name in _bare(part)) for name in own)
    ]
    if not naming:
        return None
    kept = []
    for part in parts[: naming[0]]:
        suffix = archive_suffix(part)
        name = strip_dates(part.removesuffix(suffix))
        # plant_1.zip and plant_2.zip are one series; folders plant_1 and plant_2 are two plants
        kept.append(re.sub(r"[-_ ]?\d+$", "", name) if suffix else name)
    says_nothing = (part.isdigit() or is_like_a_time(part) or _is_label(part) or part in _SPLITS for part in kept)
    return "/".join(part for part, none in zip(kept, says_nothing, strict=True) if part and not none)


def _one_recording_each(good: pd.DataFrame) -> Iterator[Doubt]:
    counts = good.groupby(_MACHINE, dropna=False)["path"].agg(["size", "first"])
    single = counts[counts["size"] == 1]
    if len(counts) >= _MANY and len(single) > len(counts) / 2:
        yield Doubt(
            "one_recording_each",
            f"{len(single):,} of {counted(len(counts), 'machine')} have one recording each: is a recording's name "
            f"taken for a machine? (such as {single['first'].iloc[0]})",
            SAY_THE_LAYOUT,
        )
