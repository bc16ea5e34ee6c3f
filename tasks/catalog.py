"""What the lake knows of each recording: facts from its name joined with facts from decoding."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from storage.lake import Lake
from storage.models import Machine
from storage.parts import Part, list_parts, read_part
from storage.reasons import Reason
from storage.tables import HEALTH, RECORDINGS, read_table
from tasks.labels import apply_labels
from tasks.scope import Scope
from tasks.settings import HealthSettings
from tasks.spectrograms.health import judge

MACHINE = ["site", "machine_type", "machine_id", "condition"]


@dataclass(frozen=True)
class Catalog:
    """The current recordings of a lake.

    Attributes:
        recordings: one row a recording, indexed 0..n-1 in a fixed order: the columns of `storage.tables.RECORDINGS`
            and `HEALTH`, `part_id` and `row` (its place on the first axis of the part's stores), and `status`:
            accepted, rejected (then `reason` says why) or pending (not decoded yet under this key).
        parts: the parts by their id.
    """

    recordings: pd.DataFrame
    parts: dict[str, Part]

    def within(self, scope: Scope) -> Catalog:
        """Return the catalog of the recordings in a scope."""
        return Catalog(scope.recordings(self.recordings), self.parts)

    @property
    def accepted(self) -> pd.DataFrame:
        """The recordings that can be scored."""
        return self.recordings[self.recordings["status"] == "accepted"]


def current_recordings(lake: Lake) -> tuple[pd.DataFrame, dict[str, Part]]:
    """Return the newest row of every recording with its `part_id` and `row`, and the parts by id."""
    parts = list_parts(lake)
    frames = []
    for part in parts:
        frame = read_part(lake, part).to_pandas()
        frames.append(frame.assign(part_id=part.part_id, row=range(len(frame))))
    empty = RECORDINGS.empty_table().to_pandas().assign(part_id="", row=0)
    rows = pd.concat(frames, ignore_index=True) if frames else empty
    rows = rows.sort_values(["ingested_at", "part_id", "row"], kind="stable")
    rows = rows.drop_duplicates("recording_id", keep="last")
    order = ["machine_type", "batch", "part_id", "row"]
    return rows.sort_values(order, kind="stable", ignore_index=True), {part.part_id: part for part in parts}


def load_catalog(lake: Lake, spectrogram_key: str, health: HealthSettings, window_frames: int) -> Catalog:
    """Return the catalog under one spectrogram key; verdicts that need the whole machine are made here."""
    rows, parts = current_recordings(lake)
    current = set(rows["part_id"])
    facts = [
        read_table(lake, part.health_path(spectrogram_key), HEALTH).to_pandas().assign(part_id=part_id)
        for part_id, part in parts.items()
        if part_id in current and part.store("spectrograms", spectrogram_key).is_complete(lake)
    ]
    decoded = pd.concat(facts, ignore_index=True) if facts else HEALTH.empty_table().to_pandas().assign(part_id="")
    decoded = decoded.drop(columns="status").rename(columns={"reason": "decode_reason"})
    rows = rows.merge(decoded, on=["recording_id", "part_id"], how="left")
    rows["reason"] = rows["reason"].where(rows["reason"].notna(), rows["decode_reason"])
    measured = rows["n_frames"].notna()
    rows.loc[measured, "reason"] = judge(rows[measured], health)
    short = measured & rows["reason"].isna() & (rows["n_frames"] < window_frames)
    rows.loc[short, "reason"] = str(Reason.TOO_SHORT)
    rows["status"] = "pending"
    rows.loc[measured, "status"] = "accepted"
    rows.loc[rows["reason"].notna(), "status"] = "rejected"
    rows = rows.drop(columns="decode_reason")
    for column in rows.columns[rows.dtypes == "object"]:
        rows[column] = rows[column].where(rows[column].notna(), None)
    return Catalog(apply_labels(rows, lake), parts)


def machine_of(values: Iterable[Any]) -> Machine:
    """Return the machine named by values in the order of `MACHINE`."""
    site, machine_type, machine_id, condition = (None if pd.isna(value) else str(value) for value in values)
    return Machine(str(machine_type), str(machine_id), site, condition)


def by_machine(recordings: pd.DataFrame) -> dict[Machine, pd.DataFrame]:
    """Return the rows of every machine and condition, machines in a fixed order."""
    groups: Iterable[tuple[Any, pd.DataFrame]] = recordings.groupby(MACHINE, dropna=False, sort=False)
    return dict(sorted(((machine_of(values), rows) for values, rows in groups), key=lambda item: item[0].label))


def silent_machines(catalog: Catalog, scope: Scope) -> list[Machine]:
    """Return the machines in scope that sent recordings before the first night in scope, and none in scope."""
    if not scope.batches:
        return []
    of_machines = Scope(machines=scope.machines).recordings(catalog.recordings)
    earlier = of_machines[of_machines["batch"] < min(scope.batches)]
    heard = by_machine(scope.recordings(of_machines))
    return [machine for machine in by_machine(earlier) if machine not in heard]
