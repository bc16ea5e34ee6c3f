"""What is doubtful about how sources were understood, from names alone: no recording is opened.

A doubt is no error. Each says, with numbers and an example, what may have been misread, and what to type if it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any

import pandas as pd

from humwatch.storage.reasons import EXPLANATIONS, Reason
from humwatch.tasks.ingest.machine_doubts import FACTS_OF_MACHINES, doubts_of_machines
from humwatch.tasks.ingest.manifest import ManifestFindings
from humwatch.tasks.ingest.wording import SAY_THE_LAYOUT, Doubt
from humwatch.tasks.plan.scope import is_dated
from humwatch.tasks.settings import Training
from humwatch.tasks.words import counted, some

FACTS = (*FACTS_OF_MACHINES, "recorded_at", "reason")
"""Columns that doubts are made from, as in `storage.tables.RECORDINGS`."""

_ADVICE = {
    Reason.UNCLEAR_MACHINE: SAY_THE_LAYOUT,
    Reason.CONFLICTING_NAMES: "rename them, or say in a manifest or in ingest.layout what they are",
    Reason.MIXED_MACHINES: "two machines: --set ingest.layout='{site}/{machine_type}/{machine_id}/{}.wav'; "
    "one: --set ingest.layout='{machine_type}/{machine_id}/{}.wav'",
    Reason.NO_LAYOUT: "give ingest.layout another template after the others",
    Reason.DUPLICATE_NAME: "give sources whose names differ, or rename the recordings",
    Reason.NOT_IN_MANIFEST: "add their rows to the manifest",
}
_SPARSE = 0.05  # a date far from all others is doubtful when so few recordings have such
_HEX_NAME = re.compile(r"(?:^|/)(?=[0-9A-F]*[A-F])[4-7][0-9A-F]{7}\.\w+$")
_FAR_DAYS = 2 * 365
_FIRST_YEAR = 1995  # clocks that were never set say 1970 or 1980
# What is not read by design, and nobody misses.
_NO_SOUND = {
    ".bmp", ".cfg", ".csv", ".db", ".doc", ".docx", ".gif", ".htm", ".html", ".ini", ".jpeg", ".jpg", ".json", ".log",
    ".md", ".mat", ".npy", ".npz", ".parquet", ".pdf", ".png", ".py", ".rst", ".svg", ".toml", ".txt", ".xls", ".xlsx",
    ".xml", ".yaml", ".yml",
}  # fmt: skip


def frame_of(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the columns `FACTS` of rows of the recordings table, text with None where there is none."""
    return pd.DataFrame([[row[name] for name in FACTS] for row in rows], columns=list(FACTS), dtype=object)


def doubts_of_names(
    recordings: pd.DataFrame, ignored: Mapping[str, int], training: Training, today: date
) -> list[Doubt]:
    """Return what is doubtful, the gravest first.

    Args:
        recordings: columns `FACTS`, as from `frame_of`: of all sources of a run, rejected ones included.
        ignored: files that are no recordings, archives or manifests, by their suffix (`.mp3`, "" for none).
        training: what a run trains on: labels are missed where it is `labelled`, nights where it is `assumed_normal`.
        today: in UTC; nights after tomorrow are doubtful.
    """
    good = recordings[recordings["reason"].isna()]
    return [
        *_refused(recordings),
        *doubts_of_machines(good),
        *_nights(good, training),
        *_dates(good, today),
        *_labels(good, training),
        *_not_read(ignored, len(recordings)),
    ]


def doubts_of_manifests(manifests: Iterable[ManifestFindings]) -> Iterator[Doubt]:
    """Yield what does not fit between manifests and recordings; one that fits nothing at all is an error elsewhere."""
    for found in manifests:
        if found.fits_nothing:
            continue
        if n := len(found.rows_without_file):
            yield Doubt(
                "rows_without_file",
                f"{found.uri}: {n} of {counted(found.rows, 'row')} name no recording that is there: "
                f"{some(found.rows_without_file)}",
                "correct the column path: it is relative to the manifest's folder or archive, or a file's name",
            )
        if n := len(found.files_without_row):
            yield Doubt(
                "files_without_row",
                f"{found.uri}: no row for {counted(n, 'recording')}: {some(found.files_without_row)}; their names "
                "alone say what they are",
                "add their rows, or move them elsewhere",
            )


def _refused(recordings: pd.DataFrame) -> Iterator[Doubt]:
    groups: Iterable[tuple[Any, pd.DataFrame]] = recordings[recordings["reason"].notna()].groupby("reason", sort=True)
    for reason, refused in groups:
        are = "is" if len(refused) == 1 else "are"
        yield Doubt(
            str(reason),
            f"{len(refused)} of {counted(len(recordings), 'recording')} {are} rejected: "
            f"{EXPLANATIONS[Reason(reason)]} (such as {refused['path'].iloc[0]})",
            _ADVICE.get(Reason(reason), "correct these files, or leave them out"),
        )


def _nights(good: pd.DataFrame, training: Training) -> Iterator[Doubt]:
    dated = is_dated(good["batch"])
    undated = good[~dated]
    if len(undated) and _HEX_NAME.search(undated["path"].iloc[0]):
        yield Doubt(
            "hexadecimal_names",
            f"the name of {undated['path'].iloc[0]} may be a time, as older AudioMoths wrote it; "
            f"{len(undated)} of {len(good)} recordings have no date",
            "--set ingest.hex_seconds=true",
        )
    elif len(undated) and dated.any():
        yield Doubt(
            "some_without_night",
            f"{len(undated)} of {len(good)} recordings have no date, the others have "
            f"(such as {undated['path'].iloc[0]})",
            "name the date in the layout (`{recorded_at:%Y-%m-%d}`), or give a manifest with a column recorded_at",
        )
    elif len(undated) and training == "assumed_normal":
        yield Doubt(
            "no_night",
            f"no name of {counted(len(good), 'recording')} has a date, so there are no nights: `humwatch nightly` has "
            f"nothing to go by (such as {undated['path'].iloc[0]})",
            "put the date into folders or file names, name it in the layout (`{recorded_at:%Y-%m-%d}`), or give a "
            "manifest with a column recorded_at",
        )


def _dates(good: pd.DataFrame, today: date) -> Iterator[Doubt]:
    dated = good[is_dated(good["batch"])]
    if dated.empty:
        return
    days = pd.to_datetime(dated["batch"], errors="coerce")
    from_now = (days - pd.Timestamp(today)).dt.days
    away = (from_now - from_now.median()).abs() > _FAR_DAYS
    far = (from_now > 1) | (days.dt.year < _FIRST_YEAR) | (away & (away.mean() <= _SPARSE))
    if far.any():
        nights = sorted(dated["batch"][far].unique())
        yield Doubt(
            "far_date",
            f"{counted(int(far.sum()), 'recording')} of nights far outside the others or in the future: {some(nights)} "
            f"(such as {dated['path'][far].iloc[0]})",
            "set the recorder's clock and rename the files, or give a manifest with a column recorded_at; `nightly` "
            "sets nights to come apart",
        )


def _labels(good: pd.DataFrame, training: Training) -> Iterator[Doubt]:
    if good.empty or training == "assumed_normal":
        return
    kinds = set(good["label"].dropna())
    if not kinds and not is_dated(good["batch"]).any():
        yield Doubt(
            "no_labels",
            f"none of {counted(len(good), 'recording')} is labelled, and none dated (such as {good['path'].iloc[0]})",
            "put them into folders `normal` and `abnormal`, give a manifest with a column label, or name {label} in "
            "the layout; with dates `humwatch nightly` needs no labels",
        )
    elif len(kinds) == 1:
        (kind,) = kinds
        n = int(good["label"].notna().sum())
        consequence = (
            "nothing shows how well faults are told from normal sound: there will be no AUC"
            if kind == "normal"
            else "there is no normal sound to learn from"
        )
        yield Doubt(
            "one_label",
            f"all {counted(n, 'labelled recording')} are {kind}: {consequence}",
            "label the others by folders, a manifest or the layout's {label}",
        )


def _not_read(ignored: Mapping[str, int], recordings: int) -> Iterator[Doubt]:
    missed = {suffix: n for suffix, n in sorted(ignored.items()) if suffix.lower() not in _NO_SOUND}
    if missed:
        kinds = ", ".join(f"{n} {suffix or 'without a suffix'}" for suffix, n in missed.items())
        yield Doubt(
            "not_read",
            f"{counted(sum(missed.values()), 'file')} beside {counted(recordings, 'recording')} not read: {kinds}",
            "convert or unpack them if they are recordings (`ffmpeg -i FILE FILE.wav`); "
            "`ingest.extensions` says which files are recordings",
        )
