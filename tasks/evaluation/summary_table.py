"""summary.csv: means over machines of the AUC table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import hmean

from tasks.catalog import MACHINE
from tasks.evaluation.auc_table import optional_text, to_frame

ALL_TYPES = "all"
COLUMNS: dict[str, str] = {
    "machine_type": "object",
    "condition": "object",
    "domain": "object",
    "backbone": "object",
    "detector": "object",
    "n_machines": "int64",
    "n_undefined": "int64",
    "mean_auc": "float64",
    "hmean_auc": "float64",
    "mean_pauc": "float64",
    "hmean_pauc": "float64",
    "hmean_dcase": "float64",
}
_MODEL_OF_MACHINE = [*MACHINE, "backbone", "detector"]
_GROUP = ["condition", "domain", "backbone", "detector"]


def summary_table(auc: pd.DataFrame) -> pd.DataFrame:
    """Average the AUC table over machines, per machine type and over all of them (machine_type `all`, last).

    A machine's figure is its mean over the seeds; it is undefined when it is so for any seed. Undefined machines are
    in no mean: n_machines counts the others, n_undefined them. hmean_dcase, in the rows of domain `all`, is the
    harmonic mean over machines of (AUC source, AUC target, pAUC over both domains), the official score of DCASE Task 2
    since 2022, over the machines that have all three. A harmonic mean with a 0 in it is 0.

    Args:
        auc: columns as `auc_table.COLUMNS`.

    Returns:
        Columns and dtypes as `COLUMNS`; an undefined mean is NaN.
    """
    machines = _with_dcase(_mean_over_seeds(auc))
    rows = [
        *_rows(machines, ["machine_type", *_GROUP]),
        *_rows(machines.assign(machine_type=ALL_TYPES), ["machine_type", *_GROUP]),
    ]
    return to_frame(rows, COLUMNS)


def _mean_over_seeds(auc: pd.DataFrame) -> pd.DataFrame:
    seeds = auc.groupby([*_MODEL_OF_MACHINE, "domain"], dropna=False)[["auc", "pauc"]]
    complete = seeds.count().eq(seeds.size(), axis=0)
    return seeds.mean().where(complete).reset_index()


def _with_dcase(machines: pd.DataFrame) -> pd.DataFrame:
    """Add `dcase`: each machine's own harmonic mean of three, in its row of domain `all`; else NaN."""
    for domain in ("source", "target"):
        of_domain = machines.loc[machines["domain"] == domain, [*_MODEL_OF_MACHINE, "auc"]]
        machines = machines.merge(
            of_domain.rename(columns={"auc": domain}), on=_MODEL_OF_MACHINE, how="left", validate="m:1"
        )
    three = machines[["source", "target", "pauc"]].to_numpy(dtype=np.float64)
    # every machine brings as many values, so the harmonic mean of these is the one over all values
    return machines.assign(dcase=np.where(machines["domain"] == "all", hmean(three, axis=1), np.nan))


def _rows(machines: pd.DataFrame, by: list[str]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for key, group in machines.groupby(by, dropna=False):
        auc, pauc, dcase = (_defined(group[name]) for name in ("auc", "pauc", "dcase"))
        rows.append(
            dict(zip(by, map(optional_text, key), strict=True))
            | {
                "n_machines": auc.size,
                "n_undefined": len(group) - auc.size,
                "mean_auc": auc.mean() if auc.size else None,
                "hmean_auc": _hmean(auc),
                "mean_pauc": pauc.mean() if pauc.size else None,
                "hmean_pauc": _hmean(pauc),
                "hmean_dcase": _hmean(dcase),
            }
        )
    return rows


def _defined(column: pd.Series[float]) -> npt.NDArray[np.float64]:
    return np.asarray(column.dropna(), dtype=np.float64)


def _hmean(values: npt.NDArray[np.float64]) -> float | None:
    return float(hmean(values)) if values.size else None
