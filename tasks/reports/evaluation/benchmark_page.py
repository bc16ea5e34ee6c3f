"""The page and the files of a benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from humwatch.storage.lake import Lake
from humwatch.storage.naming import digest
from humwatch.storage.records import PublishedSummary
from humwatch.storage.reports import is_published, publish, set_latest
from humwatch.tasks.detectors.fit import versions
from humwatch.tasks.evaluation.benchmark_table import Column, models_table
from humwatch.tasks.evaluation.published import published_table
from humwatch.tasks.frames import rows_of
from humwatch.tasks.reports.assemble import files_of
from humwatch.tasks.reports.html import render_page
from humwatch.tasks.reports.report_index import index_page


def publish_benchmark(
    lake: Lake,
    name: str,
    columns: Sequence[Column],
    evaluation_ids: Sequence[str],
    counts: Mapping[str, Any],
    compare: Callable[[], pd.DataFrame],
) -> str:
    """Publish the tables of a grid side by side; return the URI of the page, of the standing one when nothing changed.

    Args:
        lake: Where.
        name: Of the benchmark.
        columns: Its models, in the order of the grid.
        evaluation_ids: Of those that ran.
        counts: listed, accepted, rejected, degraded of the sources.
        compare: Makes the table of paired comparisons; called only when there is something to publish.
    """
    reasons = [column.reason for column in columns if column.reason]
    report_id = f"benchmark-{name}-{digest({'ids': list(evaluation_ids), 'reasons': reasons, 'counts': counts}, 12)}"
    if is_published(lake, report_id):
        return set_latest(lake, report_id, index_page)
    auc = pd.concat(
        [column.auc.assign(preset=column.preset) for column in columns if column.auc is not None], ignore_index=True
    )
    tables = {
        "models": models_table(columns),
        "auc": auc,
        "published": published_table(auc[auc["preset"] == "paper"]),  # `default` may name a model of the paper, too
        "comparisons": compare(),
    }
    created_at = datetime.now(UTC).replace(microsecond=0)
    summary = {
        **counts,
        "report_id": report_id,
        "kind": "evaluation",
        "title": f"Benchmark {name}",
        "created_at": created_at.isoformat(),
    }
    page = render_page(
        "benchmark.html.j2",
        ("base.css",),
        title=summary["title"],
        created_at=created_at,
        models=rows_of(tables["models"]),
        published=rows_of(tables["published"]),
        compared=rows_of(_over_machines(tables["comparisons"])),
        counts=counts,
        versions=versions(),
    )
    files = {**files_of(tables), "index.html": page.encode()}
    return publish(lake, report_id, files.items(), PublishedSummary.model_validate(summary), index_page)


def _over_machines(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Rows over all machine types, of all recordings."""
    return comparisons[(comparisons["machine_type"] == "all") & (comparisons["domain"] == "all")]
