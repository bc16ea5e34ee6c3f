"""The command that stays: a fleet served by one machine, night after night."""

from __future__ import annotations

from typing import Annotated

import typer

from humwatch.flows.cli.answers import stop
from humwatch.flows.cli.options import LakeUri, Sources, WorkerOptions, absolute, absolute_all, shared_options
from humwatch.flows.exit_status import BAD_USAGE
from humwatch.flows.presets import load
from humwatch.storage.errors import BadConfiguration, HumwatchError

app = typer.Typer()


@app.command("serve")
@shared_options
def serve_command(
    sources: Sources,
    lake: LakeUri,
    options: WorkerOptions,
    cron: Annotated[str, typer.Option(help="When a night is due.")] = "0 2 * * *",
    time_zone: Annotated[
        str | None, typer.Option(help="Time zone of --cron, such as Europe/Berlin; unset: ingest.time_zone.")
    ] = None,
    name: Annotated[str, typer.Option(help="Of the deployments: nightly/NAME and so on.")] = "serve",
    port: Annotated[int, typer.Option(help="Of the Prefect server started here unless PREFECT_API_URL is set.")] = 4200,
) -> None:
    """Run every night by itself on this machine, and what is asked for in Prefect's UI, until interrupted."""
    from humwatch.flows.serving import cron_schedule, serve_fleet

    try:
        settings = options.overrides()
        ingest = load(options.preset, None, settings).ingest
        schedule = cron_schedule(cron, ingest.time_zone if time_zone is None else time_zone)
    except BadConfiguration as error:
        stop(str(error), BAD_USAGE)
    try:
        serve_fleet(name, absolute(lake), absolute_all(sources), schedule, options.preset, settings, port)
    except HumwatchError as error:
        stop(str(error))
