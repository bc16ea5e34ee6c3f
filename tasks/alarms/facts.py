"""What is known of each machine's night before it is judged: counts, night score, model, level, label."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from humwatch.storage.models import Machine
from humwatch.storage.records import Passport
from humwatch.storage.tables import MACHINE
from humwatch.tasks.alarms.night_scores import night_score
from humwatch.tasks.alarms.sensors import SENSOR, sensor_fault, told_dropouts, told_few, too_few, with_dropouts
from humwatch.tasks.detectors.calibration import p_values
from humwatch.tasks.plan.catalog import by_machine
from humwatch.tasks.settings import AlarmSettings, FitSettings

Passports: TypeAlias = Mapping[tuple[Machine, str], Passport]
"""By machine and version of its model."""

_NO_MODEL = "no model yet that was not trained on this night"
_UNSCORED = "none of its recordings has a score with a p-value"


def night_facts(
    night: str,
    recordings: pd.DataFrame,
    nights: pd.DataFrame,
    scores: pd.DataFrame,
    passports: Passports,
    settings: AlarmSettings,
    fit: FitSettings,
) -> pd.DataFrame:
    """Return one row for every machine heard up to the night: the columns of `MACHINE_NIGHTS` known now.

    `state` and `reason` are None unless the facts alone decide them.

    Args:
        night: its date, a batch.
        recordings: of the night and of those that trained the models, columns of
            `humwatch.tasks.plan.catalog.Catalog.recordings`.
        nights: of all machines, as `humwatch.tasks.plan.history.History.nights`: the first of each, and of those
            without a model as many as `commissioning` counts.
        scores: the night's, columns of `humwatch.storage.tables.SCORES`, of one variant.
        passports: of every model that made them.
        settings: when a level is a jump.
        fit: how long machines are commissioned.
    """
    known = by_machine(nights[nights["batch"] <= night])
    heard, scored = by_machine(recordings[recordings["batch"] == night]), by_machine(scores)
    measured = recordings.set_index("recording_id")[["batch", *SENSOR]]
    return pd.DataFrame(
        [
            {
                **dict(zip(MACHINE, (machine.site, machine.machine_type, machine.machine_id, machine.condition),
                           strict=True)),
                "night": night,
                **_facts(machine, heard.get(machine, recordings[:0]), scored.get(machine, scores[:0]), passports,
                         measured, settings, commissioning(night, until_now, fit)),
            }
            for machine, until_now in known.items()
        ]
    )  # fmt: skip


def _facts(
    machine: Machine,
    recordings: pd.DataFrame,
    scores: pd.DataFrame,
    passports: Passports,
    measured: pd.DataFrame,
    settings: AlarmSettings,
    without_model: str,
) -> dict[str, Any]:
    heard_first = scores[~scores["in_training"].astype(bool)]
    version = None if heard_first.empty else str(heard_first["model_version"].iloc[0])
    passport = None if version is None else passports[machine, version]
    training = measured.reindex(passport.training_recordings if passport else [])
    dropouts = with_dropouts(recordings, training)
    fit = heard_first["recording_id"].isin(recordings["recording_id"][~dropouts])
    judged = heard_first[heard_first["p_value"].notna() & fit]
    facts: dict[str, Any] = {
        "n_recordings": len(recordings),
        "n_rejected": int((recordings["status"] == "rejected").sum()),
        "n_scored": len(judged),
        "score_mean": float(judged["score"].mean()),
        "night_score": float("nan"),
        "drift": float(judged["drift"].median()),
        "model_version": version,
        "rms_dbfs_median": float(recordings["rms_dbfs"].median()),
        "clipped_fraction": float(recordings["clipped_fraction"].median()),
        "label": label_of(recordings["label"]),
        "state": None,
        "reason": None,
    }
    if recordings.empty:
        return facts | {"state": "silent"}
    if broken := sensor_fault(recordings, training, dropouts, settings.level_jump_db):
        return facts | {"state": "unhealthy_sensor", "reason": broken}
    if passport is None:
        return facts | {"state": "learning", "reason": without_model}
    if judged.empty:
        return facts | {"reason": _UNSCORED}
    training_nights = training["batch"].value_counts().to_numpy()
    if broken := too_few(len(judged), training_nights):
        return facts | {"state": "unhealthy_sensor", "reason": broken}
    told = "; ".join(filter(None, [told_dropouts(dropouts), told_few(len(judged), training_nights)]))
    # among all, as the reference nights are: the p-values of the table are cautious where there are domains
    calibration = np.array(passport.calibration_scores, dtype=np.float64)
    ranked = p_values(judged["score"].to_numpy(np.float64), calibration)
    return facts | {"night_score": night_score(ranked, len(calibration)), "reason": told or None}


def commissioning(night: str, nights: pd.DataFrame, fit: FitSettings) -> str:
    """Return how far a machine without a model is, and the night from which it can be judged.

    The same whether the night is judged before there is a model or after it was trained on the night.

    Args:
        night: its date.
        nights: of the machine until then, columns batch and usable.
        fit: how long it is commissioned.
    """
    if fit.training != "assumed_normal":
        return _NO_MODEL
    taken = nights[nights["usable"] > 0]
    tonight = date.fromisoformat(night)
    if fit.commissioning_from or fit.commissioning_until:
        last = fit.commissioning_until or tonight
        so_far = f"nights until {last.isoformat()} are learned as normal"
    else:
        n_nights = min(taken["batch"].nunique(), fit.commissioning_nights)
        last = tonight + timedelta(days=fit.commissioning_nights - n_nights)
        so_far = f"{n_nights} of {fit.commissioning_nights} nights"
    wanted, usable = fit.min_training_recordings, int(taken["usable"].sum())
    so_far = f"learning: {so_far}, {min(usable, wanted)} of {wanted} recordings"
    begins = max(last, tonight) + timedelta(days=1)
    return f"{so_far}; judged from {begins.isoformat()} on if every night has some"


def label_of(labels: pd.Series[str]) -> str | None:
    """Return the label of a night: `abnormal` if one of its recordings is, `normal` if all are."""
    if (labels == "abnormal").any():
        return "abnormal"
    return "normal" if len(labels) and (labels == "normal").all() else None
