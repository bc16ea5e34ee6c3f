"""A judged night in short, as a terminal and a summary tell it: machines in each state, and who is not normal."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from humwatch.tasks.plan.night_tables import newest_tables, night_of, read_night
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scope import Scope
from humwatch.tasks.reports.night.fleet_view import MachineView, fleet_of

_TOLD = 100  # machines that are not normal: the rest is in machines.csv


@dataclass(frozen=True)
class NightState:
    """The fleet on one night, under the first variant of the settings.

    Attributes:
        night: Its date.
        machines: How many are in each state, the most urgent first.
        not_normal: Those that are not normal, the most urgent first and 100 at most: machine, state, new_alarm,
            alarm_since, onset, p_value, of_alarm (evidence as a share of the level of an alarm), reason; None where
            there is nothing to say.
        can_alarm: Machines that have a level of an alarm, so that one could be raised.
        of_machines: State and reason of every machine, by its label.
    """

    night: str
    machines: dict[str, int]
    not_normal: list[dict[str, Any]]
    can_alarm: int
    of_machines: dict[str, tuple[str, str | None]]

    @property
    def why_no_alarm(self) -> str | None:
        """Why no machine could have been in alarm, in words; None where one could."""
        if self.can_alarm or self.machines.get("alarm") or not self.of_machines:
            return None
        reasons = Counter(reason or state for state, reason in self.of_machines.values())
        (reason, count), *others = reasons.most_common()
        more = f"; {sum(n for _, n in others)} for other reasons" if others else ""
        return (
            f"on the night {self.night} none of {len(self.of_machines)} machines could have raised an alarm: {count} "
            f"because of: {reason}{more}"
        )


def night_state(run: Run) -> NightState | None:
    """Return the night in scope as it was judged last; None when it never was."""
    night, rows = night_of(run.scope), read_night(run)
    if night is None or rows is None or rows.empty:
        return None
    shown = run.variants[0]
    fleet = fleet_of(rows, night, (shown.backbone, shown.detector, shown.seed))
    return NightState(
        night,
        fleet.counts(),
        [_told(view) for view in fleet.machines if view.state != "normal"][:_TOLD],
        sum(view.tonight["level_alarm"] is not None for view in fleet.machines),
        {view.machine.label: (view.state, view.tonight["reason"]) for view in fleet.machines},
    )


def newest_judged(run: Run) -> NightState | None:
    """Return the newest night that was judged, as it was judged last; None when none was."""
    nights = newest_tables(run.lake, run.nights_key(run.variants[0]))
    return night_state(run.scoped(Scope(frozenset({max(nights)}), run.scope.machines))) if nights else None


def _told(view: MachineView) -> dict[str, Any]:
    row = view.tonight
    named = {name: row[name] for name in ("new_alarm", "alarm_since", "onset", "p_value")}
    return {
        "machine": view.machine.label,
        "state": view.state,
        **named,
        "of_alarm": view.of_alarm,
        "reason": row["reason"],
    }
