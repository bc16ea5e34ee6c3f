"""Reading members: neighbours in an archive come in one ranged request, each is unpacked and checked on its own.

Files that are no members of an archive are fetched many at once from a store that is far, while the first of them are
worked on: each is a request.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from tarfile import BLOCKSIZE

from fsspec import AbstractFileSystem

from humwatch.storage.errors import SourceNotFound, SourceUnreadable
from humwatch.storage.filesystem import is_local, open_fs, source_errors
from humwatch.storage.lake import fetch_ahead
from humwatch.storage.reasons import EXPLANATIONS, Reason
from humwatch.storage.sources.listing import list_again
from humwatch.storage.sources.member import Member, ReadProblem, archive_suffix, is_stream
from humwatch.storage.sources.tar_archive import names_tar_member, stream_tar, unsparse
from humwatch.storage.sources.zip_archive import checked, names_zip_member, unzip

MAX_READ_BYTES = 64 << 20
"""Members are fetched in groups of this many bytes at most, so this bounds one request; a larger member comes alone."""

MAX_GAP_FRACTION = 0.05
SMALL_GAP_BYTES = 4 << 10
"""A request runs on over bytes nobody asked for if there are few (tar headers), or if all such bytes in it stay below
5 % of the wanted ones."""

MOVED_AWAY = "the archive is another by now, without these bytes under its name"

_STREAMING_BLOCK_BYTES = 8 << 20


@dataclass
class _Span:
    """One ranged request: [start, end) and the members in it."""

    start: int
    end: int
    members: list[Member] = field(default_factory=list)
    gap_bytes: int = 0


def read_members(members: Sequence[Member], max_member_bytes: int) -> Iterator[tuple[Member, bytes | ReadProblem]]:
    """Yield every member with its unpacked bytes, in the order given.

    Best given in the order of a listing: consecutive members of one archive are fetched together, and so are
    consecutive files. Members of a compressed tar cost one pass from the archive's start to the last of them, in each
    call. At most `MAX_READ_BYTES` of packed bytes are held at a time, or one larger member; for a compressed tar also
    what comes before its turn.

    A member that cannot be read gives a `ReadProblem` and the others go on; so does each of a file that is gone.

    Raises:
        SourceForbidden, StorageUnavailable: an archive or file cannot be accessed.
        SourceUnreadable: a server serves no byte ranges.
        PackageMissing: a member is packed in a way that takes an extra.
    """
    for _, run in groupby(members, key=_fetched_with):
        for readable, same in groupby(run, key=lambda member: member.problem is None):
            group = list(same)
            if not readable:
                yield from ((member, listed_problem(member)) for member in group)
                continue
            if group[0].byte_start is None and not is_stream(group[0].compression):
                for batch in _batches(group):
                    yield from _read_files(batch, max_member_bytes)
                continue
            batches = [group] if is_stream(group[0].compression) else _batches(group)
            for batch in batches:
                yield from _while_there(batch, max_member_bytes)


def _fetched_with(member: Member) -> tuple[str, bool]:
    """Return what members that are fetched together have in common: their archive, or that they are in none."""
    streamed = is_stream(member.compression)
    return "" if member.byte_start is None and not streamed else member.source_uri, streamed


def _while_there(batch: list[Member], max_member_bytes: int) -> Iterator[tuple[Member, bytes | ReadProblem]]:
    read = 0
    try:
        stream = is_stream(batch[0].compression)
        for pair in _stream(batch) if stream else _read_batch(batch, max_member_bytes):
            read += 1
            yield pair
    except SourceNotFound as error:
        gone = ReadProblem(Reason.SOURCE_GONE, str(error))
        yield from ((member, gone) for member in batch[read:])


def listed_problem(member: Member) -> ReadProblem:
    reason = member.problem or Reason.CORRUPT
    return ReadProblem(reason, EXPLANATIONS[reason])


def _stream(members: Sequence[Member]) -> Iterator[tuple[Member, bytes | ReadProblem]]:
    uri = members[0].source_uri
    fs, path = open_fs(uri)
    with source_errors(uri), fs.open(path, "rb", block_size=_STREAMING_BLOCK_BYTES) as file:
        yield from stream_tar(file, members)


def _batches(members: Sequence[Member]) -> Iterator[list[Member]]:
    batch: list[Member] = []
    total = 0
    for member in members:
        needed = _fetched_bytes(member)
        if batch and total + needed > MAX_READ_BYTES:
            yield batch
            batch, total = [], 0
        batch.append(member)
        total += needed
    if batch:
        yield batch


def _read_batch(members: Sequence[Member], max_member_bytes: int) -> Iterator[tuple[Member, bytes | ReadProblem]]:
    uri = members[0].source_uri
    fs, path = open_fs(uri)
    pieces = _fetch_all(fs, path, uri, members)
    unseen = [member for member in members if not is_named(pieces[member], member)]
    places = places_now(unseen, max_member_bytes) if unseen else {}
    moved = {
        member: place for member, place in places.items() if place is not None and range_of(place) != range_of(member)
    }
    pieces |= {member: _fetch_all(fs, path, uri, [place])[place] for member, place in moved.items()}
    for member in members:
        place = places.get(member, member)
        if place is None:
            yield (
                member,
                ReadProblem(Reason.SOURCE_GONE, MOVED_AWAY),
            )
        else:
            yield member, _unpack(pieces[member], place, max_member_bytes)


def is_named(data: memoryview, member: Member) -> bool:
    """Whether the bytes at a member's place are seen to be that member: places hold for one version of an archive."""
    return (names_tar_member if in_tar(member) else names_zip_member)(data, member)


def places_now(unseen: Sequence[Member], max_member_bytes: int) -> dict[Member, Member | None]:
    """Return where members lie in the archive as it is now, None for one that it does not hold with the same bytes.

    An archive that cannot be listed is damaged rather than replaced: nothing is said of it, and each member's bytes
    are judged where they were.
    """
    extensions = frozenset(member.member.rpartition(".")[2].lower() for member in unseen)
    try:
        now = list_again(unseen[0].source_uri, extensions, max_member_bytes)
    except SourceUnreadable:
        return {}
    places = {member: now.get(member.member) for member in unseen}
    return {
        member: place if place is not None and place.holds(member.content_tag) else None
        for member, place in places.items()
    }


def _spans(members: Sequence[Member]) -> list[_Span]:
    """Return as few requests as the gap limits allow, in the order of the file."""
    spans: list[_Span] = []
    for member in sorted(set(members), key=attrgetter("byte_start", "byte_end")):
        start, end = range_of(member)
        if spans:
            span = spans[-1]
            gap_bytes = max(0, start - span.end)
            wanted_bytes = max(span.end, end) - span.start - span.gap_bytes - gap_bytes
            if gap_bytes <= SMALL_GAP_BYTES or span.gap_bytes + gap_bytes <= MAX_GAP_FRACTION * wanted_bytes:
                span.members.append(member)
                span.end = max(span.end, end)
                span.gap_bytes += gap_bytes
                continue
        spans.append(_Span(start, end, [member]))
    return spans


def _fetch_all(fs: AbstractFileSystem, path: str, uri: str, members: Sequence[Member]) -> dict[Member, memoryview]:
    pieces: dict[Member, memoryview] = {}
    for span in _spans(members):
        pieces.update(_fetch(fs, path, uri, span))
    return pieces


def _fetch(fs: AbstractFileSystem, path: str, uri: str, span: _Span) -> dict[Member, memoryview]:
    with source_errors(uri):
        data = fs.cat_file(path, start=span.start, end=span.end)
    if len(data) > span.end - span.start:
        raise SourceUnreadable(f"{uri}: the server serves no byte ranges; download it first")
    pieces = {}
    for member in span.members:
        start, end = range_of(member)
        pieces[member] = memoryview(data)[start - span.start : end - span.start]
    return pieces


def _unpack(data: memoryview, member: Member, max_member_bytes: int) -> bytes | ReadProblem:
    if member.compression == "sparse":
        return unsparse(data, member)
    if in_tar(member):
        return checked(bytes(data[BLOCKSIZE:]), member)
    return unzip(data, member, max_member_bytes)


def _read_files(members: Sequence[Member], max_member_bytes: int) -> Iterator[tuple[Member, bytes | ReadProblem]]:
    """Yield files that are in no archive: one after the other from a disk, where nothing is gained by holding more."""
    if is_local(open_fs(members[0].source_uri)[0]):
        yield from ((member, _read_file(member, max_member_bytes)) for member in members)
        return
    yield from zip(members, fetch_ahead(lambda one: _read_file(one, max_member_bytes), members), strict=True)


def _read_file(member: Member, max_member_bytes: int) -> bytes | ReadProblem:
    fs, path = open_fs(member.source_uri)
    try:
        with source_errors(member.source_uri):
            data: bytes = fs.cat_file(path)
    except SourceNotFound as error:
        return ReadProblem(Reason.SOURCE_GONE, str(error))
    if len(data) > max_member_bytes:
        return ReadProblem(Reason.TOO_LARGE, f"has {len(data)} bytes by now")
    return checked(data, member)


def range_of(member: Member) -> tuple[int, int]:
    """Return what to fetch of an archive: of a tar also the header block before the data, which names the member."""
    start, end = member.byte_start or 0, member.byte_end or 0
    return (start - BLOCKSIZE if in_tar(member) and member.compression == "none" else start), end


def in_tar(member: Member) -> bool:
    return archive_suffix(member.source_uri.partition("?")[0]).lower() == ".tar"


def _fetched_bytes(member: Member) -> int:
    start, end = range_of(member)
    return end - start if end else member.size_bytes
