"""What goes into a report: tables of the lake, notes of the models, pictures and sound of the top recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from humwatch.storage.arrays import read_rows
from humwatch.storage.errors import HumwatchError
from humwatch.storage.lake import map_concurrently
from humwatch.storage.models import Machine, get_gate, get_passport
from humwatch.storage.reasons import EXPLANATIONS, Reason
from humwatch.storage.tables import MACHINE, encode
from humwatch.tasks.frames import rows_of
from humwatch.tasks.plan.catalog import Catalog, by_machine, machine_of
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.suspicions import suspicions
from humwatch.tasks.reports.clips import choose_clips, encode_clip
from humwatch.tasks.reports.evaluation.page import Clip
from humwatch.tasks.reports.page_rows import spoken_file
from humwatch.tasks.reports.svg.figures import spectrogram_png
from humwatch.tasks.sound.decode import Audio
from humwatch.tasks.sound.rejected import Rejected
from humwatch.tasks.spectrograms.sounds import heard, sounds_of
from humwatch.tasks.spectrograms.spectrogram_blocks import ARRAY

REJECTED_COLUMNS = [
    "recording_id", "source_uri", "member", "machine_type", "machine_id", "batch", "reason", "explanation", "detail",
]  # fmt: skip


def rejected_table(catalog: Catalog) -> pd.DataFrame:
    """Return rejected.csv: one row a rejected recording, with its reason in a word and in a sentence."""
    rows = catalog.recordings
    rows = rows[rows["status"] == "rejected"]
    detail = rows["detail"].astype(object)
    detail = detail.mask(rows["reason"] == Reason.WRONG_LENGTH, _beside_usual(rows, "duration_s", "usual_s", "s"))
    detail = detail.mask(
        rows["reason"] == Reason.OTHER_BAND, _beside_usual(rows, "sample_rate_hz", "usual_rate_hz", "Hz")
    )
    counted = (rows["reason"] == Reason.OTHER_CHANNELS) & rows["channels"].notna()
    detail = detail.mask(counted, rows["channels"].map("{:.0f} here".format))
    explanation = [EXPLANATIONS[Reason(reason)] for reason in rows["reason"]]
    return rows.assign(explanation=explanation, detail=detail)[REJECTED_COLUMNS]


def _beside_usual(rows: pd.DataFrame, name: str, usual_name: str, unit: str) -> pd.Series[str]:
    """Return what a measure is, and what it usually is: `3 s, where 2 s are usual`."""
    values = zip(rows[name], rows[usual_name], strict=True)
    return pd.Series([f"{value:g} {unit}, where {usual:g} {unit} are usual" for value, usual in values],
                     index=rows.index, dtype=object)  # fmt: skip


def fleet_table(catalog: Catalog, auc: pd.DataFrame, silent: Sequence[Machine]) -> pd.DataFrame:
    """Return one row a machine and condition: recordings, rejected and training recordings; silent machines have 0."""
    columns = [*MACHINE, "recordings", "rejected", "n_train"]
    trained = auc[auc["domain"] == "all"].groupby(MACHINE, dropna=False)["n_train"].max()
    n_train = dict(zip(map(machine_of, trained.index), map(int, trained), strict=True))
    rows = [
        (machine.site, machine.machine_type, machine.machine_id, machine.condition, len(recordings),
         int((recordings["status"] == "rejected").sum()), n_train.get(machine, 0))
        for machine, recordings in by_machine(catalog.recordings).items()
    ]  # fmt: skip
    rows += [(machine.site, machine.machine_type, machine.machine_id, machine.condition, 0, 0, 0) for machine in silent]
    return pd.DataFrame(rows, columns=columns).astype({"site": object, "condition": object})


def notes_table(catalog: Catalog, scores: pd.DataFrame, run: Run, silent: Sequence[Machine]) -> pd.DataFrame:
    """Return what the models of `scores` say of themselves, and what else is told of machines.

    Refused candidates, resampling, the same samples in several places, and machines not heard.
    """
    lake = run.lake
    keys = {(variant.backbone, variant.detector, variant.seed): run.model_key(variant) for variant in run.variants}
    columns = [*MACHINE, "backbone", "detector"]
    models = scores[[*columns, "seed", "model_version"]].drop_duplicates()

    def said(model: tuple[Any, ...]) -> list[tuple[object, ...]]:
        *machine_values, backbone, detector, seed, model_version = model
        machine, key = machine_of(machine_values), keys[backbone, detector, seed]
        passport = get_passport(lake, key, machine, model_version)
        notes = [*passport.notes, *([passport.threshold_reason] if passport.threshold_reason else [])]
        gate = get_gate(lake, key, machine)
        if gate and not gate.accepted:
            notes.append(f"a new model was refused on {gate.decided_at} and this one kept: {gate.reason}")
        return [(*machine_values, backbone, detector, note) for note in notes]

    rows: list[tuple[object, ...]] = [*chain(*map_concurrently(said, models.itertuples(index=False, name=None)))]
    resampled = catalog.accepted[catalog.accepted["resampled"].eq(other=True)]
    for machine, recordings in by_machine(resampled).items():
        note = f"{len(recordings)} recordings resampled to {run.settings.spectrogram.sample_rate_hz} Hz"
        rows.append((machine.site, machine.machine_type, machine.machine_id, machine.condition, "", "", note))
    several = catalog.accepted[catalog.accepted["channels_heard"].gt(1)]
    for machine, recordings in by_machine(several).items():
        note = f"heard with {recordings['channels_heard'].max():.0f} channels: pictures and sound are of channel 0"
        rows.append((machine.site, machine.machine_type, machine.machine_id, machine.condition, "", "", note))
    for machine, note in suspicions(catalog.recordings, catalog.history.rows):
        rows.append((machine.site, machine.machine_type, machine.machine_id, machine.condition, "", "", note))
    for machine in silent:
        note = "silent: it sent nothing, and did on nights before"
        rows.append((machine.site, machine.machine_type, machine.machine_id, machine.condition, "", "", note))
    return pd.DataFrame(rows, columns=[*columns, "note"], dtype=object)


def clips(catalog: Catalog, scores: pd.DataFrame, run: Run) -> Iterator[Clip]:
    """Yield the most abnormal recordings with spectrogram and sound.

    The sound is read from the sources once more; where they cannot be read any longer the clip has none.
    """
    settings, spectrogram = run.settings.report, run.settings.spectrogram
    chosen = choose_clips(scores, settings.top_recordings, settings.max_clips)
    places = rows_of(catalog.recordings.set_index("recording_id", drop=False).loc[list(chosen["recording_id"])])
    spectrograms = map_concurrently(lambda place: spectrogram_of(catalog, place, run), places)
    sounds = map_concurrently(lambda place: sound_of(place, run), places)
    for values, (audio, mime), row in zip(spectrograms, sounds, rows_of(chosen), strict=True):
        yield Clip(
            recording_id=row["recording_id"],
            site=row["site"],
            machine_type=row["machine_type"],
            machine_id=row["machine_id"],
            condition=row["condition"],
            file=spoken_file(row),
            label=row["label"],
            detector=row["detector"],
            backbone=row["backbone"],
            score=row["score"],
            threshold=row["threshold"],
            p_value=row["p_value"],
            spectrogram_png=spectrogram_png(
                values, spectrogram.sample_rate_hz, spectrogram.hop_samples, spectrogram.fmin_hz, spectrogram.fmax_hz
            ),
            audio=audio,
            mime=mime,
        )


def files_of(tables: Mapping[str, pd.DataFrame]) -> dict[str, bytes]:
    """Return every table as `.csv` (without list columns) and `.parquet`."""
    files = {}
    for name, table in tables.items():
        flat = table.drop(columns=[column for column in table.columns if column == "window_scores"])
        files[f"{name}.csv"] = flat.to_csv(index=False, lineterminator="\n").encode()
        files[f"{name}.parquet"] = encode(pa.Table.from_pandas(table, preserve_index=False))
    return files


def spectrogram_of(catalog: Catalog, place: Mapping[Any, Any], run: Run) -> npt.NDArray[np.float32]:
    """Return the log-mel spectrogram of a row of the catalog, float32 (mel, frame), without padding.

    Of several channels that are heard, the first; so does `sound_of`.
    """
    store = catalog.parts[place["part_id"]].store("spectrograms", run.spectrogram_key)
    at = int(place["row"])
    array = store.complete_array(run.lake, ARRAY)
    values: npt.NDArray[np.float32] = read_rows(run.lake, array, range(at, at + 1))[0]
    return values[:, : int(place["n_frames"])]


def sound_of(place: Mapping[Any, Any], run: Run) -> tuple[bytes | None, str]:
    """Return the sound of a row of the catalog, packed for a browser, and its kind; None when it cannot be read."""
    try:
        (sound,) = sounds_of([place], int(place["size_bytes"]))
        if isinstance(sound, Audio):
            first = next(heard(sound, place["channel"], run.settings.spectrogram))
            return encode_clip(first, sound.sample_rate_hz, run.settings.report.clip_s)
    except (HumwatchError, Rejected):
        pass
    return None, ""
