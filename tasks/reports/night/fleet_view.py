"""The fleet on one night, as pages tell it: each machine with its nights until then, and what changed since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from humwatch.storage.models import Machine
from humwatch.storage.naming import settings_key
from humwatch.storage.tables import MACHINE
from humwatch.tasks.frames import rows_of
from humwatch.tasks.plan.catalog import machine_of
from humwatch.tasks.reports.page_rows import Row

# What each state is called, the most urgent first.
STATES = {
    "alarm": "Alarm",
    "attention": "Attention",
    "unhealthy_sensor": "Unhealthy sensor",
    "silent": "Silent",
    "learning": "Learning",
    "normal": "Normal",
}
_URGENCY = {state: rank for rank, state in enumerate(STATES)}
_MODEL = ("backbone", "detector", "seed")


@dataclass(frozen=True)
class MachineView:
    """One machine under the model its pages show.

    Attributes:
        machine: Which one.
        nights: Its rows of MACHINE_NIGHTS and ACTION_COLUMNS, oldest first; the last is tonight's. A missing value is
            None, a night text.
        others: Tonight's rows under other models.
        before: Its row of the fleet's night before; None when it was not known then.
        since: First night of its present state.
    """

    machine: Machine
    nights: Sequence[Row]
    others: Sequence[Row]
    before: Row | None
    since: str

    @property
    def tonight(self) -> Row:
        """Its row of tonight."""
        return self.nights[-1]

    @property
    def state(self) -> str:
        """Its state tonight."""
        return str(self.tonight["state"])

    @property
    def state_before(self) -> str | None:
        """Its state on the night before."""
        return None if self.before is None else str(self.before["state"])

    @property
    def page(self) -> str:
        """Path of its page in the report: safe in any file system and any address, the same every night."""
        named = {name: value for name, value in asdict(self.machine).items() if value is not None}
        return f"machines/{settings_key(named.values(), named)}.html"

    @property
    def of_alarm(self) -> float | None:
        """Tonight's evidence as a share of the level of an alarm."""
        return of_alarm(self.tonight)

    @property
    def is_known(self) -> bool:
        """Whether somebody has acknowledged its standing alarm, or muted it."""
        return self.tonight["acknowledged_by"] is not None or self.tonight["muted_until"] is not None


@dataclass(frozen=True)
class Fleet:
    """Every machine on one night, the most urgent first."""

    night: str
    previous: str | None
    machines: Sequence[MachineView]

    def counts(self) -> dict[str, int]:
        """Machines in each state, in the order of `STATES`."""
        counts = Counter(view.state for view in self.machines)
        return {state: counts[state] for state in STATES}

    @property
    def nights_a_false_alarm(self) -> float | None:
        """In how many nights the fleet has about one false alarm, as its rates are stated; None if it can have none."""
        rates = [view.tonight["false_alarm_rate"] for view in self.machines if view.tonight["level_alarm"] is not None]
        return 1 / sum(rates) if any(rates) else None

    def changes(self) -> dict[str, list[MachineView]]:
        """What changed since the night before: machines by what happened to them; empty lists are left out."""
        if self.previous is None:
            return {}
        groups = {
            "New alarms": [view for view in self.machines if view.tonight["new_alarm"]],
            "Alarms cleared": [view for view in self.machines if _stands(view.before) and not _stands(view.tonight)],
            "Sensors newly unhealthy": self._entered("unhealthy_sensor"),
            "Newly silent": self._entered("silent"),
            "Back": [view for view in self.machines if view.state_before == "silent" != view.state],
            "Heard for the first time": [view for view in self.machines if view.before is None],
        }
        return {title: views for title, views in groups.items() if views}

    def _entered(self, state: str) -> list[MachineView]:
        return [view for view in self.machines if view.state == state and view.state_before not in (state, None)]


def of_alarm(row: Mapping[str, Any]) -> float | None:
    """A night's evidence as a share of the level of an alarm: 1 is an alarm; None where either is missing."""
    evidence, level = row["evidence"], row["level_alarm"]
    return None if evidence is None or not level else float(evidence) / float(level)


def fleet_of(nights: pd.DataFrame, night: str, model: tuple[str, str, int]) -> Fleet:
    """Return the fleet on `night`.

    Args:
        nights: Rows of MACHINE_NIGHTS and ACTION_COLUMNS, any order; later nights are left out.
        night: Tonight; a machine without a row of it is not part of the fleet.
        model: Backbone, detector and seed whose states the pages show.
    """
    rows = rows_of(nights[nights["night"] <= night].sort_values("night", kind="stable"))
    shown: list[Row] = []
    other: list[Row] = []
    for row in rows:
        if row["state"] == "no_model":  # what nights judged by earlier versions call it
            row["state"] = "learning"
        (shown if tuple(row[name] for name in _MODEL) == model else other).append(row)
    previous = max((str(row["night"]) for row in shown if row["night"] < night), default=None)
    others = _grouped(row for row in other if row["night"] == night)
    views = [
        MachineView(machine, own, others.get(machine, []), _on(own, previous), _since(own))
        for machine, own in _grouped(shown).items()
        if own[-1]["night"] == night
    ]
    return Fleet(night, previous, sorted(views, key=_urgency))


def _grouped(rows: Iterable[Row]) -> dict[Machine, list[Row]]:
    grouped: dict[Machine, list[Row]] = {}
    for row in rows:
        grouped.setdefault(machine_of(row[name] for name in MACHINE), []).append(row)
    return grouped


def _on(nights: Sequence[Row], night: str | None) -> Row | None:
    return next((row for row in reversed(nights) if row["night"] == night), None)


def _stands(row: Row | None) -> bool:
    return row is not None and row["alarm_since"] is not None


def _since(nights: Sequence[Row]) -> str:
    tonight = nights[-1]
    if tonight["state"] == "alarm":
        return str(tonight["alarm_since"])
    since = tonight["night"]
    for row in reversed(nights):
        if row["state"] != tonight["state"]:
            break
        since = row["night"]
    return str(since)


def _urgency(view: MachineView) -> tuple[Any, ...]:
    row, share = view.tonight, view.of_alarm
    p_value = 1.0 if row["p_value"] is None else row["p_value"]
    alarm = (not _stands(row), not row["new_alarm"])
    return _URGENCY[view.state], view.is_known, *alarm, -(share or 0.0), p_value, view.machine.label
