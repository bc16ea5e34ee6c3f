"""What people did about alarms, and what it means for a machine on a night.

Rows are only ever added: an action is withdrawn by another row. An action counts from its `night` on, so that a night
says the same whenever it is looked at, but for what was added since.

- `ack`: the alarm that stands on that night is known; the next one is not.
- `mute`: nobody is told of the machine's alarms through the night `until`.
- `note`: a text.
- `repaired`: the first night after a repair; nights before it say nothing of the machine any more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd

from humwatch.storage.alarm_actions import read_actions
from humwatch.storage.lake import Lake
from humwatch.storage.models import Machine
from humwatch.storage.tables import MACHINE
from humwatch.tasks.frames import python_values

KINDS = ("ack", "mute", "note", "repaired")
ACTION_COLUMNS = ("acknowledged_by", "acknowledged_at", "muted_by", "muted_until", "repaired", "note")
"""What `Actions.beside` adds to the rows of a night; each is text or None."""


@dataclass(frozen=True)
class Action:
    """One row of `humwatch.storage.alarm_actions.ACTIONS`."""

    action_id: str
    action: str
    machine: Machine
    night: str
    until: str | None
    undoes: str | None
    text: str | None
    by: str
    at: datetime


class Actions:
    """The actions of a lake.

    Attributes:
        kept: all of them, oldest first.
        withdrawn: by the id of what it withdraws, each undo.
    """

    def __init__(self, kept: Sequence[Action]) -> None:
        self.kept = kept
        self.withdrawn = {action.undoes: action for action in reversed(kept) if action.undoes is not None}
        self._standing: dict[tuple[Machine, str], list[Action]] = defaultdict(list)
        for action in kept:
            if action.undoes is None and action.action_id not in self.withdrawn:
                self._standing[action.machine, action.action].append(action)

    @classmethod
    def read(cls, lake: Lake) -> Actions:
        """Return what a lake holds."""
        return cls([_action(row) for row in read_actions(lake)])

    def about(self, machines: str | None) -> list[Action]:
        """Return the actions on machines whose `TYPE/ID` (`SITE/TYPE/ID`) a pattern fits, oldest first; None: all."""
        return [action for action in self.kept if machines is None or fnmatchcase(action.machine.name, machines)]

    def acknowledgement(self, machine: Machine, alarm_since: str | None, night: str) -> Action | None:
        """Return who acknowledged by `night` the alarm that stands since `alarm_since`; None: nobody."""
        if alarm_since is None:
            return None
        acks = (ack for ack in self._standing.get((machine, "ack"), ()) if alarm_since <= ack.night <= night)
        return _newest(acks)

    def mute(self, machine: Machine, night: str) -> Action | None:
        """Return what mutes a machine on `night`, of several that which lasts longest; None: nothing."""
        mutes = (mute for mute in self._standing.get((machine, "mute"), ()) if mute.night <= night <= str(mute.until))
        return max(mutes, key=lambda mute: str(mute.until), default=None)

    def was_muted(self, machine: Machine, night: str) -> bool:
        """Whether a machine was muted on `night` by a mute that stands or was withdrawn since."""
        mutes = (action for action in self.kept if action.action == "mute" and action.machine == machine)
        return any(mute.night <= night <= str(mute.until) for mute in mutes)

    def repaired(self, machine: Machine, night: str) -> str | None:
        """Return the first night after the machine's last repair by `night`; None without any."""
        nights = (repair.night for repair in self._standing.get((machine, "repaired"), ()))
        return max((first for first in nights if first <= night), default=None)

    def note(self, machine: Machine, night: str) -> Action | None:
        """Return the newest note on a machine by `night`."""
        return _newest(note for note in self._standing.get((machine, "note"), ()) if note.night <= night)

    def until(self, night: str) -> dict[Machine, list[dict[str, Any]]]:
        """Return by machine what was done by `night`, newest first, also what was withdrawn.

        Each is a row of `ACTIONS` with `withdrawn_by` and `withdrawn_at`, None where it stands.
        """
        told: dict[Machine, list[dict[str, Any]]] = defaultdict(list)
        for action in reversed(self.kept):
            if action.undoes is None and action.night <= night:
                undo = self.withdrawn.get(action.action_id)
                withdrawn = {"withdrawn_by": undo.by if undo else None, "withdrawn_at": undo.at if undo else None}
                told[action.machine].append({**vars(action), **withdrawn})
        return dict(told)

    def beside(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return rows of `MACHINE_NIGHTS` with `ACTION_COLUMNS`: what people say of each machine and night."""
        columns = {name: np.full(len(rows), None, dtype=object) for name in ACTION_COLUMNS}
        machines = {machine for machine, _ in self._standing}
        spoken_of = rows["machine_id"].isin({machine.machine_id for machine in machines}).to_numpy().nonzero()[0]
        named = python_values(rows[[*MACHINE, "night", "alarm_since"]].iloc[spoken_of])
        for place, (site, machine_type, machine_id, condition, night, since) in zip(
            spoken_of, named.itertuples(index=False, name=None), strict=True
        ):
            machine = Machine(machine_type, machine_id, site, condition)
            if machine in machines:
                for name, value in zip(ACTION_COLUMNS, self._columns(machine, night, since), strict=True):
                    columns[name][place] = value
        return rows.assign(**columns)

    def _columns(self, machine: Machine, night: str, alarm_since: str | None) -> tuple[str | None, ...]:
        ack = self.acknowledgement(machine, alarm_since, night)
        mute, note = self.mute(machine, night), self.note(machine, night)
        return (
            None if ack is None else ack.by,
            None if ack is None else ack.at.isoformat(timespec="seconds"),
            None if mute is None else mute.by,
            None if mute is None else mute.until,
            self.repaired(machine, night),
            None if note is None else note.text,
        )


def _action(row: dict[str, Any]) -> Action:
    site, machine_type, machine_id, condition = (row.pop(name) for name in MACHINE)
    return Action(machine=Machine(machine_type, machine_id, site, condition), **row)


def _newest(actions: Iterable[Action]) -> Action | None:
    """Return the last of actions that are in the order of their times."""
    return next(iter([*actions][::-1]), None)
