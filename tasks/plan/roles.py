"""Which recordings train a model and which are judged: by labels, or by trust in a machine's first nights."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from humwatch.storage.tables import MACHINE
from humwatch.tasks.plan.scope import is_dated
from humwatch.tasks.plan.split import split
from humwatch.tasks.plan.tallies import is_among
from humwatch.tasks.settings import FitSettings


def assign_roles(
    recordings: pd.DataFrame, fit: FitSettings, seed: int, nights: pd.DataFrame | None = None
) -> pd.Series[str]:
    """Return the role (train, test or unused) of every recording under `fit.training`, aligned to its index.

    Args:
        recordings: accepted recordings with the columns that `split` and `commissioning` read; where labels split them
            all of each machine.
        fit: training, and what it takes.
        seed: of the split; a commissioning window has nothing random.
        nights: as in `commissioning`.
    """
    if fit.training == "labelled":
        return split(recordings, seed=seed, mode=fit.split)
    return commissioning(recordings, fit, nights)


def commissioning(recordings: pd.DataFrame, fit: FitSettings, nights: pd.DataFrame | None = None) -> pd.Series[str]:
    """Return roles on a fleet without labels: each machine's first nights are taken for normal.

    A machine's commissioning window is its first `fit.commissioning_nights` nights, or those from
    `fit.commissioning_from` to `fit.commissioning_until`. Its recordings train, except those labelled abnormal, which
    are unused. A machine whose window is not over yet, or holds fewer than `fit.min_training_recordings` recordings,
    does not train: all of it is test. Everything after the window is test, and so is what has no date of a machine that
    has dated nights.

    Args:
        recordings: accepted ones, columns site, machine_type, machine_id, condition, batch and label.
        fit: the window.
        nights: as `humwatch.tasks.plan.history.History.nights`; None: `recordings` are all of each machine.
    """
    abnormal = recordings["label"].eq("abnormal").to_numpy(dtype=bool, na_value=False)
    if nights is None:
        nights = _nights_of(recordings, ~abnormal)
    trains = is_among(recordings, training_nights(nights, fit), [*MACHINE, "batch"])
    roles = pd.Series("test", index=recordings.index, name="role", dtype="str")
    roles[trains & ~abnormal] = "train"
    roles[trains & abnormal] = "unused"
    return roles


def training_nights(nights: pd.DataFrame, fit: FitSettings) -> pd.DataFrame:
    """Return the nights of commissioning windows that are over and hold enough recordings; args as `in_windows`."""
    nights = in_windows(nights, fit, over=True)
    enough = nights.groupby(MACHINE, dropna=False, sort=False)["usable"].transform("sum")
    return nights[enough >= fit.min_training_recordings]


def in_windows(nights: pd.DataFrame, fit: FitSettings, *, over: bool = False) -> pd.DataFrame:
    """Return the nights that are in the commissioning window of their machine; with `over` only of one that is over.

    Args:
        nights: as `humwatch.tasks.plan.history.History.nights`; those without an accepted recording do not count.
        fit: the window.
        over: leave out machines whose window may still get nights.
    """
    nights = nights[nights["accepted"] > 0]
    nights = nights.assign(machine=nights.groupby(MACHINE, dropna=False, sort=False).ngroup())
    dated = is_dated(nights["batch"])
    nights = nights[dated | ~dated.groupby(nights["machine"]).transform("any")]
    inside, done = _window(nights, fit)
    return nights[inside & done if over else inside].drop(columns="machine")


def _nights_of(recordings: pd.DataFrame, usable: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """Return the nights of accepted recordings, as in `History.nights`."""
    counts = recordings[[*MACHINE, "batch"]].assign(accepted=1, usable=usable.astype(int))
    return counts.groupby([*MACHINE, "batch"], dropna=False, sort=False).sum().reset_index()


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
