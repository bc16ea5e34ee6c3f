"""Which recordings train a model and which test it: the archive's own split, or a random holdout of normal ones."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from humwatch.tasks.frames import python_values

MAX_TEST_NORMALS = 150
"""As in Müller et al. 2020 (arXiv 2006.03429)."""

_IN_ALL_CONDITIONS = ["site", "machine_type", "machine_id"]


def split(recordings: pd.DataFrame, seed: int, mode: Literal["holdout", "paper"]) -> pd.Series[str]:
    """The role of each recording, "train", "test" or "unused", aligned to the index of `recordings`.

    For each machine by itself, whatever the order of rows and the other machines:

    - It has a split of its archive: its normal train recordings train, its abnormal ones and what is supplemental
      (DCASE 2025 on: other sounds to learn from) are unused, all other recordings of the machine test.
    - Otherwise, with n_normal and n_abnormal files: `holdout` tests min(150, n_abnormal, n_normal // 2) normal files
      and all abnormal ones; `paper` tests min(150, n_abnormal) normal files, one always staying to train, and as many
      abnormal ones, the other abnormal files being unused. The other normal files train.
    - Recordings without a label never train; they test, that is, they are scored.

    A file under several conditions is one file: it plays one role in all of them.

    Args:
        recordings: Columns site, machine_type, machine_id, split (train|test|supplemental|null), label
            (normal|abnormal|null) and file_key, str, the same for the same file in every condition; a normal and an
            abnormal file may share one.
        seed: Chooses the files, by a hash of the seed, the machine and the file.
        mode: Size of the test set.
    """
    roles = np.full(len(recordings), "test", dtype=object)
    is_normal, is_abnormal = _equals(recordings["label"], "normal"), _equals(recordings["label"], "abnormal")
    in_train, in_archive_split = _equals(recordings["split"], "train"), recordings["split"].notna().to_numpy()
    supplemental = _equals(recordings["split"], "supplemental")
    keys = recordings["file_key"].to_numpy(dtype=object)
    identities = python_values(recordings[_IN_ALL_CONDITIONS])
    for positions in identities.groupby(_IN_ALL_CONDITIONS, dropna=False, sort=False).indices.values():
        rows = np.asarray(positions)
        normals, abnormals = rows[is_normal[rows]], rows[is_abnormal[rows]]
        if in_archive_split[rows].any():
            roles[normals[in_train[normals]]] = "train"
            roles[abnormals[in_train[abnormals]]] = "unused"
            roles[rows[supplemental[rows]]] = "unused"
            continue
        machine = [seed, *identities.iloc[rows[0]]]
        normal_keys = _shuffled(keys[normals], [*machine, "normal"])
        abnormal_keys = _shuffled(keys[abnormals], [*machine, "abnormal"])
        n_normal, n_abnormal = _test_sizes(len(normal_keys), len(abnormal_keys), mode)
        roles[normals[_is_in(keys[normals], normal_keys[n_normal:])]] = "train"
        roles[abnormals[_is_in(keys[abnormals], abnormal_keys[n_abnormal:])]] = "unused"
    return pd.Series(roles, index=recordings.index, name="role", dtype="str")


def _equals(column: pd.Series[Any], value: str) -> NDArray[np.bool_]:
    """Where a column has the value; a null of any kind has none."""
    return (column.notna() & column.eq(value).fillna(False)).to_numpy(dtype=bool)


def _test_sizes(n_normal: int, n_abnormal: int, mode: Literal["holdout", "paper"]) -> tuple[int, int]:
    """How many normal and abnormal files are tested."""
    if mode == "holdout":
        return min(MAX_TEST_NORMALS, n_abnormal, n_normal // 2), n_abnormal
    size = min(MAX_TEST_NORMALS, n_abnormal, max(n_normal - 1, 0))
    return size, size


def _shuffled(keys: Iterable[str], salt: list[Any]) -> list[str]:
    """The different keys in the order of their hashes: random, yet the same for the same salt on any machine."""
    return sorted(set(keys), key=lambda key: blake2b(json.dumps([*salt, key]).encode()).digest())


def _is_in(keys: NDArray[Any], chosen: list[str]) -> NDArray[np.bool_]:
    return np.isin(keys.astype(str), np.array(chosen, dtype=str))
