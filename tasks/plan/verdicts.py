"""The verdict on whether a decoded recording is fit to be scored, from what was measured on it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from humwatch.storage.reasons import Reason
from humwatch.tasks.plan.repeats import repeats
from humwatch.tasks.settings import HealthSettings, SpectrogramSettings

_MOST_OFF = 0.5  # share of a machine's recordings that are far from the median: with more there is no usual length

FLOOR_DBFS = -200.0
"""Stored for anything quieter, digital silence (-inf) included."""


def judge(facts: pd.DataFrame, settings: HealthSettings, spectrogram: SpectrogramSettings) -> pd.Series:
    """The first reason that applies to each recording, or None; independent of the order of rows.

    Order: the decode-time reason as it stands, NOT_FINITE, DEAD_CHANNEL (digital silence is SILENT instead), SILENT
    (of a level without the DC offset, see `ac_levels_dbfs`), CLIPPED, REPEATED (see `humwatch.tasks.plan.repeats`),
    OTHER_CHANNELS, OTHER_BAND, WRONG_LENGTH. The last three compare with the other recordings of the machine (site,
    machine_type, machine_id) that no reason before rejects: with the number of channels heard, and the band up to the
    spectrogram's upper edge, that most of them have (of two as frequent the greater); and with their median duration,
    but that only where most of them have about that length: a machine that is recorded for as long as it runs has no
    wrong one. The clips of a file count as one recording, and their length is nothing that can be wrong.

    Args:
        facts: one row a recording: the fields of `humwatch.tasks.spectrograms.health.Health` (null where decoding
            failed), the columns that `repeats` reads, `reason`, null where decoding succeeded, and `share_of_file`, the
            share of its file that a clip is, null of a whole one. Where there is a column `n`, a row stands for so many
            recordings alike; of 0 it is judged and does not count among its machine's.
        settings: the limits.
        spectrogram: what it needs of the recordings.

    Returns:
        object Series of `Reason` or None with the index of `facts`.
    """
    duration = _numbers(facts, "duration_s")
    verdict = judge_alone(facts, settings).to_numpy(dtype=object, copy=True)

    def reject(reason: Reason, applies: npt.NDArray[np.bool_]) -> None:
        verdict[applies & pd.isna(verdict)] = reason

    reject(Reason.REPEATED, repeats(facts, pd.isna(verdict)))
    heard = facts["channels_heard"].astype(np.float64).fillna(1)
    reject(Reason.OTHER_CHANNELS, _unusual(heard, pd.isna(verdict), facts))
    heard_to_hz = _heard_to_hz(facts["sample_rate_hz"], spectrogram)
    reject(Reason.OTHER_BAND, _unusual(heard_to_hz, pd.isna(verdict), facts))
    usual = usual_durations_s(facts.assign(reason=verdict)).to_numpy()
    is_off = (np.abs(duration - usual) / usual > settings.duration_tolerance) & ~_is_clip(facts)
    n_fit = np.where(pd.isna(verdict) & ~_is_clip(facts), _count(facts), 0)
    counts = pd.DataFrame({"fit": n_fit, "off": np.where(is_off, n_fit, 0)}, index=facts.index)
    of_machine = counts.groupby(_machine(facts), dropna=False).transform("sum")
    reject(Reason.WRONG_LENGTH, is_off & (of_machine["off"] < _MOST_OFF * of_machine["fit"]).to_numpy())
    return pd.Series(verdict, index=facts.index, dtype=object, name="reason")


def judge_alone(facts: pd.DataFrame, settings: HealthSettings) -> pd.Series:
    """The first reason that applies to each recording whatever the others are, or None: those before REPEATED.

    As `judge`.
    """
    nonfinite, peak, clipped = (
        _numbers(facts, column) for column in ("nonfinite_fraction", "peak_dbfs", "clipped_fraction")
    )
    dead = facts["dead_channel"].to_numpy(dtype=np.float64, na_value=np.nan) == 1
    reasons = facts["reason"].astype(object)
    verdict = reasons.where(reasons.notna(), None).to_numpy(dtype=object, copy=True)

    def reject(reason: Reason, applies: npt.NDArray[np.bool_]) -> None:
        verdict[applies & pd.isna(verdict)] = reason

    reject(Reason.NOT_FINITE, nonfinite > 0)
    reject(Reason.DEAD_CHANNEL, dead & (peak > FLOOR_DBFS))
    reject(Reason.SILENT, ac_levels_dbfs(facts) < settings.silent_rms_dbfs)
    reject(Reason.CLIPPED, clipped > settings.max_clipped_fraction)
    return pd.Series(verdict, index=facts.index, dtype=object, name="reason")


def ac_levels_dbfs(facts: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return the level of each recording without its DC offset, float64 (recording,); NaN where it was not decoded.

    Of versions that did not measure it, the total power less that of the offset; of several channels these may be of
    different ones, and the total stands.

    Args:
        facts: columns ac_rms_dbfs, rms_dbfs, dc_offset and channels_heard.
    """
    measured, rms, offset, channels = (
        _numbers(facts, column) for column in ("ac_rms_dbfs", "rms_dbfs", "dc_offset", "channels_heard")
    )
    power = 10 ** (rms / 10) - np.where(channels > 1, 0, offset) ** 2
    return np.where(np.isnan(measured), 10 * np.log10(np.maximum(power, 10 ** (FLOOR_DBFS / 10))), measured)


def _numbers(facts: pd.DataFrame, column: str) -> npt.NDArray[np.float64]:
    return facts[column].to_numpy(dtype=np.float64, na_value=np.nan)


def usual_durations_s(facts: pd.DataFrame) -> pd.Series[float]:
    """Return the median duration of each recording's machine, of whole ones that nothing but their length rejects.

    Args:
        facts: columns site, machine_type, machine_id, duration_s, reason and share_of_file, perhaps `n`: as `judge`.
    """
    fit = (facts["reason"].isna() | (facts["reason"] == Reason.WRONG_LENGTH)) & ~_is_clip(facts)
    machine = facts.groupby(_machine(facts), dropna=False, sort=False).ngroup().to_numpy()
    table = pd.DataFrame({"machine": machine, "value": _numbers(facts, "duration_s"), "count": _count(facts)})
    table = table[fit.to_numpy() & table["value"].notna() & table["count"].gt(0)].sort_values(["machine", "value"])
    # Where each value begins and ends among all of its machine's in their order, and which is in the middle.
    ends = table["count"].cumsum().to_numpy()
    last = pd.Series(ends).groupby(table["machine"].to_numpy()).max()
    counts = table.groupby("machine")["count"].sum()
    first = last - counts
    values = table["value"].to_numpy()
    lower = values[np.searchsorted(ends, first + (counts - 1) // 2, side="right")]
    upper = values[np.searchsorted(ends, first + counts // 2, side="right")]
    medians = pd.Series((lower + upper) / 2, index=counts.index)
    return pd.Series(medians.reindex(machine).to_numpy(np.float64), index=facts.index)


def usual_rates_hz(facts: pd.DataFrame) -> pd.Series[float]:
    """Return the most frequent sample rate of each recording's machine, of those that nothing but their band rejects.

    Args:
        facts: columns site, machine_type, machine_id, sample_rate_hz, reason and share_of_file, perhaps `n`.
    """
    fit = facts["reason"].isna() | (facts["reason"] == Reason.OTHER_BAND)
    return _usual(facts["sample_rate_hz"].astype(np.float64), fit.to_numpy(), facts)


def _heard_to_hz(sample_rate_hz: pd.Series, spectrogram: SpectrogramSettings) -> pd.Series[float]:
    """Return the highest frequency that is in both a recording and its spectrogram."""
    upper_edge_hz = spectrogram.fmax_hz or spectrogram.sample_rate_hz / 2
    return (sample_rate_hz.astype(np.float64) / 2).clip(upper=upper_edge_hz)


def _unusual(values: pd.Series[float], fit: npt.NDArray[np.bool_], facts: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether each value is another than most of its machine have."""
    if values[fit].nunique() < 2:
        return np.zeros(len(values), dtype=bool)
    return (values.notna() & (values != _usual(values, fit, facts))).to_numpy(dtype=bool)


def _usual(values: pd.Series[float], fit: npt.NDArray[np.bool_], facts: pd.DataFrame) -> pd.Series[float]:
    """Return the most frequent value of each row's machine among those that are `fit`, of several the largest."""
    machine = facts.groupby(_machine(facts), dropna=False, sort=False).ngroup().to_numpy()
    table = pd.DataFrame({"machine": machine, "value": values.to_numpy(), "count": _weight(facts).to_numpy()})
    counts = table[fit].dropna().groupby(["machine", "value"])["count"].sum().round(6).reset_index()
    counts = counts.sort_values(["count", "value"])
    usual = counts.drop_duplicates("machine", keep="last").set_index("machine")["value"]
    return pd.Series(usual.reindex(machine).to_numpy(dtype=np.float64), index=values.index)


def _weight(facts: pd.DataFrame) -> pd.Series[float]:
    """How much each row counts among its machine's: the clips of a file as much as one recording."""
    return facts["share_of_file"].astype(np.float64).fillna(1.0) * _count(facts)


def _count(facts: pd.DataFrame) -> npt.NDArray[np.int64]:
    """How many recordings each row stands for."""
    n = facts.get("n")
    return np.ones(len(facts), np.int64) if n is None else n.to_numpy(np.int64)


def _is_clip(facts: pd.DataFrame) -> npt.NDArray[np.bool_]:
    return facts["share_of_file"].notna().to_numpy()


def _machine(facts: pd.DataFrame) -> list[pd.Series]:
    return [facts[column] for column in ("site", "machine_type", "machine_id")]
