"""calibration.csv: the false-alarm rate that was stated against the one observed on normal test recordings."""

from __future__ import annotations

import numpy as np
import pandas as pd

from humwatch.tasks.evaluation.summary_table import ALL_TYPES

COLUMNS: dict[str, str] = {
    "machine_type": "object",
    "machine_id": "object",
    "site": "object",
    "condition": "object",
    "domain": "object",
    "backbone": "object",
    "detector": "object",
    "seed": "int64",
    "n_machines": "int64",
    "n_undefined": "int64",
    "n_normal": "int64",
    "alarms": "int64",
    "stated_rate": "float64",
    "observed_rate": "float64",
    "low": "float64",
    "high": "float64",
    "verdict": "object",
    "reason": "object",
}
_FACTS = ["machine_type", "machine_id", "site", "condition", "domain", "backbone", "detector", "seed"]
_COUNTS = ["n_machines", "n_undefined", "n_normal", "alarms"]
_POOLED = ["machine_type", "condition", "domain", "backbone", "detector", "seed"]


def calibration_table(auc: pd.DataFrame, stated_rate: float, confidence: float) -> pd.DataFrame:
    """Count the false alarms of every machine, then pool them per machine type and over all.

    The interval is that of Clopper & Pearson ("The use of confidence or fiducial limits illustrated in the case of the
    binomial", Biometrika 26, 1934). A threshold keeps its rate on average over calibration sets (see
    `humwatch.tasks.detectors.calibration`): a single machine may lie off it, many pooled should not lie above.

    Args:
        auc: columns as `auc_table.COLUMNS`.
        stated_rate: `fit.false_alarm_rate`.
        confidence: level of the intervals, between 0 and 1.

    Returns:
        Columns and dtypes as `COLUMNS`: one row for each row of `auc` that has normal test recordings, then the pooled
        ones, which have no machine_id, and machine_type `all` over all types. Machines without decisions are in no
        pool. `verdict` is `as stated` when the interval holds the stated rate, else `more` or `fewer`.
    """
    tested = auc[auc["n_normal"] > 0]
    decided = tested["false_alarm_rate"].notna()
    machines = tested[_FACTS].assign(
        n_machines=decided.astype(int),
        n_undefined=(~decided).astype(int),
        n_normal=tested["n_normal"].where(decided, 0),
        alarms=(tested["false_alarm_rate"] * tested["n_normal"]).round().where(decided, 0).astype(int),
    )
    counts = [machines, _pooled(machines), _pooled(machines.assign(machine_type=ALL_TYPES))]
    return _judged(pd.concat(counts, ignore_index=True), stated_rate, confidence)


def _pooled(machines: pd.DataFrame) -> pd.DataFrame:
    return machines.groupby(_POOLED, dropna=False, sort=False)[_COUNTS].sum().reset_index()


def _judged(counts: pd.DataFrame, stated_rate: float, confidence: float) -> pd.DataFrame:
    """Each row's rate, its interval and what both say of the stated one; NaN and None where nothing was decided."""
    from scipy.special import betaincinv  # noqa: PLC0415 - too slow for a look

    alarms, n_normal = (counts[name].to_numpy(dtype=np.float64) for name in ("alarms", "n_normal"))
    decided = n_normal > 0
    tail = (1 - confidence) / 2
    low = np.where(alarms > 0, betaincinv(alarms, n_normal - alarms + 1, tail), 0.0)
    high = np.where(alarms < n_normal, betaincinv(alarms + 1, n_normal - alarms, 1 - tail), 1.0)
    verdict = pd.Series("as stated", counts.index).mask(low > stated_rate, "more").mask(high < stated_rate, "fewer")
    judged = counts.assign(
        stated_rate=stated_rate,
        observed_rate=alarms / np.where(decided, n_normal, np.nan),
        low=np.where(decided, low, np.nan),
        high=np.where(decided, high, np.nan),
        verdict=verdict.where(decided),
        reason=pd.Series("no decisions: no threshold, or scores are missing", counts.index).mask(decided),
    )
    texts = [name for name, kind in COLUMNS.items() if kind == "object"]
    judged[texts] = judged[texts].astype(object).where(judged[texts].notna(), None)
    return judged[list(COLUMNS)].astype(COLUMNS)
