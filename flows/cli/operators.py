"""Commands for the people who keep a lake: what state it is in, what they know of its machines, what can go."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from humwatch.flows.cli.answers import Answer, answer
from humwatch.flows.cli.console import live_progress, print_table
from humwatch.flows.cli.options import (
    AsJson,
    Assignments,
    Backbones,
    By,
    ConfigFile,
    LakeUri,
    Machines,
    MaybeLakeUri,
    Preset,
    ReadingOptions,
    SettingsOptions,
    Workers,
    absolute,
    login_name,
    shared_options,
)
from humwatch.flows.exit_status import DONE, FAILED
from humwatch.storage.errors import BadConfiguration
from humwatch.tasks.execution import progress

app = typer.Typer()
labels_app = typer.Typer(no_args_is_help=True, help="What is known of recordings and machines from elsewhere.")
app.add_typer(labels_app, name="labels")


@app.command("status")
@shared_options
def status_command(lake: LakeUri, options: ReadingOptions, machines: Machines = None) -> None:
    """Say for every machine what is there, what is missing, its current model and its last score."""

    def ask() -> Answer:
        from humwatch.flows.operations.status import machine_statuses, nights_status, open_existing, status_table
        from humwatch.tasks.plan.run import Run
        from humwatch.tasks.plan.scope import Scope

        run = Run(absolute(lake), options.settings(), Scope(machines=machines))
        open_existing(run.lake_uri)
        nights = nights_status(run)
        statuses = machine_statuses(run, nights.judged if nights else None)
        if not options.as_json:
            print_table(status_table(statuses))
            for said in nights.told() if nights else ():
                print_table(escape(said))
        told = {"nights": nights.as_json() if nights else None}
        return {**told, "machines": [status.as_json() for status in statuses]}, DONE

    answer("status", absolute(lake), ask, as_json=options.as_json)


@app.command("doctor")
def doctor_command(
    lake: MaybeLakeUri = None,
    preset: Preset = "default",
    config: ConfigFile = None,
    assignments: Assignments = None,
    backbone: Backbones = None,
    as_json: AsJson = False,
) -> None:
    """Check this installation, the settings and the lake; 0 when nothing failed."""

    def ask() -> Answer:
        from humwatch.flows.operations.doctor import doctor_table, examine

        settings = SettingsOptions(preset, config, assignments, backbone).settings()
        checks = examine(settings, absolute(lake) if lake else None)
        if not as_json:
            print_table(doctor_table(checks))
        failed = any(check.state == "fail" for check in checks)
        return {"checks": [asdict(check) for check in checks]}, FAILED if failed else DONE

    answer("doctor", absolute(lake) if lake else None, ask, as_json=as_json)


@app.command("prune")
@shared_options
def prune_command(
    lake: LakeUri,
    options: ReadingOptions,
    older_than: Annotated[int, typer.Option(min=0, help="Days for which reports and used models stand.")] = 30,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and delete nothing.")] = False,
) -> None:
    """Delete what these settings, the standing reports and the models in use do not need; while no run is at work."""

    def ask() -> Answer:
        from humwatch.flows.operations.prune import plan_pruning
        from humwatch.flows.operations.status import open_existing
        from humwatch.tasks.plan.run import Run

        run = Run(absolute(lake), options.settings())
        existing = open_existing(run.lake_uri)
        pruning = plan_pruning(run, older_than, datetime.now(UTC))
        if not dry_run:
            pruning.carry_out(existing)
        groups = pruning.groups()
        objects, size_bytes = sum(group.objects for group in groups), sum(group.bytes for group in groups)
        if not options.as_json:
            table = Table("path", "objects", "bytes", "why")
            for group in groups:
                table.add_row(escape(group.path), str(group.objects), f"{group.bytes:,}", group.why)
            done = "would be deleted" if dry_run else "deleted"
            print_table(table)
            print_table(f"{objects} objects, {size_bytes:,} bytes {done}")
        listed = [asdict(group) for group in groups]
        return {"dry_run": dry_run, "groups": listed, "objects": objects, "bytes": size_bytes}, DONE

    answer("prune", absolute(lake), ask, as_json=options.as_json)


@labels_app.command("import")
def labels_import(
    file: Annotated[str, typer.Argument(help="Maintenance log, CSV: a path or URI.")],
    lake: LakeUri,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Import a maintenance log: a label for recordings, or for machines and spans of time; or actions about alarms.

    Columns: recording_id, or file or path; or site, machine_type, machine_id, from, until (UTC times or dates); label
    (normal or abnormal); note. Or site, machine_type, machine_id, condition; action (ack, mute, note, repaired);
    night, until, text, by. With --json: path (of the table of labels), added, recordings, spans, changed, actions,
    errors.
    """
    where = absolute(file)

    def ask() -> Answer:
        from humwatch.flows.operations.status import open_existing
        from humwatch.tasks.plan.catalog import current_recordings
        from humwatch.tasks.plan.maintenance_log import import_labels

        existing = open_existing(absolute(lake))
        recordings = current_recordings(existing)[0]
        done = import_labels(existing, _read_text(where), where, recordings, by or login_name())
        if not as_json:
            state = "imported" if done.added else "was imported before: nothing added"
            counts = f"{done.recordings} recordings and {done.spans} spans; {done.changed} labels changed"
            counts += f"; {done.actions} actions added" if done.actions else ""
            print_table(f"{escape(where)} {state}: {counts}")
        return asdict(done), DONE

    answer("labels import", absolute(lake), ask, as_json=as_json)


@app.command("simulate")
def simulate_command(
    destination: Annotated[str, typer.Argument(help="Local folder for the archives; the truth goes to DEST-truth.")],
    machines: Annotated[int, typer.Option(help="Machines of all types.")],
    nights: Annotated[int, typer.Option(help="Nights.")],
    snr: Annotated[float, typer.Option(help="Machine over factory noise, dB.")],
    seed: Annotated[int, typer.Option(help="The same seed makes the same fleet.")],
    recordings_per_night: Annotated[int, typer.Option(help="Recordings of each machine and night.")] = 4,
    duration: Annotated[float, typer.Option(help="Length of a recording, s.")] = 4.0,
    fault_fraction: Annotated[float, typer.Option(help="Share of the machines that get a fault.")] = 0.2,
    fault_size: Annotated[float, typer.Option(help="Severity of a fault on the last night.")] = 0.25,
    first_night: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Unset: 2026-01-01.")] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            help="Write files in this layout instead of archives, such as "
            "'{machine_type}_{machine_id}/{recorded_at:%Y/%m/%d/%H%M%S}.wav'; {batch} and {index} are known, too."
        ),
    ] = None,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Write a synthetic fleet as archives of each night and type, or as files, and the truth beside them.

    With --json: archives, planned, sent, missing, truncated, silent, abnormal, faulty_machines, recordings_csv,
    machines_csv (the truth), errors.
    """

    def ask() -> Answer:
        from humwatch.flows.simulation import FleetPlan, simulate

        plan = FleetPlan(
            machines=machines,
            nights=nights,
            snr_db=snr,
            seed=seed,
            first_night=first_night.date() if first_night else FleetPlan.first_night,
            recordings_per_night=recordings_per_night,
            duration_s=duration,
            fault_fraction=fault_fraction,
            fault_size=fault_size,
        )
        recordings = plan.nights * plan.machines * plan.recordings_per_night
        total = recordings if layout else plan.nights * min(plan.machines, len(plan.types))
        done = 0

        def tell(_: object) -> None:
            nonlocal done
            done += 1
            progress.tell("simulate", done, total)

        with live_progress(quiet=as_json):
            fleet = simulate(plan, absolute(destination), workers, tell, layout)
        counts = {name: value for name, value in asdict(fleet).items() if isinstance(value, int)}
        truth = {"recordings_csv": str(fleet.recordings_csv), "machines_csv": str(fleet.machines_csv)}
        if not as_json:
            listed = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in counts.items())
            print_table(f"{len(fleet.archives)} archives; recordings: {listed}")
            sys.stdout.write(f"truth: {fleet.recordings_csv.parent}\n")
        return {"archives": len(fleet.archives), **counts, **truth}, DONE

    answer("simulate", None, ask, as_json=as_json)


def _read_text(uri: str) -> str:
    from humwatch.storage.filesystem import open_fs, source_errors

    fs, path = open_fs(uri)
    with source_errors(uri):
        data: bytes = fs.cat_file(path)
    try:
        return data.decode("utf-8-sig")  # spreadsheets begin with a mark
    except UnicodeDecodeError as error:
        raise BadConfiguration(f"{uri}: is not UTF-8 text; save it as CSV UTF-8") from error
