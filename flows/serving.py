"""One machine without cluster, work pool or container: the deployments and the process that runs them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import prefect
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import Flow
from prefect.schedules import Cron, Schedule
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_LOGGING_LEVEL,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    temporary_settings,
)
from prefect.types.entrypoint import EntrypointType

from humwatch.flows.backfill import backfill
from humwatch.flows.nightly import nightly
from humwatch.flows.presets import PresetName
from humwatch.flows.train import evaluate, ingest, train
from humwatch.storage.errors import BadConfiguration, StorageUnavailable

HOST = "127.0.0.1"
# A backfill waits for its nights, so it must not be the only one that runs.
_RUNS = 2
# A server that is killed in the middle of a run must find the run's place under its concurrency limit again.
_LEASES = "prefect.server.concurrency.lease_storage.filesystem"


def serve_fleet(
    name: str,
    lake: str,
    sources: Sequence[str],
    schedule: Schedule,
    preset: PresetName,
    settings: dict[str, dict[str, Any]],
    port: int,
) -> None:
    """Create the deployments and run what is scheduled or asked for until interrupted.

    Args:
        name: of the deployments (`nightly/NAME`, ...); another name for another lake on the same Prefect server.
        lake: root URI.
        sources: archives or folders to look into every night.
        schedule: when a night is due.
        preset: base settings of the runs.
        settings: settings by section, above the preset.
        port: of the Prefect server that is started here when no PREFECT_API_URL names one.

    Raises:
        StorageUnavailable: the Prefect server did not start.
    """
    given = {"lake": lake, "preset": preset, "settings": settings}
    with prefect_api(port) as url, temporary_settings({PREFECT_API_URL: url, PREFECT_LOGGING_LEVEL: "INFO"}):
        prefect.serve(*deployments(name, given, list(sources), schedule), limit=_RUNS)


def deployments(name: str, given: dict[str, Any], sources: list[str], schedule: Schedule) -> Iterator[RunnerDeployment]:
    """Yield a deployment of every flow of a fleet, `nightly` on its schedule; of each at most one run at a time."""
    looking = {**given, "sources": sources}
    through = {**looking, "deployment": f"nightly/{name}"}
    flows: list[tuple[Flow[..., Any], dict[str, Any], Schedule | None]] = [
        (nightly, {**looking, "by_clock": True}, schedule),
        (ingest, looking, None),
        (backfill, through, None),
        (train, given, None),
        (evaluate, given, None),
    ]
    for flow, parameters, when in flows:
        deployment = flow.to_deployment(
            name,
            schedule=when,
            paused=False,  # Prefect pauses them when serving ends
            parameters=parameters,
            concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
            entrypoint_type=EntrypointType.MODULE_PATH,  # runs begin in folders of their own
        )
        yield cast(RunnerDeployment, deployment)  # no coroutine: nothing is async here


def cron_schedule(cron: str, time_zone: str) -> Schedule:
    """Return a schedule.

    Raises:
        BadConfiguration: no cron expression, or no such time zone.
    """
    try:
        zone = ZoneInfo(time_zone).key
    except (ValueError, ZoneInfoNotFoundError) as error:
        raise BadConfiguration(f"no time zone {time_zone!r}: names are such as Europe/Berlin") from error
    try:
        return Cron(cron, timezone=zone)
    except ValueError as error:
        raise BadConfiguration(f"{cron!r} is no cron expression such as '0 2 * * *'") from error


@contextmanager
def prefect_api(port: int) -> Iterator[str]:
    """Yield the URL of Prefect's API: the one configured, or of a server that runs while the context lasts.

    The embedded server of single commands would not do: it creates no scheduled runs.

    Raises:
        StorageUnavailable: the server did not start.
    """
    configured = PREFECT_API_URL.value()
    if configured:
        yield configured
        return
    url = f"http://{HOST}:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    environment = {**os.environ, "PREFECT_UI_API_URL": url, "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": _LEASES}
    # In a session of its own, so that Ctrl-C reaches the runs first and the server last.
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 - our own interpreter
    try:
        _wait_for(url, server)
        yield url
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=1):  # noqa: S310 - our own http address
                return
        except OSError:
            time.sleep(0.2)
    raise StorageUnavailable(f"the Prefect server did not start at {url}: is the port taken? choose another --port")
