"""What nights, backfills and retrainings came to, as tables of a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from humwatch.flows.summary import RunSummary
from humwatch.tasks.reports.night.fleet_view import STATES
from humwatch.tasks.words import counted

_MOST_MACHINES = 20
_COLOURS = {"alarm": "red", "attention": "yellow", "unhealthy_sensor": "magenta", "silent": "magenta"}


def night_table(summary: RunSummary) -> Table | str:
    """Return how many machines are in each state, and those that are not normal, the most urgent first."""
    counts = ", ".join(f"{n} {state_name(state)}" for state, n in summary.machines.items() if n)
    title = f"night of {summary.night}: {counts}"
    if not summary.not_normal:
        return title
    table = Table(title=title, title_justify="left", caption_justify="left")
    for heading in ("machine", "state", "since", "onset"):
        table.add_column(heading, no_wrap=heading != "machine")
    for heading in ("p-value", "of alarm"):
        table.add_column(heading, justify="right")
    table.add_column("why")
    for row in summary.not_normal[:_MOST_MACHINES]:
        state = state_name(row["state"]) + (" (new)" if row["new_alarm"] else "")
        table.add_row(
            escape(row["machine"]),
            f"[{_COLOURS.get(row['state'], 'dim')}]{state}[/]",
            row["alarm_since"] or "",
            row["onset"] or "",
            "" if row["p_value"] is None else f"{row['p_value']:.2g}",
            "" if row["of_alarm"] is None else f"{row['of_alarm']:.0%}",
            escape(row["reason"] or ""),
        )
    more = sum(summary.machines.values()) - summary.machines.get("normal", 0) - table.row_count
    if more:
        table.caption = f"and {more} more that are not normal: see the report, or machines.csv beside it"
    return table


def state_name(state: str) -> str:
    """Return what a state is called in a sentence."""
    return STATES.get(state, state).lower()


def backfill_table(nights: Sequence[Mapping[str, Any]]) -> Table:
    """Return one line a night: what a dry run would do, or what was done."""
    table = Table(title=counted(len(nights), "night"), title_justify="left")
    headings = {name: name.replace("_", " ") for night in nights for name in night}
    for name, heading in headings.items():
        table.add_column(heading, justify="left" if name in ("night", "run", "state") else "right")
    for night in nights:
        table.add_row(*("" if night.get(name) is None else escape(str(night[name])) for name in headings))
    return table


def retrain_table(summary: RunSummary) -> Table:
    """Return what the gate decided of each candidate and why, and the machines that got none."""
    table = Table(title="retrained models and their gate", title_justify="left")
    for heading in ("machine", "model", "decision", "why"):
        table.add_column(heading)
    for gate in summary.retrained:
        decision = "[green]accepted: current now[/]" if gate["accepted"] else "[yellow]refused: the old one stays[/]"
        model = f"{gate['detector']} on {gate['backbone']}"
        table.add_row(escape(gate["machine"]), escape(model), decision, escape(gate["reason"]))
    for row in summary.not_retrained:
        table.add_row(escape(row["machine"]), "", "no candidate", escape(row["reason"]))
    return table


def rollback_table(summary: RunSummary) -> Table:
    """Return of each machine whether its previous model is current again, and why not."""
    table = Table(title="models rolled back", title_justify="left")
    for heading in ("machine", "decision", "why"):
        table.add_column(heading)
    for machine in summary.rolled_back:
        table.add_row(escape(machine), "[green]previous model is current again[/]", "")
    for row in summary.not_rolled_back:
        table.add_row(escape(row["machine"]), "[yellow]unchanged[/]", escape(row["reason"]))
    return table
