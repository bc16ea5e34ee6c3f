"""New actions about alarms: each checked against what the lake knows, kept once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from functools import cached_property

import pandas as pd
import pyarrow as pa

from humwatch.storage.alarm_actions import put_actions
from humwatch.storage.errors import BadConfiguration
from humwatch.storage.lake import Lake
from humwatch.storage.models import Machine
from humwatch.storage.naming import digest
from humwatch.storage.tables import MACHINE, MACHINE_NIGHTS, read_tables
from humwatch.tasks.plan.actions import KINDS, Action, Actions
from humwatch.tasks.plan.catalog import by_machine
from humwatch.tasks.plan.night_tables import newest_tables
from humwatch.tasks.plan.scope import is_date

_STANDING = pa.schema([MACHINE_NIGHTS.field(name) for name in (*MACHINE, "alarm_since")])
_MOST_NAMES_SHOWN = 5
_NO_NAME = "by whom is not said, and this user has no login name: --by, or HUMWATCH_USER"


@dataclass(frozen=True)
class Said:
    """What somebody says about a machine, as it was typed.

    Attributes:
        action: one of `KINDS`.
        machine: `TYPE/ID`, with a site `SITE/TYPE/ID`; where it has conditions `/CONDITION` behind it.
        by: who.
        night: a date; unset: the newest night.
        until: a date, of a mute.
        text: why, or a note.
    """

    action: str
    machine: str
    by: str | None
    night: str | None = None
    until: str | None = None
    text: str | None = None


class Plant:
    """What an action may name: the machines and nights of a lake, and the alarms that stand."""

    def __init__(self, lake: Lake, recordings: pd.DataFrame) -> None:
        """Take a lake and its current recordings (`humwatch.tasks.plan.catalog.current_recordings`)."""
        self._lake = lake
        self.machines = list(by_machine(recordings[MACHINE].drop_duplicates()))
        self.nights: list[str] = sorted(night for night in recordings["batch"].unique() if is_date(night))
        self._standing: dict[str, set[Machine]] = {}

    @cached_property
    def actions(self) -> Actions:
        """What was done until now."""
        return Actions.read(self._lake)

    def machine(self, name: str) -> Machine:
        """Return the only machine of this name.

        Raises:
            ValueError: there is none, or there are several; the message names those meant.
        """
        named = [machine for machine in self.machines if name in (_name(machine), machine.name)]
        if len(named) == 1:
            return named[0]
        if named:
            raise ValueError(f"machine {name!r} is {len(named)}: {_listed(map(_name, named))}; name one")
        names = [_name(machine) for machine in self.machines]
        close = get_close_matches(name, names, n=_MOST_NAMES_SHOWN, cutoff=0.5)
        meant = f"did you mean {_listed(close)}?" if close else f"there are {_listed(names)}"
        raise ValueError(f"machine {name!r}: there is none; {meant}")

    def night(self, text: str | None, *, may_come: bool) -> str:
        """Return a night of the lake, the newest for None.

        Args:
            text: a date.
            may_come: whether it may also be today or tomorrow, of which nothing has arrived yet.

        Raises:
            ValueError: no machine was heard on it.
        """
        today = datetime.now().astimezone().date()
        coming = [day.isoformat() for day in (today, today + timedelta(days=1))]
        if text is None:
            if not self.nights:
                raise ValueError("the lake holds no night: no recording in it has a date")
            # a wrong clock may have sent later ones
            return ([night for night in self.nights if night <= coming[-1]] or self.nights)[-1]
        night = _date(text, "night")
        if night not in self.nights and not (may_come and night in coming):
            if not self.nights:
                raise ValueError(f"night {night}: the lake holds no night: no recording in it has a date")
            near = sorted(sorted(self.nights, key=lambda each: abs(_days(each) - _days(night)))[:3])
            raise ValueError(
                f"night {night}: no machine was heard on it; there are {self.nights[0]} to {self.nights[-1]}, near it "
                f"{_listed(near)}"
            )
        return night

    def has_alarm(self, machine: Machine, night: str) -> bool:
        """Whether an alarm of a machine stood on a night, under any settings."""
        if night not in self._standing:
            tables = [newest_tables(self._lake, key).get(night) for key in self._lake.folders("nights")]
            paths = [path for path in tables if path is not None]
            rows: pd.DataFrame = read_tables(self._lake, paths, _STANDING).to_pandas()
            self._standing[night] = set(by_machine(rows[rows["alarm_since"].notna()]))
        return machine in self._standing[night]


def checked(said: Said, plant: Plant) -> Action:
    """Return what was said as an action, with the id of the one that was kept should it be the same.

    Raises:
        ValueError: it is not understood, or names what the lake does not know.
    """
    if said.action not in KINDS:
        raise ValueError(f"action {said.action!r} is none of {', '.join(KINDS)}")
    if not said.by:
        raise ValueError(_NO_NAME)
    machine = plant.machine(said.machine)
    if said.action == "repaired" and said.night is None:
        raise ValueError("repaired: name its night, the first after the repair")
    night = plant.night(said.night, may_come=said.action == "repaired")
    if said.action == "note" and not said.text:
        raise ValueError("note: has no text")
    if (said.until is None) == (said.action == "mute"):
        raise ValueError(f"{said.action}: {'name its last night, until' if said.until is None else 'has no until'}")
    until = None if said.until is None else _date(said.until, "until")
    if until is not None and until < night:
        raise ValueError(f"mute: until {until} is before the night {night} it begins with")
    action = _identified(
        Action("", said.action, machine, night, until, None, said.text, said.by, datetime.now(UTC)), plant.actions
    )
    if said.action == "ack" and not is_kept(action, plant.actions) and not plant.has_alarm(machine, night):
        raise ValueError(f"ack: no alarm of {_name(machine)} stands on {night}, as the lake's nights were judged")
    return action


def withdrawing(action_id: str, by: str | None, text: str | None, actions: Actions) -> Action:
    """Return the undo of an action, that which is kept should there be one.

    Raises:
        BadConfiguration: there is no such action, it is an undo itself, or nobody is named.
    """
    if not by:
        raise BadConfiguration(_NO_NAME)
    if action_id in actions.withdrawn:
        return actions.withdrawn[action_id]
    undone = next((action for action in actions.kept if action.action_id == action_id), None)
    if undone is None:
        raise BadConfiguration(f"action {action_id!r}: there is none; `humwatch alarms list` has them")
    if undone.undoes is not None:
        raise BadConfiguration(f"action {action_id!r} is an undo itself: say again what it withdrew")
    undo = Action("", "undo", undone.machine, undone.night, None, action_id, text, by, datetime.now(UTC))
    return _identified(undo, actions)


def is_kept(action: Action, actions: Actions) -> bool:
    """Whether an action is among those kept."""
    return any(action.action_id == other.action_id for other in actions.kept)


def keep(lake: Lake, said: Iterable[Action], actions: Actions) -> list[Action]:
    """Keep the actions that are not among `actions`, all in one table; return those it added."""
    new = list({action.action_id: action for action in said if not is_kept(action, actions)}.values())
    if not new or not put_actions(lake, [_row(action) for action in new]):
        return []
    return new


def _identified(action: Action, actions: Actions) -> Action:
    """Return an action with its id: a digest of what it says, and of the undo that withdrew the same before."""
    contents = {name: value for name, value in _row(action).items() if name not in ("action_id", "at")}
    action_id = digest(contents)
    while action_id in actions.withdrawn:
        action_id = digest(contents | {"after": actions.withdrawn[action_id].action_id})
    return Action(**{**vars(action), "action_id": action_id})


def _row(action: Action) -> dict[str, object]:
    return {**{name: value for name, value in vars(action).items() if name != "machine"}, **asdict(action.machine)}


def _date(text: str, what: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError(f"{what} {text!r} is no date, such as 2026-11-21") from None


def _days(night: str) -> int:
    return date.fromisoformat(night).toordinal()


def _name(machine: Machine) -> str:
    """Return how a command names a machine."""
    return f"{machine.name}/{machine.condition}" if machine.condition else machine.name


def _listed(names: Iterable[str]) -> str:
    shown: Sequence[str] = [*names]
    more = len(shown) - _MOST_NAMES_SHOWN
    return ", ".join(shown[:_MOST_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
