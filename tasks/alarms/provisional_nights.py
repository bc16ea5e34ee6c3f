"""What nights of a machine's commissioning say for the time being, and which of them were learned all the same.

From the sixth night on a night is judged by the model of the first five (`humwatch.tasks.plan.provisional`): do the
nights until now, from some night on, lie above those before? It raises no alarm, and nothing of it is in the chart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from humwatch.storage.models import Machine
from humwatch.storage.records import Passport
from humwatch.storage.tables import MACHINE
from humwatch.tasks.alarms.facts import Passports
from humwatch.tasks.alarms.levels import MIN_REFERENCE_NIGHTS
from humwatch.tasks.alarms.night_scores import calibration_of
from humwatch.tasks.alarms.rates import machine_rates
from humwatch.tasks.alarms.shift import newest_shift
from humwatch.tasks.plan.actions import Actions
from humwatch.tasks.plan.catalog import machine_of
from humwatch.tasks.settings import AlarmSettings

Labels: TypeAlias = Mapping[tuple[str, Machine], str]
"""By night and machine."""

Said: TypeAlias = dict[Machine, dict[str, Any]]
"""Columns of `MACHINE_NIGHTS` by machine."""


def provisional_verdicts(
    nights: Mapping[str, pd.DataFrame],
    tonight: str,
    passports: Passports,
    labels: Labels,
    actions: Actions,
    settings: AlarmSettings,
) -> Said:
    """Return what a night says of the machines that provisional models judge: `state`, `reason`, `onset` and figures.

    Of a machine whose sensor is unhealthy it says that alone.

    Args:
        nights: rows of `night_facts` by provisional models of the nights of commissioning, later ones are left out.
        tonight: the night.
        passports: of these models.
        labels: a night labelled abnormal is left out, one labelled normal is one of those before a change.
        actions: nights before a repair are left out.
        settings: a normal machine is in attention on a share `attention_rate` of these nights.
    """
    rows = {
        (machine_of(row[name] for name in MACHINE), night): row
        for night, facts in nights.items()
        if night <= tonight
        for row in _records(facts[facts["model_version"].notna()])
    }
    said: Said = {
        machine: {"state": row["state"], "reason": f"provisional: {row['reason']}"}
        for (machine, night), row in rows.items()
        if night == tonight and row["state"] == "unhealthy_sensor"
    }
    machines = [
        machine for (machine, night), row in rows.items() if night == tonight and np.isfinite(row["night_score"])
    ]
    if not machines:
        return said
    scores, weights = _by_date(machines, rows, passports)
    dates = np.array(scores.columns)
    for machine in machines:
        labelled = {night: label for night in dates if (label := labels.get((night, machine)))}
        scores.loc[machine, [night for night, label in labelled.items() if label == "abnormal"]] = np.nan
        scores.loc[machine, dates < (actions.repaired(machine, tonight) or "")] = np.nan
    normal = {
        machine: max((night for night in dates if labels.get((night, machine)) == "normal"), default="")
        for machine in machines
    }
    found = newest_shift(
        scores.to_numpy(np.float64),
        weights.to_numpy(np.float64),
        np.stack([dates > normal[machine] for machine in machines]),
        np.array([machine.machine_type for machine in machines], dtype=object),
        MIN_REFERENCE_NIGHTS,
    )
    names = [machine.name for machine in machines]
    for index, (machine, rates) in enumerate(zip(machines, machine_rates(settings, names), strict=True)):
        if not np.isfinite(found.statistic[index]):
            continue
        strikes = bool(found.p_value[index] <= rates.attention)
        onset, before = str(dates[found.onset[index]]), int(found.nights_before[index])
        said[machine] = {
            "statistic": float(found.statistic[index]),
            "p_value": float(found.p_value[index]),
            "reference_nights": before,
            "state": "attention" if strikes else "learning",
            "onset": onset if strikes else None,
            "reason": _unlike(onset, tonight, before) if strikes else None,
        }
    return said


def unlike_nights(judged: Iterable[pd.DataFrame]) -> dict[Machine, list[str]]:
    """Return the nights that provisional attention was about, by machine and in order.

    Args:
        judged: rows of each night; columns MACHINE, `night`, `state`, `provisional` and `onset`.
    """
    found: dict[Machine, set[str]] = {}
    for rows in judged:
        called = rows[rows["provisional"].eq(True) & rows["state"].eq("attention")]
        for *values, night, onset in called[[*MACHINE, "night", "onset"]].itertuples(index=False, name=None):
            found.setdefault(machine_of(values), set()).update(_dates(str(onset), str(night)))
    return {machine: sorted(nights) for machine, nights in found.items()}


def learned_all_the_same(
    unlike: Mapping[Machine, list[str]],
    passports: Mapping[Machine, Passport],
    labels: Labels,
    repaired: Actions,
    tonight: str,
) -> Said:
    """Return what is to be said tonight of machines whose model was trained on nights that were unlike those before.

    A machine whose nights were so until the end is in attention: what it sounds like now was learned as normal. Nights
    that have a label by now, or came before a repair, are nobody's business any more.

    Args:
        unlike: such nights by machine.
        passports: of tonight's model by machine.
        labels: of nights.
        repaired: repairs.
        tonight: the night.
    """
    said: Said = {}
    for machine, passport in passports.items():
        trained, since = set(passport.calibration_batches), repaired.repaired(machine, tonight) or ""
        nights = [
            night
            for night in unlike.get(machine, ())
            if night in trained and night >= since and (night, machine) not in labels
        ]
        if nights:
            until_its_end = nights[-1] == max(trained)
            said[machine] = {
                "state": "attention" if until_its_end else None,
                "onset": nights[0] if until_its_end else None,
                "reason": f"learned as normal, and unlike the nights before: {_listed(nights)}; label them normal, or "
                "abnormal and retrain",
            }
    return said


def with_provisional(rows: pd.DataFrame, provisional: Said, learned: Said) -> pd.DataFrame:
    """Return the rows of a night (columns of `MACHINE_NIGHTS`) with what is said besides the charts.

    Provisional verdicts count for machines that are learning; what was learned is told of all, and changes the state of
    those alone that would be normal or learning.
    """
    told = {machine_of(row[name] for name in MACHINE): row | {"provisional": False} for row in _records(rows)}
    for machine, verdict in provisional.items():
        row = told[machine]
        if row["state"] == "learning":
            reason = verdict["reason"] or f"{row['reason']}; provisional: like the nights before"
            row |= {**verdict, "reason": reason, "provisional": True}
    for machine, verdict in learned.items():
        row = told[machine]
        row["reason"] = "; ".join(reason for reason in (verdict["reason"], row["reason"]) if isinstance(reason, str))
        if verdict["state"] and row["state"] in ("normal", "learning"):
            row |= {"state": verdict["state"], "onset": verdict["onset"]}
    return pd.DataFrame(
        list(told.values()), columns=[*rows.columns.drop("provisional", errors="ignore"), "provisional"]
    )


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]


def _by_date(
    machines: list[Machine], rows: Mapping[tuple[Machine, str], dict[str, Any]], passports: Passports
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return night scores and their weights, (machine, date) in order, of the first nights and those after them."""
    scores: dict[Machine, dict[str, float]] = {machine: {} for machine in machines}
    weights: dict[Machine, dict[str, float]] = {machine: {} for machine in machines}
    for (machine, night), row in rows.items():
        if machine not in scores or not np.isfinite(row["night_score"]):
            continue
        first_nights = calibration_of(passports[machine, str(row["model_version"])])
        scores[machine] |= dict(zip(first_nights.nights, first_nights.scores.tolist(), strict=True))
        scores[machine][night] = float(row["night_score"])
        weights[machine][night] = min(1.0, row["n_scored"] / first_nights.recordings)
    tables = (pd.DataFrame.from_dict(each, orient="index") for each in (scores, weights))
    by_date, of_date = (table.reindex(index=machines).sort_index(axis=1) for table in tables)
    return by_date, of_date.reindex(columns=by_date.columns).fillna(1.0)


def _unlike(onset: str, tonight: str, before: int) -> str:
    if onset == tonight:
        return (
            f"provisional: this night does not look like the {before} before it: label it abnormal, or it is learned "
            "as normal"
        )
    return (
        f"provisional: the nights from {onset} on do not look like the {before} before them: label them abnormal, or "
        "they are learned as normal"
    )


def _listed(nights: Iterable[str]) -> str:
    """Return nights as spans: `2026-01-08 to 2026-01-10 and 2026-01-12`."""
    spans: list[list[str]] = []
    for night in nights:
        if spans and _next(spans[-1][1]) == night:
            spans[-1][1] = night
        else:
            spans.append([night, night])
    return " and ".join(first if first == last else f"{first} to {last}" for first, last in spans)


def _dates(first: str, last: str) -> list[str]:
    days = (date.fromisoformat(last) - date.fromisoformat(first)).days
    return [(date.fromisoformat(first) + timedelta(days=day)).isoformat() for day in range(days + 1)]


def _next(night: str) -> str:
    return (date.fromisoformat(night) + timedelta(days=1)).isoformat()
