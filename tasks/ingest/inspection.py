"""What was understood of sources, in figures for people: machines and nights, origins of facts, headers, rejects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import pandas as pd

from humwatch.storage.reasons import EXPLANATIONS, Reason
from humwatch.storage.sources import Member
from humwatch.tasks.ingest.doubts import FACTS
from humwatch.tasks.ingest.recording_facts import Facts
from humwatch.tasks.ingest.wording import Doubt
from humwatch.tasks.plan.catalog import by_machine
from humwatch.tasks.plan.next_step import NextStep

TOLD_FACTS = (
    "site", "machine_type", "machine_id", "condition", "batch", "recorded_at", "label", "split", "domain", "channel",
)  # fmt: skip
NO_RULE = "nothing"
"""The rule of a fact that nothing says."""
_SHOWN = {"batch": "night", "default": NO_RULE}


@dataclass(frozen=True)
class MachineNights:
    """A machine: its name, its recordings, how many are labelled how, and how many there are of each batch."""

    site: str | None
    machine_type: str
    machine_id: str
    condition: str | None
    recordings: int
    normal: int
    abnormal: int
    nights: Mapping[str, int]

    @property
    def label(self) -> str:
        """How it is shown."""
        return " ".join(part for part in (self.site, self.machine_type, self.machine_id, self.condition) if part)


@dataclass(frozen=True)
class Origin:
    """How many recordings have a fact from one rule, and one of them."""

    fact: str
    rule: str
    recordings: int
    example: str
    value: str


@dataclass(frozen=True)
class Rejects:
    """How many recordings would be rejected for one reason, and one of them."""

    reason: str
    recordings: int
    explanation: str
    example: str


@dataclass(frozen=True)
class Headers:
    """What a sample of headers says: how many were looked at, of how many machines, and their values with counts.

    `not_believed` is what of headers was corrected, `times` where in files times of recording stand.
    """

    looked_at: int
    machines: int
    containers: Mapping[str, int]
    codecs: Mapping[str, int]
    sample_rates_hz: Mapping[int, int]
    channels: Mapping[int, int]
    shortest_s: float | None
    median_s: float | None
    longest_s: float | None
    not_believed: Mapping[str, int]
    times: Mapping[str, int]


@dataclass(frozen=True)
class Use:
    """What the recordings can be used for: the command, and what is missing for it; None when nothing is."""

    command: str
    missing: NextStep | None


@dataclass(frozen=True)
class Inspection:
    """Everything that `humwatch inspect` tells.

    Attributes:
        sources: as given.
        recordings: how many files are recordings; `machines` has those that would be accepted.
        machines: in a fixed order.
        origins: by fact, the rule that says it most often first.
        labels, splits: of recordings that would be accepted; "none" where they have none.
        rejected: by reason, the most frequent first.
        ignored: files that are not read, by suffix.
        headers: of a sample.
        doubts: what may have been misread.
        layout: a template that would read the paths better; None when none is known.
        uses: what it can be used for.
    """

    sources: Sequence[str]
    recordings: int
    machines: Sequence[MachineNights]
    origins: Sequence[Origin]
    labels: Mapping[str, int]
    splits: Mapping[str, int]
    rejected: Sequence[Rejects]
    ignored: Mapping[str, int]
    headers: Headers
    doubts: Sequence[Doubt]
    layout: str | None
    uses: Sequence[Use]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @property
    def nights(self) -> list[str]:
        """Every batch that is there, sorted."""
        return sorted({night for machine in self.machines for night in machine.nights})


def frame_of_facts(members: Sequence[Member], facts: Sequence[Facts]) -> pd.DataFrame:
    """Return a row a recording, what is known of it and why it would be rejected: `FACTS` and `TOLD_FACTS`."""
    columns = list(dict.fromkeys((*FACTS, *TOLD_FACTS)))
    rows = []
    for member, known in zip(members, facts, strict=True):
        reason = member.problem or known.problem
        values = {**vars(known), "path": member.path, "reason": str(reason) if reason else None}
        rows.append([values[name] for name in columns])
    return pd.DataFrame(rows, columns=columns, dtype=object)


def machines_of(good: pd.DataFrame) -> list[MachineNights]:
    """Return every machine with its counts; `good` has `MACHINE`, batch and label of recordings not rejected."""
    found = []
    for machine, rows in by_machine(good).items():
        nights = rows["batch"].value_counts().sort_index()
        labels = rows["label"].value_counts()
        found.append(
            MachineNights(
                machine.site,
                machine.machine_type,
                machine.machine_id,
                machine.condition,
                len(rows),
                int(labels.get("normal", 0)),
                int(labels.get("abnormal", 0)),
                {str(night): int(n) for night, n in nights.items()},
            )
        )
    return found


def origins_of(
    paths: Sequence[str], facts: Sequence[Mapping[str, Any]], origins: Sequence[Mapping[str, str]]
) -> list[Origin]:
    """Return how many recordings have each fact from each rule, and the first of them.

    Args:
        paths: of the recordings.
        facts: of each, by name.
        origins: which rule said each of its facts.
    """
    counts: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], int] = {}
    for at, rules in enumerate(origins):
        for fact, rule in rules.items():
            counts[fact, str(rule)] += 1
            first.setdefault((fact, str(rule)), at)
    found = []
    for fact in TOLD_FACTS:
        of_fact = [(n, rule) for (name, rule), n in counts.items() if name == fact]
        for n, rule in sorted(of_fact, reverse=True):
            at = first[fact, rule]
            value = str(facts[at][fact])
            found.append(Origin(_SHOWN.get(fact, fact), _SHOWN.get(rule, rule), n, paths[at], value))
    return found


def rejects_of(recordings: pd.DataFrame) -> list[Rejects]:
    """Return what listing and names alone reject; `recordings` has path and reason."""
    rejected = recordings[recordings["reason"].notna()]
    groups: Iterable[tuple[Any, pd.DataFrame]] = rejected.groupby("reason")
    return [
        Rejects(reason, len(rows), EXPLANATIONS[Reason(reason)], str(rows["path"].iloc[0]))
        for reason, rows in sorted(groups, key=lambda group: -len(group[1]))
    ]


def headers_of(heads: pd.DataFrame) -> Headers:
    """Return the figures of a sample of headers (machine columns and `header_sample.HEADER`)."""
    read = heads[heads["reason"].isna()]
    lengths = sorted(float(length) for length in read["duration_s"])
    return Headers(
        looked_at=len(heads),
        machines=len(by_machine(heads)),
        containers=_counts(read["container"]),
        codecs=_counts(read["codec"]),
        sample_rates_hz=_counts(read["sample_rate_hz"]),
        channels=_counts(read["channels"]),
        shortest_s=lengths[0] if lengths else None,
        median_s=median(lengths) if lengths else None,
        longest_s=lengths[-1] if lengths else None,
        not_believed=_counts(read["note"][read["note"].ne("")]),
        times=_counts(read["time_source"].dropna()),
    )


def counts_of(values: Iterable[Any]) -> dict[str, int]:
    """Return how often each value is there, the most frequent first; missing ones as "none"."""
    return {
        str(value): n for value, n in Counter("none" if pd.isna(value) else value for value in values).most_common()
    }


def _counts(column: pd.Series[Any]) -> dict[Any, int]:
    return {value: int(n) for value, n in column.value_counts().items()}
