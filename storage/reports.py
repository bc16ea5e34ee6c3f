"""Published reports: a folder each, seen whole or not at all, and the pages that lead to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from humwatch.storage.errors import SourceNotFound
from humwatch.storage.lake import Lake, map_concurrently
from humwatch.storage.records import Latest, PublishedSummary, read_record

# Files of a report that are written at once: they are held until they are there.
_WRITTEN_AT_ONCE = 16


def is_published(lake: Lake, report_id: str) -> bool:
    """Whether a report is whole: its summary is written last."""
    return lake.exists(_path(report_id, "summary.json"))


def publish(
    lake: Lake,
    report_id: str,
    files: Iterable[tuple[str, bytes]],
    summary: PublishedSummary,
    index_page: Callable[[Sequence[PublishedSummary]], str],
) -> str:
    """Publish a report and return the URI of its page.

    Nothing leads to a report before all its files are there: they are written first, some at once as `files` yields
    them (name, bytes), then `summary.json`, then the index of all reports (`index_page` of their summaries, newest
    first), then `latest.json`.
    """
    waiting = iter(files)
    while some := list(islice(waiting, _WRITTEN_AT_ONCE)):
        map_concurrently(lambda file: lake.write(_path(report_id, file[0]), file[1]), some)
    lake.write(_path(report_id, "summary.json"), summary.encode())
    return set_latest(lake, report_id, index_page)


def set_latest(lake: Lake, report_id: str, index_page: Callable[[Sequence[PublishedSummary]], str]) -> str:
    """Let the index of all reports, then `latest.json`, lead to a published report; return the URI of its page."""
    latest = Latest(report_id=report_id, index=_path(report_id, "index.html"))
    if not _is_indexed(lake, report_id):
        found = map_concurrently(lambda name: _summary_of(lake, name), lake.folders("reports"))
        summaries = [summary for summary in found if summary is not None]
        newest_first = sorted(summaries, key=lambda item: (item.created_at, item.report_id), reverse=True)
        lake.write("reports/index.html", index_page(newest_first).encode())
    if latest != read_latest(lake):
        lake.write("reports/latest.json", latest.encode())
    return lake.uri_of(_path(report_id, "index.html"))


def read_latest(lake: Lake) -> Latest | None:
    """Return what `latest.json` names, None before the first report."""
    try:
        return read_record(lake, "reports/latest.json", Latest)
    except SourceNotFound:
        return None


def read_summary(lake: Lake, report_id: str) -> PublishedSummary:
    """Return a published report's summary."""
    return read_record(lake, _path(report_id, "summary.json"), PublishedSummary)


def _summary_of(lake: Lake, report_id: str) -> PublishedSummary | None:
    """Return a report's summary, None where it is not published."""
    try:
        return read_summary(lake, report_id)
    except SourceNotFound:
        return None


def _is_indexed(lake: Lake, report_id: str) -> bool:
    try:
        return report_id.encode() in lake.read("reports/index.html")
    except SourceNotFound:
        return False


def _path(report_id: str, name: str) -> str:
    return f"reports/{report_id}/{name}"
