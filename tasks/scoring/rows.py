"""Rows of the scores table: what one model says of one machine's recordings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt
import pandas as pd

from humwatch.tasks.detectors.calibration import p_values


def score_rows(
    recordings: pd.DataFrame,
    window_scores: npt.NDArray[np.float64],
    recording_scores: npt.NDArray[np.float64],
    drift: npt.NDArray[np.float64],
    calibration_scores: npt.NDArray[np.float64],
    calibration_domains: Sequence[str | None] | None,
    threshold: float | None,
    model_version: str,
    detector: str,
    backbone: str,
    seed: int,
) -> pd.DataFrame:
    """Bind scores to the recordings they belong to, row by row.

    Recordings the model was trained on have a score, but no p-value and no decision: both presume a recording the model
    has not seen. There is no decision either without a threshold or a score.

    Args:
        recordings: columns of the recordings table, role (train|test|unused) and in_training (bool: this model was
            fitted on it, whatever its role now); member is empty or null for a recording that is no archive member.
        window_scores: float64 (recording, window), NaN-padded; higher = more abnormal.
        recording_scores: float64 (recording,); NaN where there was no window.
        drift: float64 (recording,), as from `MachineModel.drift`.
        calibration_scores: float64 (calibration recording,), scores of normals the model had not seen; NaN is left out.
        calibration_domains: the domain of each of them, None where it has none; None when there are none at all.
        threshold: score above which a recording is called abnormal; None or NaN when it is not supported.
        model_version: of the model.
        detector: its name.
        backbone: its representation.
        seed: its split.

    Returns:
        One row per recording, in their order, with the columns of the scores table, site, seed and `window_scores` as
        lists without NaN; `split` is the role, p_value and threshold are NaN and decision None where there is none.

    Raises:
        ValueError: the arrays are not as long as the recordings.
    """
    n_recordings = len(recordings)
    if not n_recordings == len(window_scores) == len(recording_scores) == len(drift):
        raise ValueError(
            f"{n_recordings} recordings, {len(window_scores)} rows of window scores, {len(recording_scores)} scores, "
            f"{len(drift)} drifts"
        )
    table = recordings.reset_index(drop=True)
    in_training = table["in_training"].to_numpy(dtype=bool)
    p_value = p_values(recording_scores, calibration_scores, calibration_domains)
    limit = np.nan if threshold is None else threshold
    decision = [
        None if seen or np.isnan(limit) or np.isnan(score) else _word(score > limit)
        for score, seen in zip(recording_scores, in_training, strict=True)
    ]
    return pd.DataFrame(
        {
            "recording_id": table["recording_id"],
            "file": [_base_name(row.member, row.source_uri) for row in table[["member", "source_uri"]].itertuples()],
            **{name: table[name] for name in ("machine_type", "machine_id", "site", "batch", "condition", "domain")},
            "split": table["role"],
            "in_training": in_training,
            "detector": detector,
            "backbone": backbone,
            "seed": seed,
            "model_version": model_version,
            "score": recording_scores,
            "threshold": limit,
            "p_value": np.where(in_training, np.nan, p_value),
            "decision": pd.Series(decision, dtype=object),
            "drift": drift,
            "window_scores": [scores[~np.isnan(scores)].tolist() for scores in window_scores],
            "label": table["label"],
            "recorded_at": table["recorded_at"],
            "clip_start_s": table["clip_start_s"],
        }
    )


def _word(is_abnormal: bool) -> str:  # noqa: FBT001  a two-valued fact, not a switch
    return "abnormal" if is_abnormal else "normal"


def _base_name(member: object, source_uri: object) -> str:
    in_archive = isinstance(member, str) and member
    return PurePosixPath(str(member if in_archive else source_uri)).name
