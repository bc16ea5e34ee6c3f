"""Synthetic input for the page: machines with known separations, and every special case the page must tell."""

import dataclasses
import importlib.metadata
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from humwatch.storage.reasons import EXPLANATIONS, Reason
from humwatch.tasks.evaluation.calibration_table import calibration_table
from humwatch.tasks.evaluation.comparisons_table import comparisons_table
from humwatch.tasks.evaluation.published import published_table
from humwatch.tasks.reports.clips import choose_clips, encode_clip
from humwatch.tasks.reports.evaluation.page import Clip, ReportInput
from humwatch.tasks.reports.svg.figures import spectrogram_png
from humwatch.tasks.settings import EvaluationSettings, FitSettings, IngestSettings, SpectrogramSettings

HOSTILE = "<script>alert(1)</script>"
HOSTILE_FILE = 'it\'s "quoted" & <b>bold</b>.wav'
MODELS = (("efficientnet_lite0", "gmm"), ("squeezenet1_1", "knn"))
CREATED_AT = datetime(2026, 11, 22, 2, 30, tzinfo=UTC)

# (site, type, id, normals, abnormals, separation of the scores, loudness AUC, supports a threshold)
SPECIAL = (
    ("plant-a", "fan", "id_00", 60, 40, 1.2, 0.61, True),
    ("plant-a", "fan", "id_02", 60, 40, 2.6, 0.55, True),
    ("plant-a", "pump", "id_00", 12, 9, 0.3, 0.93, False),
    ("plant-b", "pump", "id_04", 50, 0, 0.0, None, True),
    ("plant-b", "valve", "id_02", 40, 30, 0.9, 0.02, True),
    (None, HOSTILE, "id_06", 30, 20, 1.8, 0.5, True),
)


def sample_report(
    n_machines: int = 6, *, clips: int = 4, models=MODELS, domains: bool = True, seeds=(0,)
) -> ReportInput:
    """A report of the special machines, then as many ordinary fans as make `n_machines`."""
    ordinary = [
        ("plant-c", "fan", f"unit_{number:04d}", 8, 6, 1.0, 0.5, True) for number in range(n_machines - len(SPECIAL))
    ]
    rng = np.random.default_rng(0)
    auc, scores, notes, fleet = [], [], [], []
    for machine in [*SPECIAL, *ordinary][:n_machines]:
        fleet.append(_fleet_row(machine))
        for backbone, detector in models:
            for seed in seeds:
                model = {"backbone": backbone, "detector": detector, "seed": seed}
                rows = _score_rows(machine, model, rng)
                scores += rows
                auc += _auc_rows(machine, model, rows, domains=domains)
            notes += _notes(machine, backbone, detector)
    scores = pd.DataFrame(scores)
    auc = pd.DataFrame(auc)
    tests = scores.assign(role="test").drop_duplicates(["recording_id", "seed"])
    return ReportInput(
        title="Humwatch",
        report_id="2026-11-22T023000Z-1f2e3d",
        created_at=CREATED_AT,
        lake="s3://acoustics/lake",
        auc=auc,
        summary=_summary(auc),
        comparisons=comparisons_table(tests, scores, EvaluationSettings(), models),
        calibration=calibration_table(auc, 0.02, 0.95),
        published=published_table(auc),
        scores=scores,
        rejected=_rejected(),
        fleet=pd.DataFrame(fleet),
        counts={"listed": len(scores) + 3, "accepted": len(scores), "rejected": 3},
        degraded=False,
        max_rejected_fraction=0.05,
        notes=pd.DataFrame(
            notes, columns=["site", "machine_type", "machine_id", "condition", "backbone", "detector", "note"]
        ),
        settings={
            "ingest": IngestSettings().model_dump(),
            "spectrograms": SpectrogramSettings().model_dump(),
            "fit": FitSettings(false_alarm_rate=0.02).model_dump(),
            "evaluation": EvaluationSettings().model_dump(),
        },
        versions={name: importlib.metadata.version(name) for name in ("numpy", "scikit-learn", "jinja2")},
        clips=[_clip(row, number) for number, row in enumerate(choose_clips(scores, 1, clips).to_dict("records"))],
    )


def degraded(report: ReportInput) -> ReportInput:
    return dataclasses.replace(report, degraded=True, counts={"listed": 20, "accepted": 17, "rejected": 3})


def tone(seconds: float = 3.0, rate_hz: int = 16_000, hz: float = 440.0) -> np.ndarray:
    """A hum with harmonics and a little noise, peak below 0.1."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    hum = sum(np.sin(2 * np.pi * hz * k * t) / k for k in (1, 2, 3, 5))
    return (0.03 * hum + 0.002 * np.random.default_rng(1).standard_normal(t.size)).astype(np.float32)


def _identity(machine) -> dict:
    return {"site": machine[0], "machine_type": machine[1], "machine_id": machine[2], "condition": None}


def _fleet_row(machine) -> dict:
    rejected = 3 if machine[2] == "id_04" else 0
    return {
        **_identity(machine),
        "recordings": machine[3] * 2 + machine[4],
        "rejected": rejected,
        "n_train": machine[3],
    }


def _score_rows(machine, model, rng) -> list[dict]:
    _, machine_type, machine_id, n_normal, n_abnormal, separation, _, supported = machine
    rows = []
    for number in range(n_normal + n_abnormal):
        abnormal = number >= n_normal
        score = round(float(rng.standard_normal() + separation * abnormal), 6)
        file = f"{'abnormal' if abnormal else 'normal'}_{machine_id}_{number:08d}.wav"
        rows.append(
            {
                "recording_id": f"{hash_of(machine_type + machine_id)}{number:04d}",
                "file": HOSTILE_FILE if machine_type == HOSTILE and number == n_normal else file,
                **_identity(machine),
                "batch": "2026-11-21",
                "domain": "target" if number % 5 == 0 else "source",
                "split": "test",
                "in_training": False,
                **model,
                "model_version": "c0ffee",
                "score": score,
                "threshold": 2.054 if supported else None,
                "p_value": float(np.clip(np.exp(-(max(score, 0) ** 2)), 0.01, 1)),
                "decision": ("abnormal" if score > 2.054 else "normal") if supported else None,
                "label": "abnormal" if abnormal else "normal",
                "recorded_at": pd.Timestamp("2026-11-21T02:00:00Z"),
                "clip_start_s": None,
            }
        )
    return rows


def hash_of(text: str) -> str:
    return f"{sum(ord(letter) * 31**place for place, letter in enumerate(text)) % 16**8:08x}"


def _auc_rows(machine, model, scores, *, domains) -> list[dict]:
    rows = []
    for domain in ("all", "source", "target") if domains else ("all",):
        normal = [row for row in scores if row["label"] == "normal" and domain in ("all", row["domain"])]
        abnormal = [row for row in scores if row["label"] == "abnormal"]
        row = {**_identity(machine), "domain": domain, **model, "n_train": machine[3]}
        row |= {"n_normal": len(normal), "n_abnormal": len(abnormal), "rms_auc": machine[6], "threshold": None}
        row |= dict.fromkeys(
            ("auc", "auc_low", "auc_high", "pauc", "precision", "recall", "f1", "false_alarm_rate", "average_precision")
        )
        row["reason"] = None if abnormal else "no abnormal test recordings"
        if abnormal:
            values = [np.array([one["score"] for one in side]) for side in (normal, abnormal)]
            value = float((np.subtract.outer(values[1], values[0]) > 0).mean())
            row |= {"auc": value, "auc_low": max(0, value - 0.1), "auc_high": min(1, value + 0.08), "pauc": value**2}
            row["average_precision"] = value**1.5
        if machine[7]:
            alarms = [sum(one["decision"] == "abnormal" for one in side) for side in (normal, abnormal)]
            row |= {"threshold": 2.054, "false_alarm_rate": alarms[0] / len(normal)}
            if abnormal and sum(alarms):
                row |= {"precision": alarms[1] / sum(alarms), "recall": alarms[1] / len(abnormal)}
                row["f1"] = 2 * alarms[1] / (sum(alarms) + len(abnormal))
        rows.append(row)
    return rows


def _notes(machine, backbone, detector) -> list[dict]:
    notes = ["48 training windows: 48 components instead of 80"] if detector == "gmm" and machine[3] < 15 else []
    if not machine[7]:
        notes.append("threshold not supported: 12 calibration recordings support no rate below 0.077; asked for 0.02")
    return [{**_identity(machine), "backbone": backbone, "detector": detector, "note": note} for note in notes]


def _summary(auc: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for machine_type in ["all", *auc["machine_type"].unique()]:
        for domain in auc["domain"].unique():
            of_type = auc[(auc["domain"] == domain) & ((auc["machine_type"] == machine_type) | (machine_type == "all"))]
            for (backbone, detector), group in of_type.groupby(["backbone", "detector"], sort=False):
                defined = group.dropna(subset="auc")
                rows.append(
                    {
                        "machine_type": machine_type,
                        "condition": None,
                        "domain": domain,
                        "backbone": backbone,
                        "detector": detector,
                        "n_machines": len(defined),
                        "n_undefined": len(group) - len(defined),
                        "mean_auc": defined["auc"].mean(),
                        "hmean_auc": 1 / (1 / defined["auc"]).mean(),
                        "mean_pauc": defined["pauc"].mean(),
                        "hmean_pauc": 1 / (1 / defined["pauc"]).mean(),
                        "hmean_dcase": None,
                    }
                )
    return pd.DataFrame(rows)


def _rejected() -> pd.DataFrame:
    reasons = (Reason.CORRUPT, Reason.SILENT, Reason.CORRUPT)
    return pd.DataFrame(
        {
            "recording_id": f"bad{number}",
            "source_uri": "s3://acoustics/2026-11-21/pump.zip",
            "member": f"pump/id_04/<i>{number}</i>.wav",
            "machine_type": "pump",
            "machine_id": "id_04",
            "batch": "2026-11-21",
            "reason": str(reason),
            "explanation": EXPLANATIONS[reason],
            "detail": "CRC-32 is 1b2e, the directory says 77aa" if reason is Reason.CORRUPT else None,
        }
        for number, reason in enumerate(reasons)
    )


def _clip(row: dict, number: int) -> Clip:
    samples = tone(hz=220.0 * (number + 1))
    frames = 94
    bands = np.linspace(-70, -20, 64)[:, None] + 6 * np.sin(np.arange(frames) / 5)[None, :]
    logmel = (bands[::-1] + np.random.default_rng(number).normal(0, 4, (64, frames))).astype(np.float32)
    audio, mime = encode_clip(samples, 16_000, 10.0)
    names = {field.name for field in dataclasses.fields(Clip)} - {"spectrogram_png", "audio", "mime"}
    facts = {name: None if pd.isna(row[name]) else row[name] for name in names}
    png = spectrogram_png(logmel, 16_000, 512, 0.0, None)
    return Clip(**facts, spectrogram_png=png, audio=audio, mime=mime)
