"""What a person sees: live progress on a terminal, plain lines elsewhere, and the AUC table at the end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from humwatch.tasks.execution.progress import listening

if TYPE_CHECKING:
    import pandas as pd

ERRORS = Console(stderr=True)
"""Standard error: one console for bars and lines, so that a line is printed above the bars."""


@contextmanager
def live_progress(*, quiet: bool) -> Iterator[None]:
    """Show the progress of stages on standard error while the context lasts."""
    if quiet:
        yield
    elif ERRORS.is_terminal:
        with _bars(ERRORS):
            yield
    else:
        with listening(_plain_line):
            yield


def auc_table(auc: pd.DataFrame) -> Table:
    """Return the published AUC table for a terminal."""
    from humwatch.tasks.frames import rows_of

    table = Table(title="AUC by machine (higher is better, 0.5 is chance)", title_justify="left")
    for heading in ("machine", "domain", "backbone", "detector"):
        table.add_column(heading)
    for heading in ("train", "normal", "abnormal", "AUC", "interval", "pAUC", "loudness"):
        table.add_column(heading, justify="right")
    table.add_column("note")
    for row in rows_of(auc):
        interval = "" if row["auc_low"] is None else f"{row['auc_low']:.3f}-{row['auc_high']:.3f}"
        names = [row[name] for name in ("site", "machine_type", "machine_id", "condition") if row[name]]
        table.add_row(
            " ".join(names),
            *(str(row[name]) for name in ("domain", "backbone", "detector", "n_train", "n_normal", "n_abnormal")),
            _figure(row["auc"]),
            interval,
            _figure(row["pauc"]),
            _figure(row["rms_auc"]),
            row["reason"] or "",
        )
    return table


def print_table(table: Table | str) -> None:
    """Print a table on standard output, never wrapped to less than its contents when it is no terminal."""
    Console(width=None if sys.stdout.isatty() else 180).print(table)


@contextmanager
def _bars(console: Console) -> Iterator[None]:
    columns = (TextColumn("{task.description:<13}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bars: dict[str, TaskID] = {}

        def update(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=total)
            progress.update(bars[stage], completed=done, total=total)

        with listening(update):
            yield


def _plain_line(stage: str, done: int, total: int) -> None:
    print(f"{stage}: {done}/{total}", file=sys.stderr, flush=True)  # noqa: T201 - this is the console


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
