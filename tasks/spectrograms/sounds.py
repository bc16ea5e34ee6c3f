"""The sound of recordings, in the order of their rows: whole files in few requests, clips in one pass over a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from humwatch.storage.errors import HumwatchError
from humwatch.storage.reasons import Reason
from humwatch.storage.sources import Member, ReadProblem, open_members, read_members
from humwatch.tasks.execution.worker import count_bytes
from humwatch.tasks.ingest.recording_rows import member_of
from humwatch.tasks.settings import SpectrogramSettings
from humwatch.tasks.sound.cutting import Clip, decode_clips
from humwatch.tasks.sound.decode import Audio, decode, select_channel
from humwatch.tasks.sound.rejected import Rejected

Row = Mapping[str, Any]
Sound = Audio | Rejected

_READ_AHEAD_BYTES = 512 << 10
_READ_BY_RANGES = frozenset({"wav", "wave", "bwf", "rf64"})


def sounds_of(rows: Iterable[Row], max_member_bytes: int) -> Iterator[Sound]:
    """Yield the sound of every row, or why it cannot be had.

    Consecutive rows of one file, its clips and channels, are decoded together: no more of a long file than a clip is
    held, and no clip is decoded twice.

    Args:
        rows: of the recordings table, as Python values.
        max_member_bytes: a whole file that unpacks to more is refused.

    Raises:
        SourceForbidden, StorageUnavailable: no bytes can be read at all.
    """
    files = ((member, list(of_file)) for member, of_file in groupby(rows, key=member_of))
    for is_cut, group in groupby(files, key=lambda file: is_clip(file[1][0])):
        alike = list(group)
        if is_cut:
            for member, of_file in alike:
                yield from _clips(member, of_file)
            continue
        contents = read_members([member for member, _ in alike], max_member_bytes)
        for (_, of_file), (_, data) in zip(alike, contents, strict=True):
            sound = _decoded(data)
            yield from (sound for _ in of_file)


def is_clip(row: Row) -> bool:
    """Whether a row is a clip of its file."""
    return row["clip_start_s"] is not None


def heard(audio: Audio, channel: int | None, settings: SpectrogramSettings) -> Iterator[npt.NDArray[np.float32]]:
    """Yield what is heard of a row, float32 (frame,): its own channel, else what the settings say, with `all` each.

    Raises:
        Rejected: CHANNEL_MISSING.
    """
    if channel is not None:
        yield select_channel(audio, int(channel))
    elif settings.channel == "all":
        yield from (select_channel(audio, each) for each in range(audio.stored.shape[1]))
    else:
        yield select_channel(audio, 0 if settings.channel == "each" else settings.channel)


def goes_on(last: Row, first: Row) -> bool:
    """Whether the clips of two rows must be read in one pass: they are of one file that cannot be read by ranges."""
    same = is_clip(last) and is_clip(first) and last["path"] == first["path"]
    suffix = first["path"].rpartition(".")[2].lower()
    return same and (first["compression"] != "none" or suffix not in _READ_BY_RANGES)


def _decoded(data: bytes | ReadProblem) -> Sound:
    if isinstance(data, ReadProblem):
        return Rejected(data.reason, data.detail)
    count_bytes(len(data))
    try:
        return decode(data)
    except Rejected as rejected:
        return rejected


def _clips(member: Member, rows: Iterable[Row]) -> Iterator[Sound]:
    by_clip = [(clip, list(of_clip)) for clip, of_clip in groupby(rows, key=_clip_of)]
    told = 0
    for _, file in open_members([member], read_ahead_bytes=_READ_AHEAD_BYTES):
        if isinstance(file, ReadProblem):
            problem = Rejected(file.reason, file.detail)
            yield from (problem for _, of_clip in by_clip for _ in of_clip)
            return
        try:
            for sound in decode_clips(file, member.size_bytes, [clip for clip, _ in by_clip]):
                count_bytes(sound.stored.nbytes if isinstance(sound, Audio) else 0)
                yield from (sound for _ in by_clip[told][1])
                told += 1
        except HumwatchError:
            raise
        except Exception as error:  # noqa: BLE001 - one file that nobody foresaw costs its own rows
            broken = Rejected(Reason.CORRUPT, f"{type(error).__name__}: {error}")
            yield from (broken for _, of_clip in by_clip[told:] for _ in of_clip)


def _clip_of(row: Row) -> Clip:
    return Clip(row["clip_start_s"], row["clip_s"])
