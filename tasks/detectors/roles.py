"""Which recordings train a model and which are judged: by labels, or by trust in a machine's first nights."""

from __future__ import annotations

import pandas as pd

from tasks.catalog import MACHINE
from tasks.detectors.split import split
from tasks.settings import FitSettings


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

    A machine's commissioning window is its first `fit.commissioning_nights` batches, or those from
    `fit.commissioning_from` to `fit.commissioning_until`. Its recordings train, except those labelled abnormal, which
    are unused. A machine whose window is not over yet, or holds fewer than `fit.min_training_recordings` recordings,
    does not train: all of it is test. Everything after the window is test.

    Args:
        recordings: columns site, machine_type, machine_id, condition, batch and label.
        fit: the window.
    """
    roles = pd.Series("test", index=recordings.index, name="role", dtype="str")
    for _, rows in recordings.groupby(MACHINE, dropna=False, sort=False):
        inside = rows[rows["batch"].isin(_window(sorted(rows["batch"].unique()), fit))]
        abnormal = inside["label"] == "abnormal"
        if (~abnormal).sum() >= fit.min_training_recordings:
            roles[inside.index[~abnormal]] = "train"
            roles[inside.index[abnormal]] = "unused"
    return roles


def _window(nights: list[str], fit: FitSettings) -> list[str]:
    if fit.commissioning_from is not None or fit.commissioning_until is not None:
        first = fit.commissioning_from.isoformat() if fit.commissioning_from else ""
        last = fit.commissioning_until.isoformat() if fit.commissioning_until else nights[-1]
        return [night for night in nights if first <= night <= last] if nights[-1] >= last else []
    return nights[: fit.commissioning_nights] if len(nights) >= fit.commissioning_nights else []
