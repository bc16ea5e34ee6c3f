"""Evidence of a sustained change over nights, and the alarm that is raised and cleared by it.

Evidence is Page's CUSUM ("Continuous inspection schemes", Biometrika 41, 1954): S = max(0, S + z - k) over the normal
scores z of the nights, k = 3/4, the best for a shift of one and a half standard deviations (Moustakides, "Optimal
stopping times for detecting changes in distributions", Annals of Statistics 14, 1986). A smaller k lets an unlucky
reference add up, so that levels are higher and larger shifts are found later. The change is dated to the night after
its last zero. S ends at the alarm level: what lies above would only delay the clearing.

A machine that is in no attention lets a night join its reference `GUARD_NIGHTS` later, so that a change has to show
itself within these nights before it can be taken for normal; attention empties the queue.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from humwatch.tasks.alarms.reference_nights import Bools, Floats, ReferenceNights

ALLOWANCE = 0.75
GUARD_NIGHTS = 7

Ints = NDArray[np.int64]


@dataclass
class Charts:
    """The charts of many machines, a night at a time: `accumulate`, `judge`, `remember`. Each array is (machine,).

    Attributes:
        reference: nights of normal sound.
        waiting: float64 (machine, GUARD_NIGHTS): night scores that are to join it, oldest first; NaN for none.
        evidence: the CUSUM.
        age: nights with a statistic.
        rise: night index at which evidence last left zero; -1 when it is zero.
        alarm_since: night index of the standing alarm, -1 for none.
        onset: night index to which the standing alarm was dated, -1 for none.
        attention: whether the last night was striking or its evidence at the level of attention, or of alarm.
        calm: nights in a row without attention.
    """

    reference: ReferenceNights
    waiting: Floats
    evidence: Floats
    age: Ints
    rise: Ints
    alarm_since: Ints
    onset: Ints
    attention: Bools
    calm: Ints

    @classmethod
    def begin(cls, reference: ReferenceNights) -> Charts:
        """Return charts without any night."""
        size = len(reference.count)
        return cls(
            reference=reference,
            waiting=np.full((size, GUARD_NIGHTS), np.nan),
            evidence=np.zeros(size),
            age=np.zeros(size, dtype=np.int64),
            rise=np.full(size, -1),
            alarm_since=np.full(size, -1),
            onset=np.full(size, -1),
            attention=np.zeros(size, dtype=bool),
            calm=np.zeros(size, dtype=np.int64),
        )

    def restart(self, which: Bools, reference: ReferenceNights) -> None:
        """Begin new charts for some machines, whose scores are another model's now; a standing alarm stands."""
        for mine, new in ((self.reference.count, reference.count), (self.reference.mean, reference.mean),
                          (self.reference.squares, reference.squares)):  # fmt: skip
            mine[which] = new[which]
        self.waiting[which] = np.nan
        self.evidence[which], self.age[which], self.rise[which] = 0.0, 0, -1
        self.attention[which], self.calm[which] = False, 0

    def accumulate(self, said: Floats, night: int) -> None:
        """Add what a night says (`humwatch.tasks.alarms.null.night_evidence`); NaN: a machine keeps what it has."""
        finite = np.isfinite(said)
        self.evidence[finite] = np.maximum(0.0, self.evidence[finite] + said[finite] - ALLOWANCE)
        self.age[finite] += 1
        self.rise[finite & (self.evidence > 0) & (self.rise < 0)] = night
        self.rise[self.evidence == 0] = -1

    def judge(
        self, finite: Bools, night: int, levels: tuple[Floats, Floats], striking: Bools, clear_nights: int
    ) -> Bools:
        """Raise and clear alarms by the evidence; return the new alarms.

        Args:
            finite: machines that the night said something of; the others stay as they are.
            night: its index.
            levels: of alarm and attention; NaN or infinite where no level keeps the rate: nothing is raised there.
            striking: machines of which this night alone deserves attention.
            clear_nights: nights in a row without attention that clear an alarm.
        """
        alarm, attention = levels
        new = finite & (self.evidence >= alarm) & (self.alarm_since < 0)
        self.alarm_since[new], self.onset[new] = night, self.rise[new]
        np.minimum(self.evidence, alarm, out=self.evidence, where=finite & np.isfinite(alarm))
        self.attention = np.where(finite, striking | (self.evidence >= np.fmin(attention, alarm)), self.attention)
        self.calm[finite] = np.where(self.attention, 0, self.calm + 1)[finite]
        cleared = finite & (self.calm >= clear_nights)
        over = cleared & (self.alarm_since >= 0)
        self.evidence[over], self.rise[over] = 0.0, -1  # what raised the old alarm shall not raise the next
        self.alarm_since[over], self.onset[over] = -1, -1
        return new

    def remember(self, night_scores: Floats, joins_now: Bools | None = None, never: Bools | None = None) -> None:
        """Let a night wait for the reference, and the one that has waited longest join it.

        Args:
            night_scores: NaN where there is none: nothing moves.
            joins_now: nights known to be normal; unset: none.
            never: nights known to be abnormal; unset: none.
        """
        finite, nobody = np.isfinite(night_scores), np.zeros(len(night_scores), dtype=bool)
        joins_now, never = (nobody if which is None else which for which in (joins_now, never))
        self.waiting[self.attention] = np.nan
        self.reference.add(np.where(finite, self.waiting[:, 0], np.nan))
        self.reference.add(np.where(joins_now, night_scores, np.nan))
        waits = np.where(self.attention | joins_now | never, np.nan, night_scores)
        shifted = np.concatenate([self.waiting[:, 1:], waits[:, None]], axis=1)
        self.waiting = np.where(finite[:, None], shifted, self.waiting)

    def trust(self, which: Bools) -> None:
        """Begin the evidence anew: people say that all is well."""
        self.evidence[which], self.rise[which] = 0.0, -1
        self.attention[which], self.calm[which] = False, 0
        self.alarm_since[which], self.onset[which] = -1, -1
