"""Which recordings train a model and which are judged: by labels, or by trust in a machine's first nights."""

from __future__ import annotations

import pandas as pd

from humwatch.tasks.plan.catalog import MACHINE
from humwatch.tasks.plan.scope import is_dated
from humwatch.tasks.plan.split import split
from humwatch.tasks.settings import FitSettings


def assign_roles(recordings: pd.DataFrame, fit: FitSettings, seed: int) -> pd.Series[str]:
    """Return the role (train, test or unused) of every recording under `fit.training`, aligned to its index.

    Args:
        recordings: accepted recordings with the columns that `split` and `commissioning` read.
        fit: training, and what it takes.
        seed: of the split; a commissioning window has nothing random.
    """
    if fit.training == "labelled":
        return split(recordings, seed=seed, mode=fit.split)
    return commissioning(recordings, fit)


def commissioning(recordings: pd.DataFrame, fit: FitSettings) -> pd.Series[str]:
    """Return roles on a fleet without labels: each machine's first nights are taken for normal.

    A machine's commissioning window is its first `fit.commissioning_nights` nights, or those from
    `fit.commissioning_from` to `fit.commissioning_until`. Its recordings train, except those labelled abnormal, which
    are unused. A machine whose window is not over yet, or holds fewer than `fit.min_training_recordings` recordings,
    does not train: all of it is test. Everything after the window is test, and so is what has no date of a machine that
    has dated nights.

    Args:
        recordings: columns site, machine_type, machine_id, condition, batch and label.
        fit: the window.
    """
    inside = in_window(recordings, fit, over=True)
    abnormal = recordings["label"].eq("abnormal").to_numpy(dtype=bool, na_value=False)
    enough = (inside & ~abnormal).groupby(_machine(recordings)).transform("sum")
    roles = pd.Series("test", index=recordings.index, name="role", dtype="str")
    trains = inside & (enough >= fit.min_training_recordings)
    roles[trains & ~abnormal] = "train"
    roles[trains & abnormal] = "unused"
    return roles


def in_window(recordings: pd.DataFrame, fit: FitSettings, *, over: bool = False) -> pd.Series[bool]:
    """Return whether each recording is in the commissioning window of its machine; with `over` only if that is over.

    Args:
        recordings: all accepted ones of each machine; columns site, machine_type, machine_id, condition and batch.
        fit: the window.
        over: leave out machines whose window may still get nights.
    """
    machine, batch = _machine(recordings), recordings["batch"]
    nights = pd.DataFrame({"machine": machine, "batch": batch}).drop_duplicates()
    dated = is_dated(nights["batch"])
    nights = nights[dated | ~dated.groupby(nights["machine"]).transform("any")]
    inside, done = _window(nights, fit)
    window = pd.MultiIndex.from_frame(nights[inside & done if over else inside])
    return pd.Series(window.get_indexer(pd.MultiIndex.from_arrays([machine, batch])) >= 0, index=recordings.index)


def _machine(recordings: pd.DataFrame) -> pd.Series[int]:
    return recordings.groupby(MACHINE, dropna=False, sort=False).ngroup()


def _window(nights: pd.DataFrame, fit: FitSettings) -> tuple[pd.Series[bool], pd.Series[bool]]:
    """Whether each night of a machine (columns machine, batch) is in its commissioning window; whether that is over."""
    by_machine = nights.groupby("machine")["batch"]
    if fit.commissioning_from is None and fit.commissioning_until is None:
        order = nights.sort_values("batch").groupby("machine").cumcount().reindex(nights.index)
        return order < fit.commissioning_nights, by_machine.transform("size") >= fit.commissioning_nights
    first = fit.commissioning_from.isoformat() if fit.commissioning_from else ""
    newest = by_machine.transform("max")
    last = fit.commissioning_until.isoformat() if fit.commissioning_until else newest
    return (nights["batch"] >= first) & (nights["batch"] <= last), newest >= last
