"""Commands for the people who look after alarms: what they did about a machine, kept in the lake with who and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from humwatch.flows.cli.answers import Answer, answer
from humwatch.flows.cli.console import print_table
from humwatch.flows.cli.options import AsJson, By, LakeUri, Machines, absolute, login_name
from humwatch.flows.exit_status import DONE
from humwatch.storage.errors import BadConfiguration

if TYPE_CHECKING:
    from humwatch.storage.lake import Lake
    from humwatch.tasks.plan.actions import Action, Actions

app = typer.Typer()
alarms_app = typer.Typer(
    no_args_is_help=True,
    help="What people did about alarms: acknowledged, muted, noted, repaired. It counts from the next run on.",
)
app.add_typer(alarms_app, name="alarms")

Name = Annotated[
    str, typer.Argument(metavar="MACHINE", help="TYPE/ID (SITE/TYPE/ID), with /CONDITION where it has several.")
]
OfNight = Annotated[str | None, typer.Option("--night", help="A date; unset: the newest night.")]
FirstNight = Annotated[str | None, typer.Option("--night", help="The first night after the repair, a date.")]
Until = Annotated[str | None, typer.Option("--until", help="The last night that is muted, a date.")]
Text = Annotated[str | None, typer.Option("--text", help="Why, or what was seen.")]


@alarms_app.command("ack")
def ack(
    machine: Name, lake: LakeUri, night: OfNight = None, text: Text = None, by: By = None, as_json: AsJson = False
) -> None:
    """Acknowledge the alarm of a machine: it stands, after those nobody has looked at; the next one is new again.

    With --json: added, action (its row), errors.
    """
    _say(lake, "ack", machine, by, night, None, text, as_json=as_json)


@alarms_app.command("mute")
def mute(
    machine: Name,
    lake: LakeUri,
    until: Until = None,
    night: OfNight = None,
    text: Text = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Let nobody be told of alarms of a machine through a night; it is judged all the same, and shown as muted.

    With --json: added, action (its row), errors.
    """
    _say(lake, "mute", machine, by, night, until, text, as_json=as_json)


@alarms_app.command("note")
def note(
    machine: Name, lake: LakeUri, text: Text = None, night: OfNight = None, by: By = None, as_json: AsJson = False
) -> None:
    """Put a note on the page of a machine.

    With --json: added, action (its row), errors.
    """
    _say(lake, "note", machine, by, night, None, text, as_json=as_json)


@alarms_app.command("repaired")
def repaired(
    machine: Name, lake: LakeUri, night: FirstNight = None, text: Text = None, by: By = None, as_json: AsJson = False
) -> None:
    """Say that a machine was repaired: its alarm ends, evidence and reference begin anew from that night on.

    With --json: added, action (its row), errors.
    """
    _say(lake, "repaired", machine, by, night, None, text, as_json=as_json)


@alarms_app.command("undo")
def undo(
    action: Annotated[str, typer.Argument(metavar="ID", help="Of an action, as it was told and `list` has it.")],
    lake: LakeUri,
    text: Text = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Withdraw an action, by a further row.

    With --json: added, action (the row of the undo), errors.
    """

    def of(existing: Lake) -> tuple[Action, Actions]:
        from humwatch.tasks.plan.actions import Actions
        from humwatch.tasks.plan.new_actions import withdrawing

        actions = Actions.read(existing)
        return withdrawing(action, by or login_name(), text, actions), actions

    _keep("alarms undo", lake, of, as_json=as_json)


@alarms_app.command("list")
def list_command(lake: LakeUri, machines: Machines = None, as_json: AsJson = False) -> None:
    """List what was done about alarms, oldest first.

    With --json: actions (rows, with withdrawn_by), errors.
    """

    def ask() -> Answer:
        from humwatch.flows.operations.status import open_existing
        from humwatch.tasks.plan.actions import Actions

        actions = Actions.read(open_existing(absolute(lake)))
        rows = []
        for action in actions.about(machines):
            withdrawal = actions.withdrawn.get(action.action_id)
            rows.append({**_as_row(action), "withdrawn_by": withdrawal.by if withdrawal else None})
        if not as_json:
            columns = ("at", "by", "machine", "action", "night", "until", "text", "action_id", "withdrawn_by")
            table = Table(*columns)
            for row in rows:
                table.add_row(*(escape(str(row[name] or "")) for name in columns))
            print_table(table)
        return {"actions": rows}, DONE

    answer("alarms list", absolute(lake), ask, as_json=as_json)


def _say(
    lake: str,
    action: str,
    machine: str,
    by: str | None,
    night: str | None,
    until: str | None,
    text: str | None,
    *,
    as_json: bool,
) -> None:
    def of(existing: Lake) -> tuple[Action, Actions]:
        from humwatch.tasks.plan.catalog import current_recordings
        from humwatch.tasks.plan.new_actions import Plant, Said, checked

        said = Said(action, machine, by or login_name(), night, until, text)
        plant = Plant(existing, current_recordings(existing)[0])
        try:
            return checked(said, plant), plant.actions
        except ValueError as error:
            raise BadConfiguration(str(error)) from error

    _keep(f"alarms {action}", lake, of, as_json=as_json)


def _keep(command: str, lake: str, action_of: Callable[[Lake], tuple[Action, Actions]], *, as_json: bool) -> None:
    def ask() -> Answer:
        from humwatch.flows.operations.status import open_existing
        from humwatch.tasks.plan.new_actions import keep

        existing = open_existing(absolute(lake))
        action, actions = action_of(existing)
        added = bool(keep(existing, [action], actions))
        if not as_json:
            until = f" until {action.until}" if action.until else ""
            state = "; it counts from the next run on" if added else " was kept before: nothing added"
            told = f"{action.machine.label}: {action.action} of {action.night}{until} by {action.by}"
            print_table(escape(f"{told}, {action.action_id}{state}"))
        return {"added": added, "action": _as_row(action)}, DONE

    answer(command, absolute(lake), ask, as_json=as_json)


def _as_row(action: Action) -> dict[str, Any]:
    """Return an action as JSON values, its machine by label."""
    return {**vars(action), "machine": action.machine.label, "at": action.at.isoformat(timespec="seconds")}
