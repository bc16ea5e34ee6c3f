"""calibration.csv: the false-alarm rate that was stated against the one observed on normal test recordings."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from scipy.special import betaincinv

from tasks.evaluation.auc_table import optional_text, to_frame
from tasks.evaluation.summary_table import ALL_TYPES

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
_POOLED = ["machine_type", "condition", "domain", "backbone", "detector", "seed"]


def calibration_table(auc: pd.DataFrame, stated_rate: float, confidence: float) -> pd.DataFrame:
    """Count the false alarms of every machine, then pool them per machine type and over all.

    The interval is that of Clopper & Pearson ("The use of confidence or fiducial limits illustrated in the case of the
    binomial", Biometrika 26, 1934). A threshold keeps its rate on average over calibration sets (see
    `tasks.detectors.calibration`): a single machine may lie off it, many pooled should not lie above.

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
    tested = tested.assign(
        n_machines=decided.astype(int),
        n_undefined=(~decided).astype(int),
        n_judged=tested["n_normal"].where(decided, 0),
        alarms=(tested["false_alarm_rate"] * tested["n_normal"]).round().where(decided, 0).astype(int),
    )
    rows = [
        _row(dict(zip(_FACTS, key, strict=True)), group, stated_rate, confidence)
        for key, group in tested.groupby(_FACTS, dropna=False, sort=False)
    ]
    return to_frame([*rows, *_pooled(tested, stated_rate, confidence)], COLUMNS)


def _pooled(tested: pd.DataFrame, stated_rate: float, confidence: float) -> Iterator[dict[str, object]]:
    for rows in (tested, tested.assign(machine_type=ALL_TYPES)):
        for key, group in rows.groupby(_POOLED, dropna=False, sort=False):
            names = dict(zip(_POOLED, key, strict=True))
            yield _row({**names, "machine_id": None, "site": None}, group, stated_rate, confidence)


def _row(names: dict[str, object], group: pd.DataFrame, stated_rate: float, confidence: float) -> dict[str, object]:
    alarms, n_normal = int(group["alarms"].sum()), int(group["n_judged"].sum())
    facts = {
        **{name: value if name == "seed" else optional_text(value) for name, value in names.items()},
        "n_machines": int(group["n_machines"].sum()),
        "n_undefined": int(group["n_undefined"].sum()),
        "n_normal": n_normal,
        "alarms": alarms,
        "stated_rate": stated_rate,
    }
    if not n_normal:
        undefined = dict.fromkeys(("observed_rate", "low", "high", "verdict"))
        return facts | undefined | {"reason": "no decisions: no threshold, or scores are missing"}
    tail = (1 - confidence) / 2
    low = float(betaincinv(alarms, n_normal - alarms + 1, tail)) if alarms else 0.0
    high = float(betaincinv(alarms + 1, n_normal - alarms, 1 - tail)) if alarms < n_normal else 1.0
    verdict = "more" if low > stated_rate else "fewer" if high < stated_rate else "as stated"
    return facts | {"observed_rate": alarms / n_normal, "low": low, "high": high, "verdict": verdict, "reason": None}
