"""summary.csv: means over machines of the AUC table."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
import pandas as pd

from humwatch.storage.tables import MACHINE
from humwatch.tasks.evaluation.auc_table import optional_text, to_frame

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
    "hmean_dcase_2021": "float64",
}
_MODEL_OF_MACHINE = [*MACHINE, "backbone", "detector"]
_GROUP = ["condition", "domain", "backbone", "detector"]
_FIGURES = ["auc", "pauc", "auc_within_domain", "pauc_within_domain"]
# What the challenge's official scores are made of: figures of auc.csv by the domain of their row.
_OFFICIAL = {
    "hmean_dcase": (("source", "auc"), ("target", "auc"), ("all", "pauc")),
    "hmean_dcase_2021": tuple(product(("source", "target"), ("auc_within_domain", "pauc_within_domain"))),
}


def summary_table(auc: pd.DataFrame) -> pd.DataFrame:
    """Average the AUC table over machines, per machine type and over all of them (machine_type `all`, last).

    A machine's figure is its mean over the seeds; it is undefined when it is so for any seed. Undefined machines are
    in no mean: n_machines counts the others, n_undefined them. hmean_dcase, in the rows of domain `all`, is the
    harmonic mean over machines of (AUC source, AUC target, pAUC over both domains), the official score of DCASE Task 2
    since 2022, over the machines that have all three; hmean_dcase_2021 that of each domain's AUC and pAUC within the
    domain, as in 2021, over those that have all four. A harmonic mean with a 0 in it is 0.

    Args:
        auc: columns as `auc_table.COLUMNS`.

    Returns:
        Columns and dtypes as `COLUMNS`; an undefined mean is NaN.
    """
    machines = _with_official(_mean_over_seeds(auc))
    rows = [
        *_rows(machines, ["machine_type", *_GROUP]),
        *_rows(machines.assign(machine_type=ALL_TYPES), ["machine_type", *_GROUP]),
    ]
    return to_frame(rows, COLUMNS)


def _mean_over_seeds(auc: pd.DataFrame) -> pd.DataFrame:
    seeds = auc.groupby([*_MODEL_OF_MACHINE, "domain"], dropna=False)[_FIGURES]
    complete = seeds.count().eq(seeds.size(), axis=0)
    return seeds.mean().where(complete).reset_index()


def _with_official(machines: pd.DataFrame) -> pd.DataFrame:
    """Add each machine's own official scores, in its row of domain `all`; else NaN."""
    from scipy.stats import hmean  # noqa: PLC0415 - too slow for a look

    for name, parts in _OFFICIAL.items():
        figures = []
        for domain, figure in parts:
            of_domain = machines.loc[machines["domain"] == domain, [*_MODEL_OF_MACHINE, figure]]
            joined = machines[_MODEL_OF_MACHINE].merge(of_domain, on=_MODEL_OF_MACHINE, how="left", validate="m:1")
            figures.append(joined[figure].to_numpy(dtype=np.float64))
        # every machine brings as many values, so the harmonic mean of these is the one over all values
        own = hmean(np.stack(figures, axis=1), axis=1)
        machines = machines.assign(**{name: np.where(machines["domain"] == "all", own, np.nan)})
    return machines


def _rows(machines: pd.DataFrame, by: list[str]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for key, group in machines.groupby(by, dropna=False):
        auc, pauc = (_defined(group[name]) for name in ("auc", "pauc"))
        rows.append(
            dict(zip(by, map(optional_text, key), strict=True))
            | {
                "n_machines": auc.size,
                "n_undefined": len(group) - auc.size,
                "mean_auc": auc.mean() if auc.size else None,
                "hmean_auc": _hmean(auc),
                "mean_pauc": pauc.mean() if pauc.size else None,
                "hmean_pauc": _hmean(pauc),
                **{name: _hmean(_defined(group[name])) for name in _OFFICIAL},
            }
        )
    return rows


def _defined(column: pd.Series[float]) -> npt.NDArray[np.float64]:
    return np.asarray(column.dropna(), dtype=np.float64)


def _hmean(values: npt.NDArray[np.float64]) -> float | None:
    from scipy.stats import hmean  # noqa: PLC0415 - as above

    return float(hmean(values)) if values.size else None
