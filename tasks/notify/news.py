"""What there is to tell of a night, and what of it a channel has not been told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from humwatch.storage.notices import Told
from humwatch.tasks.reports.night.fleet_view import Fleet, MachineView
from humwatch.tasks.reports.page_rows import Row

KINDS = {
    "alarm": ("new alarm", "new alarms"),
    "failed": ("failure", "failures"),
    "nothing_arrived": ("night without recordings", "nights without recordings"),
    "silent": ("silent machine", "silent machines"),
    "unhealthy_sensor": ("unhealthy sensor", "unhealthy sensors"),
    "cleared": ("alarm cleared", "alarms cleared"),
}
"""What can be told, the worst first, and what one and several of it are called."""

WINDOW_NIGHTS = 60
"""Nights that are looked at for when something began."""

_STATES = ("silent", "unhealthy_sensor")
_RANK = {kind: rank for rank, kind in enumerate(KINDS)}
_Known: TypeAlias = dict[tuple[str, str], str]


@dataclass(frozen=True)
class News:
    """One thing to tell.

    Attributes:
        kind: One of `KINDS`.
        about: What it is about: the path of a machine, or the codes of a failure.
        words: One line for people, without the kind.
        since: Its first night; empty where it lasts longer than `WINDOW_NIGHTS`. A channel that was told of the same
            before that night is told again: in between it was over.
        muted: Whether people have muted the machine: not told now, and as new as it is when that ends.
    """

    kind: str
    about: str
    words: str
    since: str
    muted: bool = False


def standing(fleet: Fleet) -> list[News]:
    """Return what stands on the fleet's night: alarms, silent machines and unhealthy sensors, the worst first.

    Args:
        fleet: With up to `WINDOW_NIGHTS` nights.
    """
    return [news for view in fleet.machines for news in _of_machine(view)]


def untold(news: Sequence[News], fleet: Fleet | None, told: Sequence[Told]) -> list[News]:
    """Return what of the news a channel does not know, and the alarms it knows that are over; the worst first.

    Args:
        news: What stands, and what happened to the run.
        fleet: The night they are of; None where no night was judged: then no alarm is known to be over.
        told: What the channel knows.
    """
    known = {(each.kind, each.about): each.night for each in told}
    over = [] if fleet is None else _cleared(fleet, known)
    new = [each for each in news if _is_new(each, known) and not each.muted]
    return sorted([*new, *over], key=lambda each: _RANK[each.kind])


def knows(news: Sequence[News], fleet: Fleet | None, told: Sequence[Told], night: str) -> list[Told]:
    """Return what a channel knows once it has been told the news of a night: of machines only what still stands."""
    of_machines = {"alarm", *_STATES}
    untold = {(each.kind, each.about) for each in news if each.muted}
    kept = {
        (each.kind, each.about): each
        for each in told
        if fleet is None or each.kind not in of_machines or (each.kind, each.about) in untold
    }
    now = {
        (each.kind, each.about): Told(kind=each.kind, about=each.about, night=max(night, each.since))
        for each in news
        if not each.muted
    }
    return list((kept | now).values())


def _is_new(news: News, known: _Known) -> bool:
    night = known.get((news.kind, news.about))
    return night is None or news.since > night


def _cleared(fleet: Fleet, known: _Known) -> Iterator[News]:
    for view in fleet.machines:
        if ("alarm", view.machine.path) in known and not _is_alarm(view.tonight) and not _is_muted(view):
            yield News("cleared", view.machine.path, _one_line(view.machine.label), fleet.night)


def _of_machine(view: MachineView) -> Iterator[News]:
    machine, tonight = view.machine, view.tonight
    label = _one_line(machine.label)
    if _is_alarm(tonight):
        share = view.of_alarm
        evidence = "" if share is None else f"; evidence {share:.1f} times the level of an alarm"
        onset = f"; changed on {tonight['onset']}" if tonight["onset"] else ""
        words = f"{label}, since {tonight['alarm_since']}{onset}{evidence}"
        yield News("alarm", machine.path, words, _began(view, _is_alarm), _is_muted(view))
    if view.state in _STATES:
        reason = f": {_one_line(tonight['reason'])}" if tonight["reason"] else ""
        words = f"{label}, since {view.since}{reason}"
        began = _began(view, lambda row: row["state"] == view.state)
        yield News(view.state, machine.path, words, began, _is_muted(view))


def _is_alarm(row: Row) -> bool:
    return row["alarm_since"] is not None


def _is_muted(view: MachineView) -> bool:
    return view.tonight["muted_until"] is not None


def _began(view: MachineView, holds: Callable[[Row], bool]) -> str:
    """Return the first of the nights on which it holds without a break until tonight; empty where none is known."""
    began = ""
    for row in reversed(view.nights):
        if not holds(row):
            return began
        began = str(row["night"])
    return began if len(view.nights) < WINDOW_NIGHTS else ""


def _one_line(text: str) -> str:
    """Names come from archives: a line break in one must not look like another line of ours."""
    return " ".join(text.split())
