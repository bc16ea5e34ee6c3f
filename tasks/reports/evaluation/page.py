"""The page of an evaluation: everything a run found out, in one HTML file without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from humwatch.storage.tables import MACHINE
from humwatch.tasks.frames import rows_of
from humwatch.tasks.reports import page_rows
from humwatch.tasks.reports.clips import choose_clips
from humwatch.tasks.reports.evaluation import evaluated
from humwatch.tasks.reports.html import render_page
from humwatch.tasks.settings import EvaluationSettings, FitSettings

_MAX_HEADLINES = 8
_MAX_LISTED = 300
_TOP_RECORDINGS = 100
_TOP_A_MACHINE = 10
_FILES = (
    "auc.csv", "summary.csv", "comparisons.csv", "calibration.csv", "published.csv", "scores.csv", "rejected.csv",
    "summary.json",
)  # fmt: skip


@dataclass(frozen=True)
class Clip:
    """One recording to look at and listen to; `audio` is None where its sound is not embedded."""

    recording_id: str
    site: str | None
    machine_type: str
    machine_id: str
    condition: str | None
    file: str
    label: str | None
    detector: str
    backbone: str
    score: float
    threshold: float | None
    p_value: float | None
    spectrogram_png: bytes
    audio: bytes | None
    mime: str


@dataclass(frozen=True)
class ReportInput:
    """What the page is made of.

    Attributes:
        title: Heading.
        report_id: Name of the report's folder in the lake.
        created_at: UTC.
        lake: Root URI.
        auc: auc.csv with threshold, precision, recall, f1, false_alarm_rate and site.
        summary: summary.csv: machine_type (`all` = every type), condition, domain, backbone, detector, n_machines,
            n_undefined, mean_auc, hmean_auc, mean_pauc, hmean_pauc, hmean_dcase.
        comparisons: comparisons.csv.
        calibration: calibration.csv.
        published: published.csv.
        scores: The scores table with site and seed; its first row names the model of the most abnormal recordings.
        rejected: recording_id, source_uri, member, machine_type, machine_id, batch, reason, explanation, detail.
        fleet: One row a machine and condition: site, machine_type, machine_id, condition, recordings, rejected,
            n_train.
        counts: listed, accepted, rejected.
        degraded: More than `max_rejected_fraction` was rejected.
        max_rejected_fraction: `ingest.max_rejected_fraction`, 0 to 1.
        notes: What models say of themselves: site, machine_type, machine_id, condition, backbone, detector, note.
        settings: Settings by section.
        versions: Versions by package.
        clips: Most abnormal recordings, in the order of the page.
        doubts: What may have been misread: code, message, advice.
        next_step: Why nothing was scored, in the same words; None where something was.
        nothing_arrived: That a night has no recordings, in the same words; None where it has.
    """

    title: str
    report_id: str
    created_at: datetime
    lake: str
    auc: pd.DataFrame
    summary: pd.DataFrame
    comparisons: pd.DataFrame
    calibration: pd.DataFrame
    published: pd.DataFrame
    scores: pd.DataFrame
    rejected: pd.DataFrame
    fleet: pd.DataFrame
    counts: Mapping[str, int]
    degraded: bool
    max_rejected_fraction: float
    notes: pd.DataFrame
    settings: Mapping[str, Mapping[str, object]]
    versions: Mapping[str, str]
    clips: Sequence[Clip]
    doubts: Sequence[Mapping[str, str]] = ()
    next_step: Mapping[str, str] | None = None
    nothing_arrived: Mapping[str, Any] | None = None


def render(report: ReportInput) -> str:
    """The page as HTML text; the same input gives the same text.

    Tables and charts of large fleets are capped, and say so: without clips the page stays below 2 MB.

    Raises:
        ValueError: A setting the page quotes (`fit`, `evaluation`) is out of range.
        KeyError: `auc` names a machine that `fleet` does not.
    """
    return render_page(
        "report.html.j2", ("base.css", "report.css"), ("tables.js",), report=report, files=_FILES, **_context(report)
    )


def _context(report: ReportInput) -> dict[str, Any]:
    evaluation = EvaluationSettings.model_validate(dict(report.settings.get("evaluation", {})))
    fit = FitSettings.model_validate(dict(report.settings.get("fit", {})))
    fleet = page_rows.fleet_groups(report.fleet, report.auc, report.scores)
    top = choose_clips(report.scores, _TOP_A_MACHINE, _TOP_RECORDINGS)
    published_machines, published = evaluated.published_rows(report.published)
    return {
        "n_machines": len(page_rows.keyed(report.fleet)[MACHINE[:3]].drop_duplicates()),
        "headlines": _capped(_headlines(report), _MAX_HEADLINES),
        "fleet": fleet,
        "seeds": report.auc["seed"].nunique(),
        "models": page_rows.models(report.auc),
        "max_curves": page_rows.MAX_CURVES,
        "rocs": page_rows.roc_charts(report.auc, report.scores, evaluation.max_fpr),
        "prs": evaluated.pr_charts(report.auc, report.scores),
        "compared": evaluated.comparisons_over_machines(report.comparisons),
        "compared_machines": evaluated.comparisons_of_machines(report.comparisons),
        "pools": evaluated.calibration_pools(report.calibration),
        "calibrated_machines": evaluated.calibration_of_machines(report.calibration),
        "calibration_chart": evaluated.calibration_chart(report.auc, report.scores),
        "published_machines": published_machines,
        "published": published,
        "distributions": page_rows.distribution_charts(fleet.shown, report.scores, report.notes),
        "clips": [_clip_row(clip) for clip in report.clips],
        "top": rows_of(top.sort_values("p_value", kind="stable", na_position="last")),
        "summary": rows_of(report.summary),
        "notes": _capped(report.notes.drop_duplicates(), _MAX_LISTED),
        "reasons": rows_of(report.rejected.groupby(["reason", "explanation"]).size().reset_index(name="n")),
        "rejected": _capped(report.rejected, _MAX_LISTED),
        "confidence": evaluation.confidence,
        "max_fpr": evaluation.max_fpr,
        "false_alarm_rate": fit.false_alarm_rate,
    }


def _headlines(report: ReportInput) -> pd.DataFrame:
    """The means over all machines of each model, with `n_too_few`: machines whose AUC is of too few recordings."""
    of_model = ["condition", "backbone", "detector"]
    few = report.auc[(report.auc["domain"] == "all") & report.auc["auc"].notna() & report.auc["reason"].notna()]
    few = few.drop_duplicates([*MACHINE, "backbone", "detector"])
    n_too_few = few.groupby(of_model, dropna=False).size().reset_index(name="n_too_few")
    means = report.summary[(report.summary["machine_type"] == "all") & (report.summary["domain"] == "all")]
    joined = means.merge(n_too_few.astype(dict.fromkeys(of_model, object)), on=of_model, how="left")
    return joined.assign(n_too_few=joined["n_too_few"].fillna(0).astype(int))


def _clip_row(clip: Clip) -> page_rows.Row:
    return {name: None if pd.isna(value) else value for name, value in vars(clip).items()}


def _capped(frame: pd.DataFrame, limit: int) -> page_rows.Capped:
    return page_rows.Capped(rows_of(frame.head(limit)), len(frame))
