"""auc.csv: one row per machine, condition, domain, backbone, detector and seed, whether or not it could be scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from humwatch.storage.tables import MACHINE
from humwatch.tasks.evaluation import metrics
from humwatch.tasks.settings import EvaluationSettings

COLUMNS: dict[str, str] = {
    "machine_type": "object",
    "machine_id": "object",
    "condition": "object",
    "domain": "object",
    "backbone": "object",
    "detector": "object",
    "seed": "int64",
    "n_train": "int64",
    "n_normal": "int64",
    "n_abnormal": "int64",
    "auc": "float64",
    "auc_low": "float64",
    "auc_high": "float64",
    "pauc": "float64",
    "rms_auc": "float64",
    "reason": "object",
    "threshold": "float64",
    "precision": "float64",
    "recall": "float64",
    "f1": "float64",
    "false_alarm_rate": "float64",
    "site": "object",
    "average_precision": "float64",
    "auc_within_domain": "float64",
    "pauc_within_domain": "float64",
}
_ORDER = ["machine_type", "machine_id", "site", "condition", "domain", "backbone", "detector", "seed"]
_SCORED = ["score", "threshold", "decision"]
# The words of the scores table beside plain booleans, so that a stored table can be handed in as it is.
_CALLED_ABNORMAL = {True: True, False: False, "abnormal": True, "normal": False}


def auc_table(
    assignments: pd.DataFrame,
    scores: pd.DataFrame,
    settings: EvaluationSettings,
    *,
    backbones: Sequence[str],
    detectors: Sequence[str],
    seeds: Sequence[int],
) -> pd.DataFrame:
    """Compute the AUC table.

    Domain rows follow DCASE Task 2 (2022 and later): that domain's normals against all anomalies of the machine. The
    columns `*_within_domain` follow that of 2021: against the domain's own anomalies.

    Args:
        assignments: one row per accepted recording and seed: recording_id, seed, role (train|test|unused), site,
            machine_type, machine_id, condition, domain (source|target|null), label (normal|abnormal|null), rms_dbfs;
            path, where clips of one file are to count as one in intervals.
        scores: one row per recording, backbone, detector and seed: recording_id, backbone, detector, seed, score,
            threshold, decision (True or "abnormal" | False or "normal" | null).
        settings: bootstrap samples, confidence, max_fpr.
        backbones: with detectors and seeds, the grid: every machine and condition has a row for each combination.
        detectors: see backbones.
        seeds: see backbones.

    Returns:
        Columns and dtypes as `COLUMNS`, sorted. Missing text is None, an undefined figure NaN. When auc is undefined,
        `reason` says why, and when it is of too few recordings to say anything, that; rms_auc (louder = more abnormal,
        same recordings) needs no model. Unlabelled test recordings are in no count. `threshold` is NaN when there is
        none or the scores carry several.

    Raises:
        ValueError: a recording has two rows for one seed, or two scores for one backbone, detector and seed.
    """
    if assignments.empty:
        return to_frame([], COLUMNS)
    scored = {
        key: rows.set_index("recording_id")[_SCORED] for key, rows in scores.groupby(["backbone", "detector", "seed"])
    }
    nothing = scores.iloc[:0].set_index("recording_id")[_SCORED]
    assignments = assignments.reset_index(drop=True)
    machine_of = assignments.groupby(MACHINE, dropna=False).ngroup()
    first_rows = assignments.loc[~machine_of.duplicated(), MACHINE]
    machines: list[dict[str, object]] = [
        dict(zip(MACHINE, map(optional_text, row), strict=True)) for row in first_rows.itertuples(index=False)
    ]
    rows: list[dict[str, object]] = []
    for seed in seeds:
        dealt = assignments[assignments["seed"] == seed]
        members = _positions(machine_of[dealt.index], machine_of.unique())
        for backbone, detector in product(backbones, detectors):
            joined = dealt.join(scored.get((backbone, detector, seed), nothing), on="recording_id", validate="1:1")
            recordings = _Recordings.of(joined)
            for machine, positions in zip(machines, members, strict=True):
                facts = machine | {"backbone": backbone, "detector": detector, "seed": seed}
                rows += [facts | figures for figures in _domain_figures(recordings.take(positions), settings, seed)]
    table = to_frame(rows, COLUMNS)
    return table.sort_values(_ORDER, kind="stable", na_position="first", ignore_index=True)


def to_frame(rows: Sequence[Mapping[str, object]], columns: Mapping[str, str]) -> pd.DataFrame:
    """Rows as a table of exactly these columns and dtypes; None stays None in object columns, else becomes NaN."""
    return pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=kind) for name, kind in columns.items()})


def optional_text(value: Any) -> str | None:
    """A cell as text, every kind of null as None."""
    return None if pd.isna(value) else str(value)


@dataclass(frozen=True)
class _Recordings:
    """Recordings of one seed with their scores, one array a fact: rows of a fleet are cut out fast."""

    file: npt.NDArray[np.intp]  # a number, the same for clips of one file
    domain: npt.NDArray[np.object_]
    train: npt.NDArray[np.bool_]
    test: npt.NDArray[np.bool_]
    normal: npt.NDArray[np.bool_]  # test normals
    abnormal: npt.NDArray[np.bool_]  # test abnormals
    score: npt.NDArray[np.float64]
    threshold: npt.NDArray[np.float64]
    rms_dbfs: npt.NDArray[np.float64]
    called_abnormal: npt.NDArray[np.object_]  # True, False or None

    @classmethod
    def of(cls, joined: pd.DataFrame) -> _Recordings:
        test = np.asarray(joined["role"] == "test", dtype=bool)
        return cls(
            file=pd.factorize(joined["path"])[0] if "path" in joined else np.arange(len(joined)),
            domain=np.asarray(joined["domain"], dtype=object),
            train=np.asarray(joined["role"] == "train", dtype=bool),
            test=test,
            normal=test & np.asarray(joined["label"] == "normal", dtype=bool),
            abnormal=test & np.asarray(joined["label"] == "abnormal", dtype=bool),
            score=np.asarray(joined["score"], dtype=np.float64),
            threshold=np.asarray(joined["threshold"], dtype=np.float64),
            rms_dbfs=np.asarray(joined["rms_dbfs"], dtype=np.float64),
            called_abnormal=np.array([_CALLED_ABNORMAL.get(word) for word in joined["decision"]], dtype=object),
        )

    def take(self, positions: npt.NDArray[np.intp]) -> _Recordings:
        return _Recordings(*(getattr(self, field.name)[positions] for field in fields(self)))


def _positions(machine_of: pd.Series[int], machines: npt.NDArray[np.intp]) -> list[npt.NDArray[np.intp]]:
    """For each of the machines the positions of its recordings, possibly none."""
    positions = machine_of.groupby(machine_of).indices
    return [np.asarray(positions.get(machine, ()), dtype=np.intp) for machine in machines]


def _domain_figures(recordings: _Recordings, settings: EvaluationSettings, seed: int) -> Iterator[dict[str, object]]:
    """The rows of one machine, condition and seed: all recordings, then each domain there is."""
    yield {"domain": "all"} | _figures(recordings, np.ones_like(recordings.test), settings, seed)
    for domain in ("source", "target"):
        within = recordings.domain == domain
        if within.any():
            yield {"domain": domain} | _figures(recordings, within, settings, seed)


def _figures(
    recordings: _Recordings, within: npt.NDArray[np.bool_], settings: EvaluationSettings, seed: int
) -> dict[str, object]:
    """Figures of the normals of one domain (`within`) against all anomalies."""
    normal, abnormal = recordings.normal & within, recordings.abnormal
    pair = (recordings.score[normal], recordings.score[abnormal])
    pair_within = (pair[0], recordings.score[abnormal & within])
    files = (recordings.file[normal], recordings.file[abnormal])
    interval = metrics.auc_interval(*pair, settings.confidence, settings.bootstrap_samples, seed, files)
    low, high = interval or (None, None)
    rates = metrics.confusion(
        recordings.called_abnormal[normal].tolist(), recordings.called_abnormal[abnormal].tolist()
    )
    thresholds = np.unique(recordings.threshold[~np.isnan(recordings.threshold)])
    return {
        "n_train": int((recordings.train & within).sum()),
        "n_normal": int(normal.sum()),
        "n_abnormal": int(abnormal.sum()),
        "auc": metrics.auc(*pair),
        "auc_low": low,
        "auc_high": high,
        "pauc": metrics.pauc(*pair, settings.max_fpr),
        "rms_auc": metrics.auc(recordings.rms_dbfs[normal], recordings.rms_dbfs[abnormal]),
        "reason": _reason(recordings, *pair) or _too_few(*files, settings.confidence),
        "threshold": float(thresholds[0]) if thresholds.size == 1 else None,
        "precision": rates.precision,
        "recall": rates.recall,
        "f1": rates.f1,
        "false_alarm_rate": rates.false_alarm_rate,
        "average_precision": metrics.average_precision(*pair),
        "auc_within_domain": metrics.auc(*pair_within),
        "pauc_within_domain": metrics.pauc(*pair_within, settings.max_fpr),
    }


def _too_few(normal_files: npt.ArrayLike, abnormal_files: npt.ArrayLike, confidence: float) -> str | None:
    """Why even a perfect AUC of so few files would say nothing: guessing gets it too often; else None."""
    n_normal, n_abnormal = metrics.n_files(normal_files), metrics.n_files(abnormal_files)
    chance = metrics.chance_of_perfection(n_normal, n_abnormal)
    if chance <= (1 - confidence) / 2:
        return None
    return f"too few to say: guessing ranks {n_normal} and {n_abnormal} recordings perfectly {chance:.0%} of the time"


def _reason(recordings: _Recordings, normal: npt.NDArray[np.float64], abnormal: npt.NDArray[np.float64]) -> str | None:
    """Why the AUC of these scores is undefined, or None. A model of earlier recordings is a model, too."""
    if not recordings.train.any() and np.isnan(recordings.score).all():
        return "no training recordings"
    if not recordings.test.any():
        return "no test recordings"
    if not normal.size:
        return "no normal test recordings"
    if not abnormal.size:
        return "no abnormal test recordings"
    n_missing = int(np.isnan(normal).sum() + np.isnan(abnormal).sum())
    return f"scores missing: {n_missing} of {normal.size + abnormal.size} test recordings" if n_missing else None
