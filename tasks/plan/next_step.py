"""Why nothing could be scored, and what to type next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from humwatch.storage.reasons import EXPLANATIONS, Reason
from humwatch.storage.tables import MACHINE
from humwatch.tasks.plan.catalog import by_machine
from humwatch.tasks.plan.roles import commissioning
from humwatch.tasks.plan.scope import is_dated
from humwatch.tasks.settings import FitSettings

_MOST_REASONS = 5


@dataclass(frozen=True)
class NextStep:
    """Why nothing was scored (a stable code, a sentence with numbers) and what to type or do about it."""

    code: str
    message: str
    advice: str


@dataclass(frozen=True)
class Commissioning:
    """How far a machine is on its way to a first model: nights and recordings, there and wanted."""

    machine: str
    nights: int
    nights_wanted: int
    recordings: int
    recordings_wanted: int

    def __str__(self) -> str:
        return (
            f"{self.nights} of {self.nights_wanted} nights and {self.recordings} of {self.recordings_wanted} recordings"
        )

    @property
    def is_over(self) -> bool:
        """Whether the machine can have a model."""
        return self.nights >= self.nights_wanted and self.recordings >= self.recordings_wanted

    @property
    def share(self) -> float:
        """How much of it is done, 0 to 1: by what lacks most, then by the other."""
        nights, recordings = self.nights / self.nights_wanted, self.recordings / self.recordings_wanted
        return 0.9 * min(nights, recordings, 1.0) + 0.1 * min(max(nights, recordings), 1.0)


def next_step(recordings: pd.DataFrame, fit: FitSettings) -> NextStep | None:
    """Return why no machine has a model, or nothing can be scored with one; None when there are no recordings.

    Args:
        recordings: rows of `History`: site, machine_type, machine_id, condition, batch, label, status, reason.
        fit: what models are trained on.
    """
    if recordings.empty:
        return None
    missing = what_is_missing(recordings, fit)
    if missing is not None:
        return missing
    return NextStep(
        "no_models",
        "there are recordings to learn from, and no machine has a model for these settings",
        "humwatch run (on nights: humwatch nightly), or humwatch fit and then humwatch score; where the archive says "
        "which recordings train, it must hold normal ones among them",
    )


def what_is_missing(recordings: pd.DataFrame, fit: FitSettings) -> NextStep | None:
    """Return what recordings lack for a first model of any machine; None when they lack nothing.

    Args:
        recordings: as of `next_step`, at least one.
        fit: what models are trained on.
    """
    if fit.training == "assumed_normal":
        dated = is_dated(recordings["batch"])
        good = recordings["status"].ne("rejected")
        if good.any() and not (good & dated).any():
            return _no_night(int(good.sum()))
        recordings = recordings[dated | ~good]
    accepted = recordings[recordings["status"] == "accepted"]
    if accepted.empty:
        return _none_accepted(recordings)
    return _labels_missing(accepted) if fit.training == "labelled" else _nights_missing(accepted, fit)


def told_rejects(recordings: pd.DataFrame) -> str:
    """Return the reasons of rejected recordings with their numbers, the most frequent first, each explained."""
    return told_reasons({str(reason): n for reason, n in recordings["reason"].value_counts().items()})


def told_reasons(counts: Mapping[str, int]) -> str:
    """Return reasons with their numbers in the order given, each explained, and how many more there are."""
    first = list(counts.items())[:_MOST_REASONS]
    told = [f"{n} {reason} ({EXPLANATIONS[Reason(reason)]})" for reason, n in first]
    return ", ".join(told) + (f" and {len(counts) - _MOST_REASONS} more reasons" if len(counts) > _MOST_REASONS else "")


def commissionings(accepted: pd.DataFrame, fit: FitSettings) -> list[Commissioning]:
    """Return how far every machine is that is commissioned by its first nights, the furthest first."""

    def each() -> Iterator[Commissioning]:
        for machine, rows in by_machine(accepted).items():
            first = sorted(rows["batch"].unique())[: fit.commissioning_nights]
            inside = rows["batch"].isin(first) & rows["label"].ne("abnormal")
            yield Commissioning(
                machine.label, len(first), fit.commissioning_nights, int(inside.sum()), fit.min_training_recordings
            )

    return sorted(each(), key=lambda machine: -machine.share)


def _none_accepted(recordings: pd.DataFrame) -> NextStep:
    pending = int((recordings["status"] == "pending").sum())
    if pending:
        return NextStep(
            "not_decoded", f"{pending} recordings are not decoded yet", "humwatch run, or humwatch spectrograms"
        )
    return NextStep(
        "all_rejected",
        f"all {len(recordings)} recordings were rejected: {told_rejects(recordings)}",
        "where names are the reason, --set ingest.layout='...' or a manifest says what they mean (humwatch inspect "
        "SOURCE shows it); else correct the files: docs/tables.md explains every reason",
    )


def _labels_missing(accepted: pd.DataFrame) -> NextStep | None:
    n, normal = len(accepted), int(accepted["label"].eq("normal").sum())
    if accepted["label"].isna().all():
        dated = is_dated(accepted["batch"])
        nights = accepted["batch"][dated].nunique()
        there = f"{nights} {'is' if nights == 1 else 'are'} there"
        learn = f"or learn from each machine's first nights, of which {there}: humwatch nightly"
        return NextStep(
            "no_labels",
            f"{n} recordings, none labelled",
            "say which are normal: folders `normal` and `abnormal`, a manifest with a column label, or {label} in "
            f"--set ingest.layout; {learn if nights else 'with dates in their names humwatch nightly needs no labels'}",
        )
    if not normal:
        return NextStep(
            "no_normal",
            f"{n} recordings, none labelled normal: there is no sound to learn from",
            "add normal recordings of the same machines, in folders `normal` or by a manifest",
        )
    return None


def _no_night(recordings: int) -> NextStep:
    return NextStep(
        "no_night",
        f"{recordings} recordings, none dated: there are no nights to learn from",
        "put dates into folders or file names, name them in --set ingest.layout ({recorded_at:%Y-%m-%d}), or give "
        "a manifest with a column recorded_at; without dates `humwatch run` works on labelled recordings",
    )


def _nights_missing(accepted: pd.DataFrame, fit: FitSettings) -> NextStep | None:
    if fit.commissioning_from or fit.commissioning_until:
        if commissioning(accepted, fit).eq("train").any():
            return None
        first, last = fit.commissioning_from or "its first night", fit.commissioning_until or "its newest night"
        return NextStep(
            "commissioning",
            f"no machine has {fit.min_training_recordings} recordings from {first} to {last}, or that is not over: the "
            f"lake holds nights from {accepted['batch'].min()} to {accepted['batch'].max()}",
            "wait for more nights, or change fit.commissioning_from, fit.commissioning_until or "
            "fit.min_training_recordings",
        )
    furthest = commissionings(accepted, fit)[0]
    machines = accepted[MACHINE].drop_duplicates()
    if furthest.is_over:
        return None
    which = "the only machine" if len(machines) == 1 else f"the furthest of {len(machines)} machines"
    lower = {"commissioning_nights": furthest.nights, "min_training_recordings": furthest.recordings}
    lowered = [f"--set fit.{name}={n}" for name, n in lower.items() if n < getattr(fit, name)]
    return NextStep(
        "commissioning",
        f"no machine has history enough for a model: {which}, {furthest.machine}, has {furthest}",
        f"wait for more nights, or learn from fewer: {' '.join(lowered)} (the fewer, the less is known of what is "
        "normal)",
    )
