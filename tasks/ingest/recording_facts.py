"""What is known of a recording before it is opened, and how the values of facts are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from humwatch.storage.errors import BadConfiguration
from humwatch.storage.reasons import Reason
from humwatch.tasks.plan.times import UTC_CLOCK, Clock, parse_time

FACT_NAMES = (
    "site", "machine_type", "machine_id", "batch", "condition",
    "domain", "label", "split", "recorded_at", "channel", "attributes",
)  # fmt: skip
"""Columns of a manifest, fields of a layout and named groups of a name pattern; the latter two have `index` as well."""

LABEL_WORDS = {
    **dict.fromkeys(("normal", "ok", "good", "healthy"), "normal"),
    **dict.fromkeys(("abnormal", "anomaly", "anomalous", "anomalies", "ng", "nok", "bad", "faulty"), "abnormal"),
    **dict.fromkeys(("defect", "defects", "defective"), "abnormal"),
    # ToyADMOS: single and continuous recordings
    **dict.fromkeys(("normalsound_ind", "normalsound_cnt"), "normal"),
    **dict.fromkeys(("anomaloussound_ind", "anomaloussound_cnt"), "abnormal"),
}
"""What folders, file names, manifests, layouts and name patterns call a label, in lower case."""
CHOICES = {"domain": ("source", "target"), "split": ("train", "test", "supplemental")}

CONDITION = re.compile(r"(-?)(?<![a-z0-9.])(\d+(?:\.\d+)?)_?dB(?![a-z0-9])", re.IGNORECASE)


class Origin(StrEnum):
    """Which rule said a fact; the value is what `humwatch inspect` shows."""

    MANIFEST = "manifest"
    LAYOUT = "layout"
    NAME_PATTERN = "name_pattern"
    HIVE_KEY = "Hive key"
    FOLDER_DATE = "folder date"
    FOLDER = "folder"
    ARCHIVE_NAME = "archive name"
    DCASE_NAME = "DCASE name"
    FILE_NAME = "file name"
    FILE_CONTENT = "file content"
    DEFAULT = "default"


@dataclass(frozen=True)
class Facts:
    """What is known of a recording before it is opened.

    Attributes:
        machine_type: "unknown" when no folder or archive names it; machine_id: "all" when the type has no IDs.
        batch: date, else condition, else the split of DCASE names, else "all".
        condition: normal form `-6_dB`, or as given; label: normal | abnormal | None; domain: source | target | None.
        split: train | test | supplemental (neither) | None; recorded_at: in UTC; attributes: the tail of a DCASE name.
        channel: of a manifest the channel of the file, from 0; of names the number of the microphone the file is of.
        problem: CONFLICTING_NAMES when two sources of truth disagree, UNCLEAR_MACHINE when its name is none,
            NO_LAYOUT when no template fits, MIXED_MACHINES when another folder has a machine of this name.
        origins: which rule said it, for each of the facts above that is not None.
        further: the same of further channels of the file, where a manifest has a row for each.
        above: the folders below SOURCE that name neither the machine nor a time or part, as `plantA`; None where the
            machine's name does not come from folders.
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
    channel: int | None
    attributes: str | None
    problem: Reason | None
    origins: Mapping[str, Origin]
    above: str | None = None
    further: tuple[Facts, ...] = ()


@dataclass(frozen=True)
class Conventions:
    """How a plant writes times and labels.

    Attributes:
        label_words: what is called normal and abnormal, in lower case.
    """

    clock: Clock = UTC_CLOCK
    label_words: Mapping[str, str] = field(default_factory=lambda: LABEL_WORDS)


USUAL = Conventions()


def checked_facts(texts: Mapping[str, str | None], where: str, conventions: Conventions = USUAL) -> dict[str, Any]:
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
            facts[name] = checked(name, value, conventions)
        except (KeyError, ValueError, OverflowError) as error:
            raise BadConfiguration(f"{where}: {value!r} is no {name}") from error
    return facts


def checked(name: str, value: str, conventions: Conventions) -> str | int | datetime | None:
    """Return the value of one fact in the form `Facts` has it.

    Raises:
        KeyError, ValueError, OverflowError: it is none.
    """
    if name == "label":
        return None if value.lower() == "unknown" else conventions.label_words[value.lower()]
    if name in CHOICES:
        return CHOICES[name][CHOICES[name].index(value.lower())]
    if name == "recorded_at":
        return parse_time(value, conventions.clock)
    if name == "channel":
        return _channel(value)
    if name == "condition" and (match := CONDITION.fullmatch(value)):
        return normal_condition(match)
    return value


def normal_condition(match: re.Match[str]) -> str:
    """Return what `CONDITION` matched in its normal form, such as `-6_dB`."""
    return f"{float(match[1] + match[2]) + 0.0:g}_dB"  # + 0.0 makes -0 plain 0


def _channel(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(text)
    return int(text)
