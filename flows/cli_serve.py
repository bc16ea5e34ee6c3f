"""The command that stays: a fleet served by one machine, night after night."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli_common import (
    Assignments,
    Backbones,
    ConfigFile,
    Detectors,
    Device,
    LakeUri,
    Preset,
    Sources,
    Workers,
    absolute,
    flags_of,
    stop,
)
from flows.serve import cron_schedule, serve_fleet
from flows.settings import load, overrides
from flows.summary import BAD_USAGE
from storage.errors import BadConfiguration, HumwatchError

app = typer.Typer()


@app.command("serve")
def serve_command(
    sources: Sources,
    lake: LakeUri,
    cron: Annotated[str, typer.Option(help="When a night is due.")] = "0 2 * * *",
    time_zone: Annotated[str, typer.Option(help="Time zone of --cron, such as Europe/Berlin.")] = "UTC",
    name: Annotated[str, typer.Option(help="Of the deployments: nightly/NAME and so on.")] = "serve",
    port: Annotated[int, typer.Option(help="Of the Prefect server started here unless PREFECT_API_URL is set.")] = 4200,
    preset: Preset = "default",
    config: ConfigFile = None,
    assignments: Assignments = None,
    backbone: Backbones = None,
    detector: Detectors = None,
    workers: Workers = None,
    device: Device = None,
) -> None:
    """Run every night by itself on this machine, and what is asked for in Prefect's UI, until interrupted."""
    try:
        settings = overrides(config, flags_of(backbone, detector, workers, device), assignments or ())
        load(preset, None, settings)
        schedule = cron_schedule(cron, time_zone)
    except BadConfiguration as error:
        stop(str(error), BAD_USAGE)
    try:
        serve_fleet(name, absolute(lake), [absolute(source) for source in sources], schedule, preset, settings, port)
    except HumwatchError as error:
        stop(str(error))
