"""models.csv of a benchmark: one row a model and condition, means over machines beside those of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from humwatch.tasks.evaluation.auc_table import to_frame
from humwatch.tasks.evaluation.published import published_table
from humwatch.tasks.evaluation.summary_table import ALL_TYPES, summary_table

COLUMNS: dict[str, str] = {
    "preset": "object",
    "backbone": "object",
    "detector": "object",
    "condition": "object",
    "n_machines": "int64",
    "mean_auc": "float64",
    "mean_auc_source": "float64",
    "mean_auc_target": "float64",
    "mean_pauc": "float64",
    "hmean_dcase": "float64",
    "hmean_dcase_2021": "float64",
    "published_auc": "float64",
    "difference": "float64",
    "reason": "object",
}


@dataclass(frozen=True)
class Column:
    """Models of a benchmark that ran together; without `auc` (`auc_table.COLUMNS`) they could not, for `reason`."""

    preset: str
    backbones: tuple[str, ...]
    detectors: tuple[str, ...]
    auc: pd.DataFrame | None = None
    reason: str | None = None


def models_table(columns: Sequence[Column]) -> pd.DataFrame:
    """Average every model over machines.

    Returns:
        Columns and dtypes as `COLUMNS`: best mean first, models that could not run last, with their reason.
        `published_auc` is the paper's mean over the same machines, where it has the model and the machines are its own.
    """
    rows: list[dict[str, object]] = []
    for column in columns:
        if column.auc is None:
            for backbone in column.backbones:
                for detector in column.detectors:
                    known = {"preset": column.preset, "backbone": backbone, "detector": detector, "n_machines": 0}
                    rows.append({**dict.fromkeys(COLUMNS), **known, "reason": column.reason})
            continue
        summary = summary_table(column.auc)
        summary = summary[summary["machine_type"] == ALL_TYPES]
        published = published_table(column.auc if column.preset == "paper" else column.auc[:0]).dropna(subset=["auc"])
        theirs = published.groupby(["backbone", "detector"])["published_auc"].mean()
        for row in summary[summary["domain"] == "all"].to_dict("records"):
            same = summary[(summary["backbone"] == row["backbone"]) & (summary["detector"] == row["detector"])]
            same = same[same["condition"].isna() if row["condition"] is None else same["condition"] == row["condition"]]
            domains = same.set_index("domain")["mean_auc"]
            paper = theirs.get((row["backbone"], row["detector"])) if row["condition"] == "-6_dB" else None
            rows.append(
                {
                    **{name: row.get(str(name)) for name in COLUMNS},
                    "preset": column.preset,
                    "mean_auc_source": domains.get("source"),
                    "mean_auc_target": domains.get("target"),
                    "published_auc": paper,
                    "difference": None if paper is None else row["mean_auc"] - paper,
                }
            )
    table = to_frame(rows, COLUMNS)
    return table.sort_values(["condition", "mean_auc"], ascending=[True, False], ignore_index=True)
