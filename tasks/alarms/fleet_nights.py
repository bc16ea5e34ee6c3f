"""From facts of many nights to charts, and from what the charts say to rows of `MACHINE_NIGHTS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from humwatch.storage.models import Machine
from humwatch.storage.tables import MACHINE
from humwatch.tasks.alarms.replay import Night, Verdict
from humwatch.tasks.plan.catalog import machine_of


class FleetNights:
    """The facts of a fleet's nights as arrays of machines.

    Attributes:
        facts: rows of `night_facts` of all nights, `model_version` filled in on unscored nights.
        machines: in the order of the arrays.
        nights: dates, in their order.
    """

    def __init__(
        self,
        facts: pd.DataFrame,
        labels: Mapping[tuple[str, Machine], str],
        repaired: Callable[[Machine, str], str | None],
    ) -> None:
        """Take facts, the labels that nights have now, and what gives a machine's last repair by a night."""
        self.facts = facts.sort_values("night", kind="stable", ignore_index=True)
        groups = self.facts.groupby(MACHINE, dropna=False, sort=False)
        self._code = groups.ngroup().to_numpy()
        self.facts["model_version"] = groups["model_version"].ffill()
        before = self.facts.groupby(MACHINE, dropna=False, sort=False)["model_version"].shift()
        version = self.facts["model_version"]
        self.facts["retrained"] = before.notna() & version.notna() & (before != version)
        first = self.facts[MACHINE].drop_duplicates()
        self.machines = [machine_of(values) for values in first.itertuples(index=False, name=None)]
        self.nights = list(dict.fromkeys(self.facts["night"]))
        self._labels, self._repaired = labels, repaired

    def models(self) -> set[tuple[Machine, str]]:
        """Return machine and version of every model whose night scores count."""
        scored = self.facts["night_score"].notna()
        codes, versions = self._code[scored], self.facts["model_version"][scored]
        return {(self.machines[code], str(version)) for code, version in zip(codes, versions, strict=True)}

    def as_nights(self) -> list[Night]:
        """Return the nights as charts take them; machines without a night score have no model on that night."""
        return [self._night(str(night), rows) for night, rows in self.facts.groupby("night", sort=True)]

    def rows(self, night: str, verdict: Verdict) -> pd.DataFrame:
        """Return the rows of one night, without backbone, detector and seed."""
        table = self.facts[self.facts["night"] == night]
        code = self._code[table.index]
        can_alarm = np.isfinite(verdict.level_alarm[code])
        charted = np.where(can_alarm, "normal", "learning")  # what cannot be called an alarm is not called normal
        charted = np.where(verdict.attention[code], "attention", charted)
        charted = np.where(verdict.alarm[code], "alarm", charted)
        known = table["state"].notna()
        return table.assign(
            **{
                name: getattr(verdict, name)[code]
                for name in ("reference_nights", "fleet_effect", "statistic", "p_value", "evidence",
                             "level_attention", "level_alarm", "false_alarm_rate", "rate_low", "rate_high",
                             "nights_to_alarm", "new_alarm")
            },
            alarm_since=_taken(verdict.alarm_since, code),
            onset=_taken(verdict.onset, code),
            state=table["state"].where(known, charted),
            reason=_joined(table["reason"], _taken(verdict.reasons, code)),
        )  # fmt: skip

    def _night(self, night: str, rows: pd.DataFrame) -> Night:
        code, size = self._code[rows.index], len(self.machines)
        scores, recordings = np.full(size, np.nan), np.zeros(size, dtype=np.int64)
        scores[code], recordings[code] = rows["night_score"], rows["n_scored"]
        models: list[str | None] = [None] * size
        for index, version in zip(code.tolist(), rows["model_version"], strict=True):
            if np.isfinite(scores[index]):
                models[index] = model_name(self.machines[index], version)
        labels = np.array([self._labels.get((night, machine)) for machine in self.machines], dtype=object)
        known = np.isin(np.arange(size), code)
        repaired = [self._repaired(machine, night) for machine in self.machines]
        return Night(night, scores, recordings, models, labels == "normal", labels == "abnormal", known, repaired)


def model_name(machine: Machine, version: str) -> str:
    """Return what charts call a model."""
    return f"{machine.path}/{version}"


def _joined(facts: pd.Series[str], charts: NDArray[np.object_]) -> NDArray[np.object_]:
    """Return what the facts and the charts say of each machine, one after the other."""
    both = zip(facts, charts, strict=True)
    said = ["; ".join(text for text in texts if isinstance(text, str)) for texts in both]
    return np.array([text or None for text in said], dtype=object)


def _taken(values: list[str | None], code: NDArray[np.integer[Any]]) -> NDArray[np.object_]:
    return np.asarray(np.array(values, dtype=object)[code])
