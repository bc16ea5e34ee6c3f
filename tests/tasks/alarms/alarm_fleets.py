"""Fleets of night scores for the charts: no recordings, no lake."""

from collections.abc import Sequence

import numpy as np

from humwatch.tasks.alarms.night_scores import Calibration
from humwatch.tasks.alarms.replay import Night, Verdict, replay
from humwatch.tasks.settings import AlarmSettings


def watch(
    scores: np.ndarray,
    commissioning: int,
    settings: AlarmSettings | None = None,
    normal: np.ndarray | None = None,
    recordings: np.ndarray | None = None,
    models: Sequence[Sequence[str]] | None = None,
    calibrations: dict[str, Calibration] | None = None,
    repaired: Sequence[Sequence[str | None]] | None = None,
    abnormal: np.ndarray | None = None,
) -> list[Verdict]:
    """Verdicts of night scores (machine, night); the first nights of each machine calibrate its model."""
    machines, nights = scores.shape
    dates = [f"2026-{1 + night // 28:02d}-{1 + night % 28:02d}" for night in range(nights)]
    after = scores[:, commissioning:]
    normal = np.zeros(after.shape, dtype=bool) if normal is None else normal
    recordings = np.full(after.shape, 4) if recordings is None else recordings
    own = {
        f"model {machine}": Calibration(tuple(dates[:commissioning]), scores[machine, :commissioning], 4.0)
        for machine in range(machines)
    }
    return list(
        replay(
            ["fan"] * machines,
            [f"fan/id_{machine:02d}" for machine in range(machines)],
            [
                Night(
                    date,
                    after[:, index],
                    recordings[:, index],
                    list(own) if models is None else models[index],
                    normal[:, index],
                    np.zeros(machines, dtype=bool) if abnormal is None else abnormal[:, index],
                    np.ones(machines, dtype=bool),
                    () if repaired is None else repaired[index],
                )
                for index, date in enumerate(dates[commissioning:])
            ],
            {**own, **(calibrations or {})},
            settings or AlarmSettings(),
        )
    )


def table(verdicts: list[Verdict], name: str) -> np.ndarray:
    """One column of all verdicts, (night, machine)."""
    return np.array([getattr(verdict, name) for verdict in verdicts])
