"""Recordings whose samples are the same bit for bit: of a machine one is used."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from humwatch.storage.tables import MACHINE

_ORDER = ["trains", "recorded_at", "batch", "recording_id"]


def repeats(recordings: pd.DataFrame, usable: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Whether each recording has the samples of another of its machine and condition that comes before it.

    First come those of the archive's own training split, then the earliest (without a time last), then by batch and
    `recording_id`: so whichever order they were taken in.

    Args:
        recordings: columns site, machine_type, machine_id, condition, split, recorded_at, batch, recording_id and
            sound_hash (null: unlike any other).
        usable: bool (recording,): those that are compared; no other reason rejects them.
    """
    alike = usable & shared(recordings["sound_hash"].where(usable))
    places = np.flatnonzero(alike)
    few = recordings.iloc[places].reset_index(drop=True)
    trains = ~few["split"].eq("train").to_numpy(dtype=bool, na_value=False)
    ordered = few.assign(trains=trains).sort_values(_ORDER, kind="stable", na_position="last")
    again = np.zeros(len(recordings), dtype=bool)
    again[places[ordered.index[ordered.duplicated([*MACHINE, "sound_hash"])]]] = True
    return again


def shared(sound_hash: pd.Series) -> npt.NDArray[np.bool_]:
    """Whether each hash occurs more than once; nulls never do."""
    return (sound_hash.notna() & sound_hash.duplicated(keep=False)).to_numpy(dtype=bool)
