"""What the lake knows of its recordings, of some batches as among all: the facts that verdicts and roles rest on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pandas as pd
import pyarrow as pa

from humwatch.storage.label_imports import read_labels
from humwatch.storage.lake import Lake
from humwatch.storage.parts import Part, list_parts
from humwatch.storage.reasons import Reason
from humwatch.storage.tables import MACHINE
from humwatch.tasks.frames import none_for_nan
from humwatch.tasks.plan.labels import labels_under
from humwatch.tasks.plan.part_rows import current, part_rows, share_of_file, with_decode_reason
from humwatch.tasks.plan.repeats import shared
from humwatch.tasks.plan.scope import is_date, is_dated
from humwatch.tasks.plan.tallies import Batch, Carried, Tallying, Window, is_among
from humwatch.tasks.plan.verdicts import judge, usual_durations_s, usual_rates_hz
from humwatch.tasks.settings import HealthSettings, SpectrogramSettings

_NIGHT, _PLACE = [*MACHINE, "batch"], ["part_id", "row"]
_KEPT = [
    "recording_id", *_NIGHT, "label", "split", "recorded_at", "reason", *_PLACE, "sound_hash", "status", "duration_s",
    "channels", "usual_s", "usual_rate_hz",
]  # fmt: skip
_TOLD = ["reason", "status", "sound_hash", "usual_s", "usual_rate_hz"]


@dataclass(frozen=True)
class History:
    """What the lake knows of its recordings, under one spectrogram key.

    Attributes:
        rows: one row a recording of the batches that were asked for, and of those anywhere that have the samples of
            another, indexed 0..n-1 in a fixed order: `recording_id`, `MACHINE`, `batch`, `label`, `split`,
            `recorded_at`, `part_id`, `row` (its place on the first axis of the part's stores), `sound_hash` (null where
            no other recording has the same), `reason`, and `status`: accepted, rejected (then `reason` says why) or
            pending (not decoded under the key); `duration_s` and `channels` as decoded, `usual_s` and `usual_rate_hz`
            of the machine.
        nights: batches of each machine by which roles and silence are told: `MACHINE`, `batch`, and how many
            `recordings` there are, of them `accepted`, of them `usable` (not labelled abnormal). All of them when all
            batches were asked for; else those that `humwatch.tasks.plan.tallies.Window` keeps.
        parts: the parts by their id.
        decoded: parts with a table of facts from decoding, and where it is.
        has_labels: whether any recording of the lake may have a label.
    """

    rows: pd.DataFrame
    nights: pd.DataFrame
    parts: dict[str, Part]
    decoded: dict[Part, str]
    has_labels: bool

    @property
    def eligible(self) -> pd.DataFrame:
        """The rows that can be scored: among them roles are given."""
        return self.rows[self.rows["status"] == "accepted"]


@dataclass(frozen=True)
class HistoryReader:
    """Where what is known of recordings is kept, and what says whether they are fit to be scored.

    Attributes:
        lake: the lake.
        spectrogram_key: of the facts from decoding.
        health, spectrogram, window_frames: what is fit to be scored.
        window: nights that are told one by one.
    """

    lake: Lake
    spectrogram_key: str
    health: HealthSettings
    spectrogram: SpectrogramSettings
    window_frames: int
    window: Window

    def whole(self, unfinished: Collection[Part] = frozenset()) -> History:
        """Return what is known of every recording.

        Which parts are decoded is known by one listing of their facts, but for `unfinished` ones, whose facts a killed
        run has left beside a store that is not whole: see `humwatch.tasks.plan.catalog.unfinished_parts`.
        """
        parts, decoded = self._parts(unfinished)
        rows = current(part_rows(self.lake, parts, decoded).to_pandas())
        known = self._judged(rows.assign(n=1))
        known["label"] = labels_under(known, read_labels(self.lake))
        by_id = {part.part_id: part for part in parts}
        has_labels = bool(known["label"].notna().any())
        return History(none_for_nan(known[_KEPT]), _nights(known), by_id, decoded, has_labels)

    def of(
        self,
        batches: frozenset[str],
        unfinished: Collection[Part] = frozenset(),
        every_night_of: pd.DataFrame | None = None,
    ) -> History:
        """Return what is known of the recordings of some batches, as among all recordings of the lake.

        Of other batches no row is read: what their recordings say of a machine is told by tallies, so that a look at a
        night costs the same however many there were before. Labels are given to rows: where there are some, the nights
        that are told one by one are read, of machines that have labels.

        Args:
            batches: which.
            unfinished: as for `whole`.
            every_night_of: machines (columns `MACHINE`) all of whose nights are to be told.
        """
        parts, decoded = self._parts(unfinished)
        tallying = Tallying(self.lake, self.spectrogram_key, self.health, self.window)
        by_batch = _by_batch(parts, decoded)
        carried = tallying.carried(by_batch)
        rows, nights = self._among(carried, batches, parts, decoded)
        short = pd.concat([self._short(nights, carried.tallies)[MACHINE], every_night_of])[MACHINE]
        if len(short):
            every = tallying.nights(short, by_batch, carried.apart)
            others = carried.tallies[carried.tallies["batch"].isna() | ~is_among(carried.tallies, short, MACHINE)]
            carried = Carried(pd.concat([others, every], ignore_index=True), carried.apart)
            rows, nights = self._among(carried, batches, parts, decoded)
        of_names = carried.tallies["label"].notna().any() or carried.apart["label"].notna().any()
        has_labels = bool(of_names or read_labels(self.lake).num_rows)
        return History(rows, nights, {part.part_id: part for part in parts}, decoded, has_labels)

    def batches_holding(self, recording_ids: Collection[str]) -> frozenset[str]:
        """Return the batches with rows of some recordings, found by their tags; one more by chance does no harm."""
        parts, decoded = self._parts(frozenset())
        tallying = Tallying(self.lake, self.spectrogram_key, self.health, self.window)
        return tallying.holding(_by_batch(parts, decoded), recording_ids)

    def _parts(self, unfinished: Collection[Part]) -> tuple[list[Part], dict[Part, str]]:
        parts = list_parts(self.lake)
        listed = set(self.lake.list(f"health/{self.spectrogram_key}", ".parquet"))
        paths = {part: part.health_path(self.spectrogram_key) for part in parts if part not in unfinished}
        return parts, {part: path for part, path in paths.items() if path in listed}

    def _among(
        self, carried: Carried, batches: frozenset[str], parts: Sequence[Part], decoded: Mapping[Part, str]
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return `History.rows` and `History.nights` of some batches among what is carried."""
        labels = read_labels(self.lake)
        by_night = carried.tallies[carried.tallies["batch"].notna()]
        labelled = _with_labels(by_night, labels)
        read = batches | frozenset(labelled["batch"])
        rows = part_rows(self.lake, [part for part in parts if part.batch in read], decoded).to_pandas()
        apart = carried.apart[~is_among(carried.apart, rows, _PLACE)]
        order = {part.part_id: at for at, part in enumerate(parts)}
        rows = pd.concat([rows, apart], ignore_index=True) if len(apart) else rows
        rows = rows.assign(part=rows["part_id"].map(order)).sort_values(["part", "row"], ignore_index=True)
        rows = current(rows)
        # What is in a tally does not count once more.
        counts = is_among(rows, carried.apart, _PLACE)
        tallies = carried.tallies.assign(alike=carried.tallies["n"])
        tallies["n"] = tallies["n"].where(tallies["batch"].isna(), 0)
        known = self._judged(pd.concat([rows.assign(n=counts.astype(int), alike=1), tallies], ignore_index=True))
        of_rows, of_nights = rows.assign(**known[: len(rows)][_TOLD]), known[len(rows) :]
        of_rows["label"] = labels_under(of_rows, labels)
        of_nights = of_nights[of_nights["batch"].notna()]
        one_by_one = of_rows[counts | is_among(of_rows, labelled, _NIGHT)].assign(alike=1)
        nights = _nights(pd.concat([one_by_one, of_nights[~is_among(of_nights, labelled, _NIGHT)]]))
        return none_for_nan(of_rows[_KEPT]), nights

    def _judged(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return rows with `reason`, `status`, what is usual of the machine, and `sound_hash` where it is shared.

        Args:
            rows: as from `part_rows`, and `n` as in `judge`; tallies among them have a share of file.
        """
        rows = rows.assign(
            reason=with_decode_reason(rows), sound_hash=rows["sound_hash"].where(shared(rows["sound_hash"]))
        )
        own_share = share_of_file(rows)
        rows["share_of_file"] = rows["share_of_file"].fillna(own_share) if "share_of_file" in rows else own_share
        measured = rows["n_frames"].notna()
        rows.loc[measured, "reason"] = judge(rows[measured], self.health, self.spectrogram)
        rows["usual_s"] = usual_durations_s(rows[measured])
        rows["usual_rate_hz"] = usual_rates_hz(rows[measured])
        short = measured & rows["reason"].isna() & (rows["n_frames"] < self.window_frames)
        rows.loc[short, "reason"] = str(Reason.TOO_SHORT)
        rows["status"] = "pending"
        rows.loc[measured, "status"] = "accepted"
        rows.loc[rows["reason"].notna(), "status"] = "rejected"
        return rows

    def _short(self, nights: pd.DataFrame, tallies: pd.DataFrame) -> pd.DataFrame:
        """Return the machines whose window could have more nights than are told, as fewer of these count than seemed.

        What a recording is beside the machine's others is known only now.
        """
        fit = tallies[tallies["batch"].notna() & tallies["n_frames"].notna() & tallies["reason"].isna()]
        seemed, counted = _first(fit, self.window.nights), _first(nights[nights["accepted"] > 0], self.window.nights)
        both = seemed.merge(counted, on=MACHINE, how="left", suffixes=("", "_counted"))
        return both[~(both["batch_counted"] <= both["batch"])]


def _by_batch(parts: Sequence[Part], decoded: Mapping[Part, str]) -> list[Batch]:
    """Return batches in their order; those that are no nights come first."""
    found = []
    for name, of_batch in groupby(sorted(parts, key=lambda part: part.batch), key=lambda part: part.batch):
        own = tuple(sorted(of_batch))
        found.append(Batch(name, own, tuple((part, decoded[part]) for part in own if part in decoded)))
    return sorted(found, key=lambda batch: (is_date(batch.name), batch.name))


def _nights(rows: pd.DataFrame) -> pd.DataFrame:
    """Return `History.nights` of judged rows or tallies; of these `alike` says how many recordings each is."""
    alike = rows["alike"] if "alike" in rows else pd.Series(1, index=rows.index)
    accepted = alike.where(rows["status"] == "accepted", 0)
    usable = accepted.where(rows["label"].ne("abnormal").to_numpy(dtype=bool, na_value=True), 0)
    counts = rows[_NIGHT].assign(recordings=alike, accepted=accepted, usable=usable)
    return (
        counts.groupby(_NIGHT, dropna=False, sort=False)
        .sum()
        .reset_index()
        .astype(dict.fromkeys(("recordings", "accepted", "usable"), np.int64))
    )


def _first(nights: pd.DataFrame, n: int) -> pd.DataFrame:
    """Return the n-th night (column batch) of every machine that has so many; none where n is 0."""
    dated = nights[is_dated(nights["batch"])][_NIGHT].drop_duplicates().sort_values("batch", kind="stable")
    return dated[dated.groupby(MACHINE, dropna=False, sort=False).cumcount() == n - 1]


def _with_labels(nights: pd.DataFrame, labels: pa.Table) -> pd.DataFrame:
    """Return those nights of machines that imports may have labelled; whose a single recording is, is not known."""
    if not labels.num_rows:
        return nights[:0]
    if labels["recording_id"].null_count < labels.num_rows:
        return nights
    return nights[is_among(nights, labels.to_pandas(), ["site", "machine_type", "machine_id"])]
