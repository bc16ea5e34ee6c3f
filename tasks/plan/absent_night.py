"""A night of which nothing arrived, in words."""

from __future__ import annotations

from dataclasses import dataclass

from humwatch.tasks.plan.open_nights import newest_night
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.tonight import nights_between, of_nights
from humwatch.tasks.words import counted


@dataclass(frozen=True)
class NothingArrived:
    """That the lake has no recording of a night that was asked for, or is due by the clock.

    Attributes:
        night: The night without recordings.
        newest: The newest night with recordings, None without any.
        message: Both in a sentence.
        advice: What to do.
    """

    night: str
    newest: str | None
    message: str
    advice: str


def nothing_arrived(run: Run, night: str) -> NothingArrived | None:
    """Return what to say of a night of which no recording is in the lake; None where one is, of whatever machine.

    A night to come has none: recordings that say they are of it are set apart.
    """
    rows = run.history_of(frozenset({night})).rows
    of_night = rows[rows["batch"] == night]
    if len(of_nights(of_night, run.now)):
        return None
    newest = newest_night(run)
    if newest is None:
        than = "the lake has no night"
    else:
        nights = nights_between(newest, night)
        distance = f"{counted(abs(nights), 'night')} {'before' if nights > 0 else 'after'}"
        than = f"the newest night with recordings is {newest}, {distance}"
    if len(of_night):
        return NothingArrived(
            night,
            newest,
            f"the night {night} is to come by this machine's clock, and {counted(len(of_night), 'recording')} that say "
            f"they are of it are set apart: {than}",
            "correct the date in the names, and set the clock of the recorder, or of this machine",
        )
    return NothingArrived(
        night,
        newest,
        f"nothing arrived of the night {night}: {than}",
        "look at the transfer and at the sources given; what comes late is taken in by the next run",
    )
