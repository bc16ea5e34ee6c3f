"""Rows and charts of an evaluation: precision-recall curves, comparisons, calibration, the paper's table."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from humwatch.tasks.evaluation.summary_table import ALL_TYPES
from humwatch.tasks.frames import rows_of
from humwatch.tasks.reports.page_rows import MAX_CURVES, MODEL, Capped, Chart, Row, machine_curves, model_name, models
from humwatch.tasks.reports.svg.curves import PValueLine, calibration_svg, pr_svg
from humwatch.tasks.reports.svg.figures import interval_svg

_MAX_MACHINE_ROWS = 300
_VERDICTS = {"more": 0, "as stated": 1, "fewer": 2}


def pr_charts(auc: pd.DataFrame, scores: pd.DataFrame) -> Capped:
    """Precision-recall curves of the machines whose ROC curves are shown."""
    curves = machine_curves(auc, scores)
    charts = [
        Chart(
            curve.machine,
            pr_svg(f"pr{number}", curve.machine, curve.lines),
            [f"AP {row['average_precision']:.3f} {model_name(row)}" for row in curve.rows],
        )
        for number, curve in enumerate(curves.shown)
    ]
    return Capped(charts, curves.total)


def comparisons_over_machines(comparisons: pd.DataFrame) -> list[Row]:
    """The rows over machines, all types first; per machine type only where there are several."""
    return _with_pictures(_pools(comparisons))


def comparisons_of_machines(comparisons: pd.DataFrame) -> Capped:
    """The rows of single machines over all their recordings; above the cap the largest differences stay."""
    rows = comparisons[comparisons["machine_id"].notna() & (comparisons["domain"] == "all")]
    largest = rows["difference"].abs().sort_values(ascending=False, kind="stable").index[:_MAX_MACHINE_ROWS]
    return Capped(_with_pictures(rows[rows.index.isin(largest)]), len(rows))


def calibration_pools(calibration: pd.DataFrame) -> list[Row]:
    """The rows over machines, all types first; per machine type only where there are several."""
    return rows_of(_pools(calibration))


def calibration_of_machines(calibration: pd.DataFrame) -> Capped:
    """The rows of single machines over all their recordings, those with more false alarms than stated first."""
    rows = calibration[calibration["machine_id"].notna() & (calibration["domain"] == "all")]
    order = rows["verdict"].map(_VERDICTS).sort_values(kind="stable", na_position="last").index
    return Capped(rows_of(rows.loc[order[:_MAX_MACHINE_ROWS]]), len(rows))


def calibration_chart(auc: pd.DataFrame, scores: pd.DataFrame) -> Chart | None:
    """P-values of all normal test recordings, pooled over machines, at the lowest seed; None when there are none."""
    normal = scores[(scores["split"] == "test") & (scores["label"] == "normal") & scores["p_value"].notna()]
    normal = normal[normal["seed"] == normal["seed"].min()]
    p_values = {key: rows.to_numpy(dtype=float) for key, rows in normal.groupby(MODEL)["p_value"]}
    names = {model_name(dict(zip(MODEL, key, strict=True))): values for key, values in p_values.items()}
    lines = [
        PValueLine(style, name, names[name]) for style, name in enumerate(models(auc)[:MAX_CURVES]) if name in names
    ]
    if not lines:
        return None
    captions = [f"{line.p_values.size} normal test recordings, {line.name}" for line in lines]
    return Chart("Observed over stated rate", calibration_svg("calibration", lines), captions)


def published_rows(published: pd.DataFrame) -> tuple[Sequence[str], list[Row]]:
    """The paper's table as a matrix: the machines, and a row for each published model with ours below it.

    Returns:
        Names of the machines (columns), and rows, those with ours first: `model`, `cells` (published AUC of each
        machine), `mean`, and `ours`, a row for each model of ours: `model`, `cells` ((AUC, difference) or None) and
        `mean` (both means over the machines that have ours).
    """
    if published.empty:
        return [], []
    published = published.assign(machine=published["machine_type"] + " " + published["machine_id"])
    machines = list(published["machine"].unique())
    rows: list[Row] = []
    for (network, detector), cells in published.groupby(["network", "published_detector"], sort=False):
        figures = cells.drop_duplicates("machine").set_index("machine")["published_auc"].reindex(machines)
        name = network if detector == "-" else f"{network} · {detector}"
        ours = [
            {"model": model_name(dict(zip(MODEL, key, strict=True))), **_beside(group, machines)}
            for key, group in cells.dropna(subset=["auc"]).groupby(MODEL, sort=False)
        ]
        rows.append({"model": name, "cells": figures.tolist(), "mean": float(figures.mean()), "ours": ours})
    return machines, sorted(rows, key=lambda row: not row["ours"])


def _pools(table: pd.DataFrame) -> pd.DataFrame:
    rows = table[table["machine_id"].isna()]
    over_all = rows["machine_type"] == ALL_TYPES
    by_type = rows[~over_all]
    return pd.concat([rows[over_all], by_type]) if len(by_type["machine_type"].unique()) > 1 else rows[over_all]


def _beside(group: pd.DataFrame, machines: Sequence[str]) -> Row:
    by_machine = group.set_index("machine")[["auc", "difference"]]
    cells = [tuple(by_machine.loc[machine]) if machine in by_machine.index else None for machine in machines]
    return {"cells": cells, "mean": tuple(by_machine.mean())}


def _with_pictures(rows: pd.DataFrame) -> list[Row]:
    """Rows with the interval of the difference drawn on a scale from -0.5 to 0.5."""
    pictured = rows_of(rows)
    for row in pictured:
        ends = [row[name] for name in ("difference", "low", "high")]
        row["picture"] = "" if None in ends else interval_svg(*(min(1.0, max(0.0, 0.5 + end)) for end in ends))
    return pictured
