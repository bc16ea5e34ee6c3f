"""What a run did, as the command line and `summary.json` tell it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from humwatch.flows.exit_status import DONE, FAILED, NOTHING_ARRIVED, TOO_MANY_REJECTED
from humwatch.storage.errors import HumwatchError

if TYPE_CHECKING:  # every command has a summary at hand, for what goes wrong
    import pandas as pd

    from humwatch.tasks.ingest.wording import Doubt
    from humwatch.tasks.notify.task import Delivery
    from humwatch.tasks.plan.absent_night import NothingArrived
    from humwatch.tasks.plan.next_step import NextStep
    from humwatch.tasks.plan.run import Run

_COUNTS = (
    "listed", "accepted", "rejected", "recordings_decoded", "windows_embedded", "models_fitted", "recordings_scored",
)  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """Something that could not be done, in words and as a stable code."""

    source: str
    stage: str
    code: str
    message: str

    @classmethod
    def of(cls, source: str, stage: str, error: HumwatchError) -> Problem:
        """Return the problem that an error stands for."""
        return cls(source, stage, error.code, str(error))

    @classmethod
    def unforeseen(cls, stage: str, error: Exception) -> Problem:
        """Return the problem of an error that is not ours, with the notes that say in which unit of work it came."""
        return cls("", stage, "internal_error", "; ".join([repr(error), *getattr(error, "__notes__", ())]))


@dataclass
class RunSummary:
    """Counts of one run; `listed`, `accepted` and `rejected` are of the sources given, the rest is this run's work."""

    command: str
    lake: str
    listed: int = 0
    accepted: int = 0
    rejected: int = 0
    recordings_decoded: int = 0
    windows_embedded: int = 0
    models_fitted: int = 0
    recordings_scored: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    report: str | None = None
    night: str | None = None
    arrival: dict[str, Any] = field(default_factory=dict)
    nothing_arrived: NothingArrived | None = None
    machines: dict[str, int] = field(default_factory=dict)
    not_normal: list[dict[str, Any]] = field(default_factory=list)
    why_no_alarm: str | None = None
    silent: list[str] = field(default_factory=list)
    same_samples: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    nights: list[dict[str, Any]] = field(default_factory=list)
    told: list[Delivery] = field(default_factory=list)
    retrained: list[dict[str, Any]] = field(default_factory=list)
    not_retrained: list[dict[str, Any]] = field(default_factory=list)
    rolled_back: list[str] = field(default_factory=list)
    not_rolled_back: list[dict[str, Any]] = field(default_factory=list)
    degraded: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    errors: list[Problem] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)
    next_step: NextStep | None = None
    recording_ids: frozenset[str] | None = None
    batches_finished: frozenset[str] = frozenset()
    evaluation_id: str | None = None

    @classmethod
    def of_nights(cls, lake: str, summaries: Sequence[RunSummary]) -> RunSummary:
        """Return the summary of a backfill: the sums of its nights, and each night in `nights`."""
        total = cls("backfill", lake)
        for summary in summaries:
            for name in (*_COUNTS, "errors", "told"):
                setattr(total, name, getattr(total, name) + getattr(summary, name))
            total.reasons = dict((Counter(total.reasons) + Counter(summary.reasons)).most_common())
            total.degraded |= summary.degraded
            total.report = summary.report or total.report
            if summary.machines and (summary.night or "") > (total.night or ""):
                for name in ("night", "machines", "not_normal", "why_no_alarm"):
                    setattr(total, name, getattr(summary, name))
            total.next_step = summary.next_step
            total.doubts += [doubt for doubt in summary.doubts if doubt not in total.doubts]
            total.nights.append({"night": summary.night, **{name: getattr(summary, name) for name in _COUNTS}})
        return total

    def count(self, run: Run) -> None:
        """Count the recordings of the sources given (without sources: in scope) and judge their share of rejects."""
        from humwatch.tasks.plan.suspicions import suspicions  # noqa: PLC0415 - pandas is for commands that have a run

        rows, history = self.counted(run)
        self.same_samples = [f"{machine.label}: {told}" for machine, told in suspicions(rows, history)]
        self.listed = len(rows)
        self.rejected = int((rows["status"] == "rejected").sum())
        self.reasons = {str(reason): int(n) for reason, n in rows["reason"].value_counts().items()}
        self.accepted = self.listed - self.rejected
        self.degraded = self.rejected > run.settings.ingest.max_rejected_fraction * self.listed

    def counted(self, run: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the rows of the recordings that are counted, and the rows of the history that they are of."""
        if self.recording_ids is None:
            history = run.history_in_scope().rows
            return run.scope.recordings(history), history
        history = run.history_holding(self.recording_ids).rows
        return run.scope.recordings(history[history["recording_id"].isin(self.recording_ids)]), history

    def as_json(self) -> dict[str, Any]:
        """Return the summary of the contract: JSON values only."""
        hidden = {"recording_ids", "batches_finished", "evaluation_id"}
        only_when_used = {
            "reasons", "night", "arrival", "nothing_arrived", "machines", "not_normal", "why_no_alarm", "silent",
            "same_samples", "late", "nights", "told", "retrained", "not_retrained", "rolled_back", "not_rolled_back",
            "doubts", "next_step",
        }  # fmt: skip
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in hidden and (value or name not in only_when_used)
        }

    @property
    def exit_status(self) -> int:
        """0 done, 1 failed in part, 4 done but nothing arrived of the night, 3 done but degraded."""
        if self.errors:
            return FAILED
        if self.nothing_arrived:
            return NOTHING_ARRIVED
        return TOO_MANY_REJECTED if self.degraded else DONE
