"""How an inspection is shown on a terminal: bounded, whatever the number of machines and nights."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from humwatch.storage.errors import HumwatchError
from humwatch.tasks.ingest.header_doubts import hz, span
from humwatch.tasks.ingest.inspection import NO_RULE, Inspection, MachineNights
from humwatch.tasks.plan.next_step import NextStep

_MOST_MACHINES = 20
_MOST_COLUMNS = 8
_MOST_KINDS = 6
_PLAIN_WIDTH = 180


def print_inspection(found: Inspection, errors: Sequence[tuple[str, HumwatchError]]) -> None:
    """Print an inspection on standard output, and what could not be read on standard error."""
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    for part in parts(found):
        console.print(part, soft_wrap=isinstance(part, Text))
    for _, error in errors:
        Console(stderr=True).print(f"error [{error.code}] {error}", style="red", markup=False, highlight=False)


def parts(found: Inspection) -> Iterator[RenderableType]:
    """Yield what is shown of an inspection, in order."""
    nights = found.nights
    yield Text(
        f"{_n(found.recordings, 'recording')} of {_n(len(found.machines), 'machine')}"
        + (f", {_period(nights)}" if nights else "")
    )
    if found.machines:
        yield _machines(found.machines, nights)
        yield _origins(found)
        yield Text(f"Labels: {_kinds(found.labels)}. Splits: {_kinds(found.splits)}.")
    if found.headers.looked_at:
        yield _headers(found)
    if found.rejected:
        yield _rejected(found)
    if found.ignored:
        yield Text(f"\nNot read: {_kinds({suffix or '(no suffix)': n for suffix, n in found.ignored.items()})}")
    yield from _doubts(found)
    if found.layout:
        yield Text("\nA layout that reads it with fewer doubts (look again with it)", style="bold")
        yield Text(f"    --set ingest.layout='{found.layout}'", style="green")
    yield from _uses(found)


def columns_of(nights: Sequence[str]) -> dict[str, str]:
    """Return for every night (or other batch) the heading of its column: itself, its month or its year.

    Years that are too many for a table are one column each side of an ellipsis.
    """
    for digits in (10, 7, 4):
        headings = {night: night[:digits] if _is_night(night) else night for night in nights}
        kinds = list(dict.fromkeys(headings.values()))
        if len(kinds) <= _MOST_COLUMNS:
            return headings
    last = set(kinds[-1:])
    first = set(kinds[: _MOST_COLUMNS - 2])
    return {night: kind if kind in first | last else "..." for night, kind in headings.items()}


def _machines(machines: Sequence[MachineNights], nights: Sequence[str]) -> RenderableType:
    headings = columns_of(nights)
    shown = [heading for heading in dict.fromkeys(headings.values()) if heading != "all" or len(nights) > 1]
    labels = ["normal", "abnormal"] if any(machine.normal or machine.abnormal for machine in machines) else []
    table = Table(title="Recordings by machine and night" if shown else "Recordings by machine", title_justify="left")
    table.add_column("machine", overflow="fold")
    for heading in ("recordings", *labels, *shown):
        table.add_column("no date" if heading == "all" else heading, justify="right")
    for machine in machines[:_MOST_MACHINES]:
        of_column: Counter[str] = Counter()
        for night, n in machine.nights.items():
            of_column[headings[night]] += n
        of_labels = [getattr(machine, label) for label in labels]
        numbers = [machine.recordings, *of_labels, *(of_column[heading] for heading in shown)]
        table.add_row(Text(machine.label), *(f"{n:,}" if n else "" for n in numbers))
    more = len(machines) - _MOST_MACHINES
    if more <= 0:
        return table
    rest = sum(machine.recordings for machine in machines[_MOST_MACHINES:])
    return Group(table, Text(f"and {_n(more, 'machine')} more with {_n(rest, 'recording')}: see --json"))


def _origins(found: Inspection) -> Table:
    table = Table(title="What names say, and where it was read", title_justify="left")
    for heading in ("fact", "read from"):
        table.add_column(heading)
    table.add_column("recordings", justify="right")
    table.add_column("such as", overflow="fold")
    table.add_column("in", overflow="fold")
    for one in found.origins:
        value = "" if one.rule == NO_RULE else one.value
        table.add_row(one.fact, one.rule, f"{one.recordings:,}", Text(value), Text(one.example))
    return table


def _headers(found: Inspection) -> Table:
    headers = found.headers
    table = Table(title="Headers", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("looked at", f"{headers.looked_at:,} of {found.recordings:,}, of {_n(headers.machines, 'machine')}")
    table.add_row("container, codec", f"{_kinds(headers.containers)}; {_kinds(headers.codecs)}")
    table.add_row("sample rate", _kinds({hz(rate): n for rate, n in headers.sample_rates_hz.items()}))
    table.add_row("channels", _kinds(headers.channels))
    if headers.median_s is not None and headers.shortest_s is not None and headers.longest_s is not None:
        middle = f", half of them up to {span(headers.median_s, headers.median_s)}"
        lengths = span(headers.shortest_s, headers.longest_s)
        table.add_row("length", lengths + (middle if headers.shortest_s < headers.longest_s else ""))
    if headers.times:
        table.add_row("time in file", ", ".join(f"{source} ({n:,})" for source, n in headers.times.items()))
    if headers.not_believed:
        table.add_row("not believed", Text(_kinds(headers.not_believed)))
    return table


def _rejected(found: Inspection) -> Table:
    table = Table("reason", title="Would be rejected", title_justify="left")
    table.add_column("recordings", justify="right")
    table.add_column("because", overflow="fold")
    table.add_column("such as", overflow="fold")
    for one in found.rejected:
        table.add_row(one.reason, f"{one.recordings:,}", one.explanation, Text(one.example))
    return table


def _doubts(found: Inspection) -> Iterator[RenderableType]:
    told_below = {use.missing.code for use in found.uses if use.missing}
    doubts = [doubt for doubt in found.doubts if doubt.code not in told_below]
    if doubts:
        yield Text("\nDoubtful", style="bold")
    elif found.recordings:
        yield Text("\nNothing is doubtful.")
    for doubt in doubts:
        yield Text.assemble((f"- {doubt.message} ", "yellow"), (f"[{doubt.code}]", "dim"))
        yield Text(f"    {doubt.advice}")


def _uses(found: Inspection) -> Iterator[RenderableType]:
    any_is_ready = any(use.missing is None for use in found.uses)
    if found.uses:
        yield Text("\nWhat it can be used for", style="bold")
    alike = {use.missing for use in found.uses}
    if len(alike) == 1 and found.uses[0].missing:
        yield from _not_yet(" and ".join(use.command for use in found.uses), found.uses[0].missing, advise=True)
        return
    for use in found.uses:
        if use.missing is None:
            yield Text.assemble((f"- {use.command}: ", ""), ("ready", "green"))
        else:
            yield from _not_yet(use.command, use.missing, advise=not any_is_ready)


def _not_yet(command: str, missing: NextStep, *, advise: bool) -> Iterator[RenderableType]:
    yield Text.assemble((f"- {command}: ", ""), (f"not yet: {missing.message}", "yellow"))
    if advise:
        yield Text(f"    {missing.advice}")


def _period(nights: Sequence[str]) -> str:
    dated = [night for night in nights if _is_night(night)]
    if not dated:
        return f"no nights (batches: {', '.join(nights[:_MOST_KINDS])}{', ...' if len(nights) > _MOST_KINDS else ''})"
    others = len(nights) - len(dated)
    period = dated[0] if len(dated) == 1 else f"{dated[0]} to {dated[-1]}"
    return f"{_n(len(dated), 'night')}: {period}" + (
        f"; and {_n(others, 'batch', 'batches')} without a date" if others else ""
    )


def _is_night(batch: str) -> bool:
    return len(batch) == len("2026-11-21") and batch[4] == batch[7] == "-" and batch.replace("-", "").isdigit()


def _kinds(counts: Mapping[Any, int]) -> str:
    """Return `WAV`, or `WAV 40, FLAC 2 and 3 more kinds`."""
    if len(counts) == 1:
        return str(next(iter(counts)))
    shown = ", ".join(f"{value} ({n:,})" for value, n in list(counts.items())[:_MOST_KINDS])
    more = len(counts) - _MOST_KINDS
    return shown + (f" and {_n(more, 'more kind')}" if more > 0 else "")


def _n(n: int, word: str, plural: str = "") -> str:
    return f"{n:,} {word if n == 1 else plural or word + 's'}"
