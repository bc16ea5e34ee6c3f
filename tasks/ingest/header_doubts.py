"""Doubts that need headers: sample rates, channels and lengths that differ, files that cannot be decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pandas as pd

from humwatch.storage.reasons import EXPLANATIONS, Reason
from humwatch.tasks.ingest.wording import Doubt
from humwatch.tasks.plan.catalog import by_machine
from humwatch.tasks.settings import Settings
from humwatch.tasks.words import counted

_UNEVEN = 2.0  # the longest recording of a machine over its shortest


def doubts_of_headers(heads: pd.DataFrame, settings: Settings) -> Iterator[Doubt]:
    """Yield what is doubtful about a sample of headers.

    Args:
        heads: a row a header: path, site, machine_type, machine_id, condition, recorded_at, and
            `header_sample.HEADER`.
        settings: what recordings are to become.
    """
    yield from _not_decoded(heads)
    read = heads[heads["reason"].isna()]
    if read.empty:
        return
    yield from _rates(read, settings.spectrogram.sample_rate_hz)
    yield from _channels(read, settings)
    yield from _lengths(read, settings)
    yield from _times(read, settings)


def hz(rate: float) -> str:
    """Return `16 kHz`, `44.1 kHz`, `800 Hz`."""
    return f"{rate / 1000:g} kHz" if rate >= 1000 else f"{rate:g} Hz"


def span(low: float, high: float) -> str:
    """Return `10 s`, `5 to 60 s`, `3 to 20 min`, `10 s to 20 min`, whatever reads best."""
    first, last = _length(low), _length(high)
    if first == last:
        return " ".join(first)
    return " ".join([*first[: 1 if first[1] == last[1] else 2], "to", *last])


def _length(seconds: float) -> tuple[str, str]:
    """Return a number and its unit."""
    unit, size = ("h", 3600) if seconds >= 3600 else ("min", 60) if seconds >= 120 else ("s", 1)
    return f"{seconds / size:.3g}", unit


def _not_decoded(heads: pd.DataFrame) -> Iterator[Doubt]:
    for reason, rows in heads[heads["reason"].notna()].groupby("reason", sort=True):
        first = rows.iloc[0]
        detail = f": {first['detail']}" if first["detail"] else ""
        yield Doubt(
            str(reason),
            f"{len(rows)} of {counted(len(heads), 'header')} looked at would be rejected: "
            f"{EXPLANATIONS[Reason(str(reason))]} (such as {first['path']}{detail})",
            "look at that file; others like it were not looked at",
        )


def _rates(read: pd.DataFrame, model_hz: int) -> Iterator[Doubt]:
    machines = by_machine(read.assign(heard_hz=read["sample_rate_hz"].clip(upper=model_hz)))
    mixed = [(machine, rows) for machine, rows in machines.items() if len(set(rows["heard_hz"])) > 1]
    low = [
        rows for rows in machines.values() if set(rows["heard_hz"]) != {model_hz} and len(set(rows["heard_hz"])) == 1
    ]
    if mixed:
        machine, rows = mixed[0]
        counts = Counter(int(rate) for rate in rows["sample_rate_hz"])
        lowest, highest = min(counts), min(max(counts), model_hz)
        listed = ", ".join(f"{n} at {hz(rate)}" for rate, n in counts.most_common())
        yield Doubt(
            "mixed_rates",
            f"{counted(len(mixed), 'machine')} with several sample rates: {machine.label} has {listed}; what is at "
            f"{hz(lowest)} has nothing above {hz(lowest / 2)}, the rest up to {hz(highest / 2)}, so a model of one "
            f"takes the other for abnormal (such as {rows['path'][rows['sample_rate_hz'] == lowest].iloc[0]})",
            f"--set spectrogram.sample_rate_hz={lowest} makes all alike, or keep recorders apart as machines",
        )
    if low:
        rate = int(low[0]["sample_rate_hz"].iloc[0])
        yield Doubt(
            "low_rate",
            f"{len(low):,} of {counted(len(machines), 'machine')} recorded at less than the {hz(model_hz)} of "
            f"spectrograms: at {hz(rate)} these are empty above {hz(rate / 2)} (such as {low[0]['path'].iloc[0]})",
            f"--set spectrogram.sample_rate_hz={rate} if all are; else nothing: every machine has a model of its own",
        )


def _channels(read: pd.DataFrame, settings: Settings) -> Iterator[Doubt]:
    channel = settings.spectrogram.channel
    mixed = [(machine, rows) for machine, rows in by_machine(read).items() if len(rows["channels"].unique()) > 1]
    if mixed:
        machine, rows = mixed[0]
        counts = ", ".join(f"{n} with {channels}" for channels, n in rows["channels"].value_counts().items())
        yield Doubt(
            "mixed_channels",
            f"{counted(len(mixed), 'machine')} with differing numbers of channels: {machine.label} has {counts}; "
            f"spectrogram.channel is {channel}",
            "--set spectrogram.channel=mean hears all of them; or keep recorders apart",
        )
    if isinstance(channel, int) and (missing := read[read["channels"] <= channel]).size:
        yield Doubt(
            str(Reason.CHANNEL_MISSING),
            f"{len(missing)} of {counted(len(read), 'header')} have no channel {channel}, counted from 0 "
            f"(such as {missing['path'].iloc[0]})",
            "--set spectrogram.channel=0, or mean",
        )


def _lengths(read: pd.DataFrame, settings: Settings) -> Iterator[Doubt]:
    spectrogram, images = settings.spectrogram, settings.images
    window_s = images.window_frames * spectrogram.hop_samples / spectrogram.sample_rate_hz
    short = read[read["duration_s"] < window_s - spectrogram.hop_samples / spectrogram.sample_rate_hz]
    if len(short):
        yield Doubt(
            str(Reason.TOO_SHORT),
            f"{len(short)} of {counted(len(read), 'header')} are of recordings shorter than a window, {window_s:.3g} s "
            f"(such as {short['path'].iloc[0]}, {short['duration_s'].iloc[0]:.3g} s)",
            "--set images.window_frames to fewer frames",
        )
    uneven = [
        (machine, rows["duration_s"].min(), rows["duration_s"].max())
        for machine, rows in by_machine(read).items()
        if rows["duration_s"].max() > _UNEVEN * rows["duration_s"].min()
    ]
    if uneven:
        machine, low, high = uneven[0]
        yield Doubt(
            "uneven_lengths",
            f"{counted(len(uneven), 'machine')} with recordings of very different length: {machine.label} from "
            f"{span(low, low)} to {span(high, high)}; where most have one length the others are rejected as "
            f"wrong_length; what is longer than {settings.ingest.longest_s:g} s is cut into clips of "
            f"{settings.ingest.clip_s:g} s",
            "--set health.duration_tolerance to accept more, --set ingest.longest_s to cut more",
        )


def _times(read: pd.DataFrame, settings: Settings) -> Iterator[Doubt]:
    unused = read[read["time_source"].notna() & read["recorded_at"].isna()]
    if len(unused) and not settings.ingest.times_in_files:
        first = unused.iloc[0]
        yield Doubt(
            "time_in_file",
            f"{len(unused)} of {counted(len(read), 'header')} have a time of recording that their names have not "
            f"(such as {first['path']}: {first['time_source']})",
            "--set ingest.times_in_files=true",
        )
