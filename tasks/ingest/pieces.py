"""Rows of long recordings and of several channels: a row for every clip, and for every channel that is a microphone.

The first clip (and channel 0, or the first that a manifest names) has the id of the whole recording, so that each
supersedes the other when settings, manifest or file change; all have the `file_key` of the whole, so that no file both
trains and tests.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import pandas as pd

from humwatch.storage.errors import HumwatchError
from humwatch.storage.lake import map_concurrently
from humwatch.storage.reasons import Reason
from humwatch.storage.sources import Member, ReadProblem, is_stream, open_members
from humwatch.tasks.frames import rows_of as frame_rows
from humwatch.tasks.ingest.file_times import time_in_wav
from humwatch.tasks.ingest.name_rules import NameRules
from humwatch.tasks.ingest.names import with_time_of_file
from humwatch.tasks.ingest.recording_rows import recording_id
from humwatch.tasks.plan.catalog import read_recordings
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.times import UTC_CLOCK, Clock
from humwatch.tasks.settings import IngestSettings, Settings
from humwatch.tasks.sound.cutting import Clip, clips_of
from humwatch.tasks.sound.header import SoundHeader, read_header

_log = logging.getLogger(__name__)

Row = dict[str, Any]

# Fewer bytes a second than nearly any recording has: a smaller file is not long. 4-bit ADPCM at 8 kHz; 8 kbit/s.
_FEWEST_BYTES_PER_S = dict.fromkeys(("mp3", "ogg", "oga", "opus"), 1_000)
_FEWEST_BYTES_PER_S_UNPACKED = 4_000
_READ_AHEAD_BYTES = 16 << 10
_MACHINE = ["site", "machine_type", "machine_id", "batch", "condition"]
_KNOWN = [
    "recording_id", "content_tag", "path", *_MACHINE, "channel", "named_channels", "clip_start_s", "clip_s", "file_s",
    "file_channels", "recorded_at", "duration_s", "channels",
]  # fmt: skip


@dataclass(frozen=True)
class Extent:
    """How long a file is, and how many channels it has."""

    duration_s: float
    channels: int


class KnownFiles(NamedTuple):
    """What the lake knows of files: rows of the recordings table, with `duration_s` and `channels` as decoded.

    `by_id` has the columns that say how they were cut, by recording_id.
    """

    rows: pd.DataFrame
    by_id: dict[str, Row]


def known_files(run: Run, recording_ids: Collection[str]) -> KnownFiles:
    """Return what the lake knows of the files of some recordings, those of their other channels included."""
    known = _known(run, recording_ids)
    others = {
        recording_id(row["path"], channel) for row in known.by_id.values() for channel in _channels_known(row)[1:]
    }
    if not (others := others - known.by_id.keys()):
        return known
    more = _known(run, others)
    return KnownFiles(pd.concat([known.rows, more.rows]), known.by_id | more.by_id)


def _known(run: Run, recording_ids: Collection[str]) -> KnownFiles:
    history = run.history_holding(frozenset(recording_ids))
    rows = history.rows[history.rows["recording_id"].isin(recording_ids)]
    known = read_recordings(run.lake, rows, history.parts.values()).join(rows[["duration_s", "channels"]])
    return KnownFiles(known, {row["recording_id"]: row for row in frame_rows(known[_KNOWN])})


def cut(
    rows: Sequence[Row], members: Sequence[Member], known: Mapping[str, Row], settings: Settings, rules: NameRules
) -> list[Row]:
    """Return the rows of files as rows of their pieces; of a file that had others before, also those gone.

    Headers are read of files that may be long, or all where every channel is a machine, and where names have no time
    and `ingest.times_in_files` asks for one; unless the lake knows them.

    Args:
        rows: as from `rows_of`.
        members: of one source, those of the rows.
        known: `KnownFiles.by_id`.
        settings: of ingest and spectrogram.
        rules: of names, for the clock.

    Raises:
        SourceForbidden, StorageUnavailable, SourceUnreadable: an archive or file cannot be accessed.
    """
    every_channel = settings.spectrogram.channel == "each"
    clock = rules.conventions.clock
    extents, times = _looked_into(rows, members, known, settings, clock)
    rows = [_timed(row, times.get(row["path"]), rules) for row in rows]
    refused = _with_other_channels(rows, extents) if every_channel else frozenset()
    found = []
    for path, of_file in groupby(rows, key=itemgetter("path")):
        first, *others = of_file
        pieces: list[Row] = []
        for row in (first, *others):
            if path in refused:
                pieces.append(row | {"reason": row["reason"] or str(Reason.OTHER_CHANNELS)})
                continue
            each_channel = every_channel and _names_no_channel(row)
            pieces += pieces_of(row, extents.get(path), settings.ingest, clock, each_channel=each_channel)
        found += [*pieces, *_gone(first, pieces, known)]
    return found


def _looked_into(
    rows: Sequence[Row], members: Sequence[Member], known: Mapping[str, Row], settings: Settings, clock: Clock
) -> tuple[dict[str, Extent], dict[str, datetime]]:
    """Return by path how long files are and what time stands in them, as far as `cut` must know and can."""
    every_channel = settings.spectrogram.channel == "each"
    member_at = {member.path: member for member in members}
    extents: dict[str, Extent] = {}
    times: dict[str, datetime] = {}
    unknown: dict[Member, None] = {}
    for row in rows:
        wants_time = settings.ingest.times_in_files and row["recorded_at"] is None and row["reason"] is None
        wants_extent = may_have_pieces(row, settings.ingest, each_channel=every_channel and _names_no_channel(row))
        before = known.get(row["recording_id"])
        same = before if before is not None and before["content_tag"] == row["content_tag"] else None
        extent = _known_extent(same) if same is not None else None
        recorded_at = same["recorded_at"] if same is not None else None
        if (wants_time and recorded_at is None) or (wants_extent and extent is None):
            unknown[member_at[row["path"]]] = None
            continue
        if wants_time and recorded_at is not None:
            times[row["path"]] = recorded_at
        if wants_extent and extent is not None:
            extents[row["path"]] = extent
    if settings.ingest.times_in_files:
        headers = read_headers([*unknown], with_chunks=True)
    else:
        headers = read_headers_of_one_of_a_kind([*unknown])
    for member, header in headers.items():
        extents[member.path] = Extent(header.duration_s, header.channels)
        found_time = time_in_wav(header.chunks, clock.zone)
        if found_time is not None:
            times[member.path] = found_time.recorded_at
    return extents, times


def may_have_pieces(row: Mapping[str, Any], ingest: IngestSettings, *, each_channel: bool) -> bool:
    """Whether a row's file must be looked into to know its pieces."""
    if row["reason"] not in (None, str(Reason.TOO_LARGE)):
        return False
    suffix = row["path"].rpartition(".")[2].lower()
    fewest = _FEWEST_BYTES_PER_S.get(suffix, _FEWEST_BYTES_PER_S_UNPACKED)
    return each_channel or bool(row["size_bytes"] > fewest * ingest.longest_s)


def read_headers(members: Sequence[Member], *, with_chunks: bool = False) -> dict[Member, SoundHeader]:
    """Return the headers of members; one that cannot be read has none: decoding will say why.

    Args:
        members: of any archives and files.
        with_chunks: see `humwatch.tasks.sound.header.read_header`.

    Raises:
        SourceForbidden, StorageUnavailable, SourceUnreadable: an archive or file cannot be accessed.
    """
    alone = [[member] for member in members if not is_stream(member.compression)]
    streams: dict[str, list[Member]] = {}
    for member in members:
        if is_stream(member.compression):
            streams.setdefault(member.source_uri, []).append(member)
    found = map_concurrently(partial(_headers_of, with_chunks=with_chunks), [*alone, *streams.values()])
    return {member: header for headers in found for member, header in headers}


def read_headers_of_one_of_a_kind(members: Sequence[Member]) -> dict[Member, SoundHeader]:
    """Return the headers of members; WAV files of one folder and one size are taken to have one header, bar times.

    So a request is made for every folder instead of every file of a data set.

    Raises:
        SourceForbidden, StorageUnavailable, SourceUnreadable: an archive or file cannot be accessed.
    """
    kinds: dict[object, list[Member]] = defaultdict(list)
    for member in members:
        folder, _, name = member.path.rpartition("/")
        is_wav = name.lower().endswith((".wav", ".wave"))
        kinds[folder, member.size_bytes if is_wav else name].append(member)
    firsts = read_headers([alike[0] for alike in kinds.values()])
    found = {member: firsts[alike[0]] for alike in kinds.values() if alike[0] in firsts for member in alike}
    # Where the first of a kind is damaged, the others may not be.
    return found | read_headers([member for alike in kinds.values() if alike[0] not in firsts for member in alike[1:]])


def pieces_of(
    row: Row, extent: Extent | None, ingest: IngestSettings, clock: Clock, *, each_channel: bool
) -> list[Row]:
    """Return the rows that a row of a file becomes: one, unless it is long or its channels are machines.

    Args:
        row: as from `rows_of`.
        extent: of its file; None: not looked into.
        ingest: what is long, and how it is cut.
        clock: for the nights of clips, where the file's is that of its time.
        each_channel: every channel is a machine.
    """
    if extent is None:
        return [row]
    clips: Sequence[Clip | None] = clips_of(extent.duration_s, ingest.longest_s, ingest.clip_s) or [None]
    channels: Sequence[int | None] = [row["channel"]]
    if each_channel:
        channels = range(extent.channels)
    if clips == [None] and channels == [row["channel"]]:
        return [row]
    reason = None if row["reason"] == Reason.TOO_LARGE and clips != [None] else row["reason"]
    whole = row | {"reason": reason, "file_s": extent.duration_s, "file_channels": extent.channels}
    return [_piece(whole, channel, clip, clock) for channel in channels for clip in clips]


def _names_no_channel(row: Row) -> bool:
    """Whether neither a manifest nor its name says which channel or microphone a row is of."""
    return row["facts"].channel is None


def _channels_known(first: Row) -> Sequence[int]:
    """Return the channels a file has rows for, by what the lake knows of the first; none where it is heard whole."""
    if first["named_channels"] is not None:
        return [int(channel) for channel in first["named_channels"].split(",")]
    if first["channel"] is not None and first["file_channels"] is not None:
        return range(int(first["file_channels"]))
    return []


def _timed(row: Row, recorded_at: datetime | None, rules: NameRules) -> Row:
    """Return a row with the time that stands in its file, where names have none."""
    if recorded_at is None or row["recorded_at"] is not None:
        return row
    facts = with_time_of_file(row["facts"], recorded_at, rules)
    return row | {"facts": facts, "recorded_at": facts.recorded_at, "batch": facts.batch}


def _known_extent(known: Row) -> Extent | None:
    """Return what the lake knows of a file: from its header, or from decoding it whole."""
    if known["file_s"] is not None:
        return Extent(known["file_s"], int(known["file_channels"]))
    if known["duration_s"] is not None:
        return Extent(known["duration_s"], int(known["channels"]))
    return None


def _with_other_channels(rows: Sequence[Row], extents: Mapping[str, Extent]) -> frozenset[str]:
    """Return the paths of files with another number of channels than most of their machine's files have.

    Where every channel is a machine of its own, such a file is none of them.
    """
    machines = {
        row["path"]: (row["site"], row["machine_type"], row["machine_id"])
        for row in rows
        if row["path"] in extents and _names_no_channel(row)
    }
    counts: dict[tuple[Any, ...], Counter[int]] = defaultdict(Counter)
    for path, machine in machines.items():
        counts[machine][extents[path].channels] += 1
    usual = {machine: counter.most_common(1)[0][0] for machine, counter in counts.items()}
    return frozenset(path for path, machine in machines.items() if extents[path].channels != usual[machine])


def _gone(row: Row, pieces: Sequence[Row], known: Mapping[str, Row]) -> list[Row]:
    """Return rows that supersede the pieces which a file had and has no more; `row` is the first of the file."""
    whole = known.get(row["recording_id"])
    if whole is None:
        return []
    clips: Sequence[Clip | None] = [None]
    if whole["clip_start_s"] is not None:
        clips = clips_of(whole["file_s"], 0, whole["clip_s"])
    had = [row, *(_channel_before(row, channel, known) for channel in _channels_known(whole)[1:])]
    before = [_piece(one, one["channel"], clip, UTC_CLOCK) for one in had for clip in clips]
    here = {piece["recording_id"] for piece in pieces}
    return [piece | {"reason": str(Reason.SOURCE_GONE)} for piece in before if piece["recording_id"] not in here]


def _channel_before(row: Row, channel: int, known: Mapping[str, Row]) -> Row:
    """Return the row of a channel that a file had a row for, as one of the machine that it was of."""
    before = known.get(recording_id(row["path"], channel), row)
    return row | {name: before[name] for name in _MACHINE} | {"channel": channel, "id_channel": channel}


def _headers_of(members: Sequence[Member], *, with_chunks: bool) -> list[tuple[Member, SoundHeader]]:
    found = []
    # What is too large to be read whole may be cut.
    asked = {replace(one, problem=None) if one.problem is Reason.TOO_LARGE else one: one for one in members}
    for member, file in open_members(list(asked), read_ahead_bytes=_READ_AHEAD_BYTES):
        if isinstance(file, ReadProblem):
            continue
        try:
            found.append((asked[member], read_header(file, member.size_bytes, with_chunks=with_chunks)))
        except HumwatchError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a decoder raises; decoding gives it a reason
            _log.debug("no header of %s: %s", member.path, error)
    return found


def _piece(row: Row, channel: int | None, clip: Clip | None, clock: Clock) -> Row:
    is_of_each = channel is not None and row["channel"] is None  # else a manifest says whose channel it is
    id_channel = channel if is_of_each else row["id_channel"]
    start_s = 0.0 if clip is None else clip.start_s
    piece = row | {"recording_id": recording_id(row["path"], id_channel, start_s), "channel": channel}
    if is_of_each:
        piece["machine_id"] = f"{row['machine_id']}-ch{channel}"
    if clip is not None:
        piece |= {"clip_start_s": clip.start_s, "clip_s": clip.length_s}
        if row["recorded_at"] is not None:
            piece["recorded_at"] = row["recorded_at"] + timedelta(seconds=clip.start_s)
            if _night_is_of_time(row, clock):
                piece["batch"] = clock.night_of(piece["recorded_at"])
    return piece


def _night_is_of_time(row: Row, clock: Clock) -> bool:
    """Whether a row's batch is the night of its time, and not a folder's date."""
    origins = row["facts"].origins
    is_night_of_time: bool = row["batch"] == clock.night_of(row["recorded_at"])
    return is_night_of_time and origins["batch"] == origins["recorded_at"]
