"""A made-up fleet for the pages of a night: machines in every state, with names that try to be markup."""

import functools
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
from report_samples import HOSTILE, HOSTILE_FILE, tone

from humwatch.storage.models import Machine
from humwatch.storage.reasons import EXPLANATIONS, Reason
from humwatch.storage.tables import MACHINE_NIGHTS
from humwatch.tasks.alarms.levels import Rates
from humwatch.tasks.plan.actions import ACTION_COLUMNS
from humwatch.tasks.reports.clips import encode_clip
from humwatch.tasks.reports.night.fleet_view import MachineView, fleet_of
from humwatch.tasks.reports.night.site import Site, TopRecording
from humwatch.tasks.settings import SpectrogramSettings

MODEL = ("squeezenet1_1", "gmm", 0)
TONIGHT = "2026-11-21"
LEVEL_ALARM, LEVEL_ATTENTION = 9.2, 5.6
SITES = ("plant-a", "plant-b", "plant-c")
TYPES = ("fan", "pump", "valve", "slider")
# What machines go through in turn; the others are normal.
FATES = (
    "new_alarm",
    "standing_alarm",
    "attention",
    "cleared",
    "newly_silent",
    "silent",
    "unhealthy",
    "learning",
    "back",
)


def machines(number: int) -> list[Machine]:
    """`number` machines, the first of which is called like markup."""
    ordinary = [Machine(TYPES[i % 4], f"id_{i:03d}", SITES[i % 3]) for i in range(1, number)]
    return [Machine(HOSTILE, HOSTILE, 'pl"ant'), *ordinary]


def fate_of(index: int, number: int) -> str:
    if index < len(FATES):
        return FATES[index]
    return ("attention", "learning", "silent")[index % 3] if index > 0.97 * number else "normal"


def nights_table(number: int, n_nights: int = 45) -> pd.DataFrame:
    """MACHINE_NIGHTS of a fleet: evidence walks, faults drift upwards."""
    rng = np.random.default_rng(7)
    last = date.fromisoformat(TONIGHT)
    nights = [(last - timedelta(days=n_nights - 1 - day)).isoformat() for day in range(n_nights)]
    rows = []
    for index, machine in enumerate(machines(number)):
        rows += _machine_rows(machine, fate_of(index, number), nights, rng)
    return pd.DataFrame(rows, columns=MACHINE_NIGHTS.names).assign(**dict.fromkeys(ACTION_COLUMNS))


def _machine_rows(machine: Machine, fate: str, nights: Sequence[str], rng) -> list[dict]:
    last = len(nights) - 1
    onset = {"new_alarm": 6, "standing_alarm": 17, "attention": 4, "cleared": 20}.get(fate)
    begins = len(nights) - onset if onset else len(nights)
    ends = len(nights) - 6 if fate == "cleared" else len(nights)
    evidence, since, level, rows = 0.0, None, float(rng.uniform(-38, -22)), []
    drift = rng.uniform(0.6, 1.0) + np.cumsum(rng.normal(0, 0.03, len(nights)))
    for at, night in enumerate(nights):
        silent = (fate == "newly_silent" and at == last) or (fate == "silent" and at > last - 5)
        silent |= fate == "back" and at == last - 1
        unhealthy = fate == "unhealthy" and at > last - 2
        without = fate == "learning" or at < 10
        statistic = None
        before = since
        if not (silent or unhealthy or without):
            statistic = float(rng.normal(2.1 if begins <= at < ends else -0.1, 0.8))
            statistic = 3.4 if fate == "new_alarm" and at == last else statistic
            evidence, since = _walk(fate, at, last, ends, max(0.0, evidence + statistic - 0.5), since, night)
        state = "normal"
        if since or evidence >= LEVEL_ATTENTION:
            state = "alarm" if since else "attention"
        if without or unhealthy or silent:
            state = "silent" if silent else "unhealthy_sensor" if unhealthy else "learning"
        heard, judged = not silent, statistic is not None
        reason = "22 of 24 recordings were rejected: dead_channel" if unhealthy else None
        row = {
            "site": machine.site, "machine_type": machine.machine_type, "machine_id": machine.machine_id,
            "backbone": MODEL[0], "detector": MODEL[1], "seed": MODEL[2], "night": night,
            "n_recordings": 24 * heard, "n_rejected": (22 if unhealthy else int(rng.random() < 0.1)) * heard,
            "n_scored": 24 * judged, "reference_nights": 0 if without else at, "state": state,
            "new_alarm": since is not None and before is None, "alarm_since": since,
            "onset": nights[begins] if begins <= last and state in ("alarm", "attention") else None,
            "retrained": at == 26 and not without,
            "reason": "no model yet: its commissioning window is not over" if state == "learning" else reason,
        }  # fmt: skip
        if not without:
            row |= {"evidence": evidence, "model_version": "9f31c07b22aa" if at > 25 else "03be77d1405c"}
        if heard:
            row |= {"clipped_fraction": 0.0 if rng.random() < 0.8 else 0.002, "drift": None if without else drift[at]}
            row["rms_dbfs_median"] = level - 30 * unhealthy + float(rng.normal(0, 0.4))
        if judged:
            row |= {"score_mean": 41 + 1.7 * statistic + (6 if at > 25 else 0), "statistic": statistic}
            row |= {"p_value": float(np.clip(np.exp(-(max(statistic, 0.0) ** 1.6)), 1 / 4201, 1))}
            row |= {"level_attention": LEVEL_ATTENTION, "level_alarm": LEVEL_ALARM, "nights_to_alarm": 4.0}
            row |= {"false_alarm_rate": 0.001, "rate_low": 0.0003, "rate_high": 0.0021}
        rows.append(row)
    return rows


def _walk(fate, at, last, ends, evidence, since, night):
    """Tonight's evidence and alarm, bent to what the machine's fate says."""
    if fate == "new_alarm":
        return (LEVEL_ALARM, night) if at == last else (min(evidence, 8.8), None)
    if fate == "attention":
        return min(max(evidence, 5.9 if at == last else 0.0), 8.9), None
    if fate == "cleared" and at >= ends:
        return max(0.0, 6.4 - 2.2 * (at - ends)), since if at < last else None
    if fate not in ("standing_alarm", "cleared"):
        return min(evidence, 5.0), None
    return min(evidence, LEVEL_ALARM), since or (night if evidence >= LEVEL_ALARM else None)


def scores_of(machine: Machine, count: int = 24) -> list[dict]:
    rng = np.random.default_rng(len(machine.label))
    scores = np.sort(rng.normal(52, 4, count))[::-1]
    return [
        {
            "recording_id": f"r{number:02d}", "file": HOSTILE_FILE if number == 0 else f"20261121_{number:02d}0000.wav",
            "site": machine.site, "machine_type": machine.machine_type, "machine_id": machine.machine_id,
            "condition": None, "backbone": MODEL[0], "detector": MODEL[1], "seed": 0, "score": float(score),
            "threshold": 57.25, "p_value": 1 / 401 if score > 57.25 else 0.04 + 0.03 * number,
            "decision": "abnormal" if score > 57.25 else "normal", "label": None,
            "recorded_at": pd.Timestamp("2026-11-21T02:00:00Z") + pd.Timedelta(minutes=37 * number),
            "clip_start_s": None,
        }
        for number, score in enumerate(scores)
    ]  # fmt: skip


def listen(view: MachineView) -> list[TopRecording]:
    """Three recordings of an unusual machine: ten seconds of hum with a squeal that drove the score."""
    if view.state not in ("alarm", "attention"):
        return []
    found = []
    for number, row in enumerate(scores_of(view.machine)[:3]):
        logmel, relevance = _squeal(number)
        found.append(TopRecording(row, logmel, relevance if number == 0 else None, *_clip(number)))
    return found


@functools.cache
def _clip(number: int) -> tuple[bytes, str]:
    return encode_clip(tone(10.0, hz=220.0 * (number + 1)), 16_000, 10.0)


@functools.cache
def _squeal(number: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    logmel = np.linspace(-20, -68, 64)[:, None] + rng.normal(0, 3, (64, 313)) + 4 * np.sin(np.arange(313) / 9)
    logmel[[5, 11, 17]] += 14
    bump = np.exp(-(((np.arange(64) - 44) / 2.5) ** 2))[:, None] * np.exp(
        -(((np.arange(313) - 90 - 60 * number) / 38) ** 2)
    )
    return (logmel + 34 * bump).astype(np.float32), (bump - 0.05).astype(np.float32)


def rejected_table() -> pd.DataFrame:
    reasons = (Reason.DEAD_CHANNEL, Reason.CORRUPT, Reason.DEAD_CHANNEL)
    return pd.DataFrame(
        {
            "recording_id": f"bad{number}",
            "source_uri": "s3://acoustics/2026-11-21/pump.zip",
            "member": f"{number}.wav",
            "machine_type": "pump",
            "machine_id": "id_006",
            "batch": TONIGHT,
            "reason": str(reason),
            "explanation": EXPLANATIONS[reason],
            "detail": None,
        }
        for number, reason in enumerate(reasons)
    )


def sample_site(number: int = 30, n_nights: int = 45) -> Site:
    """A night of `number` machines."""
    fleet = fleet_of(nights_table(number, n_nights), TONIGHT, MODEL)
    rows = [view.tonight for view in fleet.machines]
    listed, rejected = (sum(row[name] for row in rows) for name in ("n_recordings", "n_rejected"))
    return Site(
        title="Humwatch",
        report_id=f"night-{TONIGHT}-1f2e3d4c5b6a",
        created_at=datetime(2026, 11, 22, 2, 30, tzinfo=UTC),
        lake="s3://acoustics/lake",
        fleet=fleet,
        counts={"listed": listed, "accepted": listed - rejected, "rejected": rejected},
        degraded=False,
        max_rejected_fraction=0.05,
        rates=Rates(0.001, 0.01),
        scores={view.machine: scores_of(view.machine) for view in fleet.machines if view.tonight["n_scored"]},
        notes={fleet.machines[0].machine: ["48 training windows: 48 components instead of 80"]},
        rejected=rejected_table(),
        files=("machines.csv", "alarms.csv", "scores.csv", "rejected.csv", "summary.json"),
        settings={"spectrograms": SpectrogramSettings().model_dump()},
        versions={"humwatch": "0.1.0"},
        spectrogram=SpectrogramSettings(),
        listen=listen,
    )
