"""The page that leads to every report."""

from __future__ import annotations

from collections.abc import Sequence

from humwatch.storage.records import PublishedSummary
from humwatch.tasks.reports.html import render_page


def index_page(summaries: Sequence[PublishedSummary]) -> str:
    """Return the page that lists published nights and evaluations, in the order of their summaries."""
    return render_page("index.html.j2", ("base.css",), summaries=summaries)
