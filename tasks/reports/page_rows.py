"""Rows and charts of the page, from the tables of a run; a missing value is None here, in keys the empty string."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from humwatch.storage.tables import MACHINE
from humwatch.tasks.frames import rows_of
from humwatch.tasks.reports.svg.curves import RocLine, roc_svg
from humwatch.tasks.reports.svg.figures import FloatArray, distribution_svg

MODEL = ["backbone", "detector"]

MAX_GROUPS = 3_000  # machines x models in the fleet table: about 1.5 MB of HTML
MAX_CHARTS = 24
MAX_CURVES = 6  # line styles the style sheet tells apart
_DOMAINS = ("all", "source", "target")
_LANES = ("normal", "abnormal", "unlabelled")

Row = dict[str, Any]


@dataclass(frozen=True)
class Group:
    """One machine under one model: its AUC rows (domain `all` first), and how many judged recordings were alarms."""

    facts: Row
    rows: list[Row]
    alarms: int
    judged: int


@dataclass(frozen=True)
class Chart:
    """A picture with what has to be said beside it."""

    title: str
    svg: Markup
    captions: Sequence[str]


@dataclass(frozen=True)
class MachineCurves:
    """The models of one machine that have an AUC: their AUC rows, and their test scores in the same order."""

    machine: str
    rows: list[Row]
    lines: list[RocLine]


@dataclass(frozen=True)
class Capped:
    """What is shown, and how many there are in all."""

    shown: Sequence[Any]
    total: int


def machine_name(row: Mapping[str, Any]) -> str:
    """`fan id_00`, with the site and the condition where there are any."""
    name = f"{row['machine_type']} {row['machine_id']}"
    return ", ".join([name, *(str(row[part]) for part in ("site", "condition") if row[part])])


def spoken_file(row: Mapping[str, Any]) -> str:
    """`h1.wav`; of a clip `03:12:20 into h1.wav`."""
    start_s = row["clip_start_s"]
    if start_s is None:
        return str(row["file"])
    whole_s = int(start_s)
    rest = f"{start_s - whole_s:.3f}".lstrip("0").rstrip("0").rstrip(".")
    return f"{whole_s // 3600:02d}:{whole_s // 60 % 60:02d}:{whole_s % 60:02d}{rest} into {row['file']}"


def model_name(row: Mapping[str, Any]) -> str:
    """`resnet34 · gmm`: the backbone and the detector."""
    return f"{row['backbone']} · {row['detector']}"


def loudness_hint(auc: float | None, rms_auc: float | None) -> str:
    """Whether loudness alone, read in either direction, separates at least as well as the model."""
    if auc is None or rms_auc is None:
        return ""
    if rms_auc >= auc:
        return "louder"
    return "quieter" if 1 - rms_auc >= auc else ""


def fleet_groups(fleet: pd.DataFrame, auc: pd.DataFrame, scores: pd.DataFrame) -> Capped:
    """Machines x models in the order of `auc`, then the machines it lacks; above the cap the most alarms stay.

    Raises:
        KeyError: `auc` names a machine that `fleet` does not.
    """
    by = [*MACHINE, *MODEL, "seed"]
    facts = {_key(row, MACHINE): row for row in rows_of(keyed(fleet))}
    alarms = {_key(row, by): row for row in rows_of(_count_alarms(keyed(scores), by))}
    rows: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows_of(keyed(auc)):
        row["hint"] = loudness_hint(row["auc"], row["rms_auc"])
        rows.setdefault(_key(row, by), []).append(row)
    evaluated = {_key(group[0], MACHINE) for group in rows.values()}
    groups = [
        Group(
            facts=facts[_key(group[0], MACHINE)],
            rows=sorted(group, key=lambda row: _DOMAINS.index(row["domain"])),
            alarms=alarms.get(key, {}).get("alarms", 0),
            judged=alarms.get(key, {}).get("judged", 0),
        )
        for key, group in rows.items()
    ]
    groups += [Group(row, [], 0, 0) for key, row in facts.items() if key not in evaluated]
    kept = _keep_first(groups, [-group.alarms for group in groups], MAX_GROUPS)
    return Capped(kept, len(groups))


def roc_charts(auc: pd.DataFrame, scores: pd.DataFrame, max_fpr: float) -> Capped:
    """ROC curves of the machines with a defined AUC, lowest seed; above the cap the lowest AUCs stay."""
    curves = machine_curves(auc, scores)
    charts = [
        Chart(
            curve.machine,
            roc_svg(f"roc{number}", curve.machine, curve.lines, max_fpr),
            [f"AUC {row['auc']:.3f} {model_name(row)}" for row in curve.rows],
        )
        for number, curve in enumerate(curves.shown)
    ]
    return Capped(charts, curves.total)


def machine_curves(auc: pd.DataFrame, scores: pd.DataFrame) -> Capped:
    """Test scores of the machines with a defined AUC, lowest seed; above the cap the lowest AUCs stay."""
    defined = keyed(auc[(auc["domain"] == "all") & auc["auc"].notna()])
    defined = defined[defined["seed"] == defined["seed"].min()]
    styles = {model: style for style, model in enumerate(models(auc)[:MAX_CURVES])}
    tests = _tests(scores)
    machines: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows_of(defined):
        if model_name(row) in styles:
            machines.setdefault(_key(row, MACHINE), []).append(row)
    kept = _keep_first(
        list(machines.values()), [min(row["auc"] for row in rows) for rows in machines.values()], MAX_CHARTS
    )
    curves = []
    for rows in kept:
        lines = []
        for row in rows:
            name, by_label = model_name(row), tests[_key(row, [*MACHINE, *MODEL])]
            lines.append(RocLine(styles[name], name, by_label["normal"], by_label["abnormal"]))
        curves.append(MachineCurves(machine_name(rows[0]), rows, lines))
    return Capped(curves, len(machines))


def distribution_charts(groups: Sequence[Group], scores: pd.DataFrame, notes: pd.DataFrame) -> Capped:
    """Score histograms of machines x models with test scores, lowest seed; above the cap the most alarms stay."""
    tests, told = _tests(scores), _told(notes)
    lowest = min((group.rows[0]["seed"] for group in groups if group.rows), default=None)
    drawn = [
        group
        for group in groups
        if group.rows and group.rows[0]["seed"] == lowest and _key(group.rows[0], [*MACHINE, *MODEL]) in tests
    ]
    charts = []
    for number, group in enumerate(_keep_first(drawn, [-group.alarms for group in drawn], MAX_CHARTS)):
        row = group.rows[0]
        key = _key(row, [*MACHINE, *MODEL])
        lanes = [(label, tests[key][label]) for label in _LANES if tests[key][label].size]
        captions = [model_name(row)]
        if row["threshold"] is None:
            captions += ["No threshold.", *told.get(key, [])]
        machine = machine_name(row)
        charts.append(Chart(machine, distribution_svg(f"dist{number}", machine, lanes, row["threshold"]), captions))
    return Capped(charts, len(drawn))


def models(auc: pd.DataFrame) -> list[str]:
    """Names of the models, in order of appearance."""
    return [model_name(row) for row in rows_of(auc[MODEL].drop_duplicates())]


def keyed(frame: pd.DataFrame) -> pd.DataFrame:
    """The same rows with missing sites and conditions as empty strings, so that equal keys compare equal."""
    parts = frame[["site", "condition"]]
    return frame.assign(**parts.astype(object).where(parts.notna(), ""))


def _key(row: Mapping[str, Any], columns: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row[column] for column in columns)


def _keep_first(items: Sequence[Any], ranks: Sequence[float], limit: int) -> list[Any]:
    """The `limit` items of lowest rank, in their own order."""
    chosen = np.argsort(np.asarray(ranks, dtype=np.float64), kind="stable")[:limit]
    return [items[index] for index in sorted(chosen)]


def _count_alarms(scores: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    judged = scores[scores["decision"].notna()]
    marked = judged.assign(alarms=judged["decision"] == "abnormal", judged=True)
    return marked.groupby(by, sort=False)[["alarms", "judged"]].sum().reset_index()


def _tests(scores: pd.DataFrame) -> dict[tuple[Any, ...], dict[str, FloatArray]]:
    """Test scores at the lowest seed by machine and model, then by label."""
    rows = keyed(scores[(scores["split"] == "test") & scores["score"].notna()])
    rows = rows[rows["seed"] == rows["seed"].min()]
    values = rows["score"].to_numpy(np.float64)
    labels = rows["label"].astype(object).where(rows["label"].notna(), "unlabelled").to_numpy()
    return {
        key: {label: values[index][labels[index] == label] for label in _LANES}
        for key, index in rows.groupby([*MACHINE, *MODEL], sort=False).indices.items()
    }


def _told(notes: pd.DataFrame) -> dict[tuple[Any, ...], list[str]]:
    told: dict[tuple[Any, ...], list[str]] = {}
    for row in rows_of(keyed(notes).drop_duplicates()):
        told.setdefault(_key(row, [*MACHINE, *MODEL]), []).append(row["note"])
    return told
