"""`humwatch doctor`: whether this machine and these settings are fit for a run, and what to do where they are not.

JSON: `command`, `lake` (when given), `errors` and `checks`, a list of {"check", "state", "found", "advice"}: `state` is
pass, warn or fail, `found` what was seen, `advice` what to do, empty when the check passed. The command ends with
status 0 when nothing failed, else 1.
"""

from __future__ import annotations

import os
import platform
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from rich.markup import escape
from rich.table import Table

from humwatch.flows.operations.status import nights_status, open_existing
from humwatch.flows.prefect_server import has_server
from humwatch.storage.errors import HumwatchError
from humwatch.storage.lake import Lake
from humwatch.storage.notices import Notices, known_channel, read_notices
from humwatch.tasks.notify.sending import Channel, channels_of
from humwatch.tasks.notify.task import addresses
from humwatch.tasks.plan.representations import parse
from humwatch.tasks.plan.run import Run
from humwatch.tasks.settings import Settings
from humwatch.tasks.weights.sources import WITHOUT_WEIGHTS
from humwatch.tasks.weights.weights import find
from humwatch.tasks.words import counted

PYTHON = SpecifierSet(">=3.11")
LEAST_FREE_BYTES, FEW_FREE_BYTES = 1 << 30, 10 << 30
_COLOURS = {"pass": "green", "warn": "yellow", "fail": "red"}
_TIMEOUT_S = 5
_BEGINS = "check the address; the first run begins a lake there"


@dataclass(frozen=True)
class Check:
    """One answer of the doctor."""

    check: str
    state: Literal["pass", "warn", "fail"]
    found: str
    advice: str = ""


def examine(settings: Settings, lake_uri: str | None) -> list[Check]:
    """Return every check; `lake_uri` None leaves the lake's out."""
    checks = [check_python(platform.python_version()), *check_libraries(requires("humwatch") or [], _installed)]
    checks += [_check_device(settings), *_check_weights(settings)]
    if lake_uri is not None:
        checks += [check_lake(lake_uri), *check_nights(lake_uri, settings), *check_disk(lake_uri)]
    return [*checks, check_dask(settings), check_prefect(), *check_channels(settings, lake_uri)]


def doctor_table(checks: list[Check]) -> Table:
    """Return a terminal's table, one line a check."""
    table = Table("check", "state", "found", "advice")
    for check in checks:
        table.add_row(
            check.check, f"[{_COLOURS[check.state]}]{check.state}[/]", escape(check.found), escape(check.advice)
        )
    return table


def check_python(found: str) -> Check:
    """Check the interpreter's version."""
    if found in PYTHON:
        return Check("python", "pass", found)
    return Check("python", "fail", found, f"install Python {PYTHON}")


def check_libraries(requirements: list[str], installed: Callable[[str], str | None]) -> Iterator[Check]:
    """Check what is installed against the package's requirements: a check for each that is not met, or one pass."""
    applicable = [
        requirement
        for requirement in map(Requirement, requirements)
        if requirement.marker is None or requirement.marker.evaluate()
    ]
    met = True
    for requirement in applicable:
        found = installed(requirement.name)
        if found is None or not requirement.specifier.contains(found, prereleases=True):
            met = False
            advice = f"pip install '{requirement}'"
            yield Check("libraries", "fail", f"{requirement.name} {found or 'is not installed'}", advice)
    if met:
        yield Check("libraries", "pass", f"{len(applicable)} requirements met")


def check_lake(uri: str) -> Check:
    """Check that the lake can be read, written and created in conditionally, on an object of its own that it deletes.

    A local lake that is not there yet is not begun.
    """
    folder = _local_folder(uri)
    if folder is not None and not folder.exists():
        parent = _nearest(folder)
        if os.access(parent, os.W_OK):
            return Check("lake", "warn", f"{uri}: no lake there yet", _BEGINS)
        return Check("lake", "fail", f"{uri}: not there, and {parent} cannot be written", "choose another --lake")
    scratch = f".doctor-{uuid.uuid4().hex}"
    try:
        lake = Lake(uri)
        begun = lake.exists("lake.json")
        if begun:
            Lake.open(uri)
        try:
            created = lake.create(scratch, b"1"), lake.create(scratch, b"2")
            read = lake.read(scratch)
        finally:
            lake.delete(scratch)
    except (HumwatchError, OSError) as error:
        return Check("lake", "fail", str(error), "check the address, the credentials and what they allow")
    if (created, read) != ((True, False), b"1"):
        advice = "use a store with conditional writes: without them two runs at once can corrupt a lake"
        return Check("lake", "fail", f"{uri}: creates an object that is there already", advice)
    if not begun:
        return Check("lake", "warn", f"{uri}: no lake there yet", _BEGINS)
    return Check("lake", "pass", f"{uri}: read, write, conditional create")


def check_nights(uri: str, settings: Settings) -> Iterator[Check]:
    """Check that the newest night of a lake is not old, and that an alarm could have been raised on it.

    No check for a lake that has no nights or cannot be read: `check_lake` says why.
    """
    try:
        open_existing(uri)
        found = nights_status(Run(uri, settings))
    except (HumwatchError, OSError):
        return
    if found is None:
        return
    if found.arrival.is_overdue:
        advice = "look at the transfer of recordings; where no more nights are to come, nothing is to be done"
        yield Check("nights", "warn", found.arrival.told, advice)
    else:
        yield Check("nights", "pass", found.arrival.told)
    if found.judged is None:
        yield Check("alarms", "warn", "no night was judged under these settings", "humwatch nightly judges them")
    elif why := found.judged.why_no_alarm:
        advice = "docs/alarms.md says what an alarm needs; `humwatch status` has the state of every machine"
        yield Check("alarms", "warn", why, advice)
    else:
        able = (
            f"{found.judged.can_alarm} of {counted(len(found.judged.of_machines), 'machine')} have a level of an alarm"
        )
        yield Check("alarms", "pass", f"{able} on the night {found.judged.night}")


def check_disk(uri: str) -> Iterator[Check]:
    """Check the space left for a lake on a local disk; no check for other stores."""
    folder = _local_folder(uri)
    if folder is not None:
        yield judge_space(shutil.disk_usage(_nearest(folder)).free, folder)


def judge_space(free_bytes: int, folder: Path) -> Check:
    """Judge the space left in a folder."""
    found = f"{free_bytes / 2**30:.1f} GiB free in {folder}"
    if free_bytes >= FEW_FREE_BYTES:
        return Check("disk", "pass", found)
    state: Literal["warn", "fail"] = "warn" if free_bytes >= LEAST_FREE_BYTES else "fail"
    return Check("disk", state, found, "make space: `humwatch prune --dry-run` shows what the lake can do without")


def check_dask(settings: Settings) -> Check:
    """Check that the scheduler of `dask.address` answers and has workers."""
    address = settings.dask.address
    if not address:
        return Check("dask", "pass", "no dask.address: each run starts its own workers here")
    from humwatch.flows.cluster import workers  # noqa: PLC0415 - Dask is for those who have a scheduler

    try:
        with workers(settings.dask) as client:
            count = len(client.scheduler_info(n_workers=-1)["workers"])
    except HumwatchError as error:
        return Check("dask", "fail", str(error), "start the scheduler, or correct or unset dask.address")
    found = f"{address}: {count} workers"
    if not count:
        return Check("dask", "warn", found, f"start some: `dask worker {address}`; runs wait for them")
    return Check("dask", "pass", found)


def check_prefect() -> Check:
    """Check that the API named by PREFECT_API_URL, or by the Prefect profile, answers."""
    if not has_server():
        return Check("prefect", "pass", "no PREFECT_API_URL: each run with something to do starts a server of its own")
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - a second to import
    from prefect.settings import PREFECT_API_URL  # noqa: PLC0415

    url = PREFECT_API_URL.value()
    with get_client(httpx_settings={"timeout": _TIMEOUT_S}, sync_client=True) as client:
        error = client.api_healthcheck()
    if error is None:
        return Check("prefect", "pass", f"{url}: answers")
    found = f"{url}: {type(error).__name__} {error}".strip()
    return Check("prefect", "fail", found, "start the server, or correct or unset PREFECT_API_URL")


def check_channels(settings: Settings, lake_uri: str | None) -> Iterator[Check]:
    """Check the addresses of who is told, and what the lake says became of the last message to each; none is sent."""
    notify = settings.notify
    urls, problems = addresses(notify)
    for name, problem in problems.items():
        yield Check("notify", "fail", f"{name}: {problem}", "correct notify.secret_blocks, or start the Prefect server")
    if not urls and not problems:
        yield Check("notify", "pass", f"no {notify.variable} and no notify.secret_blocks: nobody is told of alarms")
    for channel in channels_of(urls):
        if channel.problem:
            yield Check("notify", "fail", f"channel {channel.name}: {channel.problem}", "correct the address")
        else:
            yield _check_last_message(channel, lake_uri)


def _check_last_message(channel: Channel, lake_uri: str | None) -> Check:
    name = f"channel {channel.name}"
    try:
        lake = Lake(lake_uri) if lake_uri else None
        known = known_channel(lake, channel.url) if lake else None
        notices = read_notices(lake, known) if lake and known else Notices(0)
    except (HumwatchError, OSError) as error:
        return Check("notify", "warn", f"{name}: what it was told cannot be read: {error}", "see the check `lake`")
    if notices.failed:
        begun, why = notices.failed
        return Check("notify", "warn", f"{name}: did not arrive: {begun.title}: {why}", "the next run tells it again")
    if notices.unsure:
        found = f"{name}: may not have arrived: {notices.unsure.title}"
        return Check("notify", "warn", found, "it is not sent again: look at the report")
    return Check("notify", "pass", f"{name}: {notices.newest} messages" if notices.newest else name)


def _check_device(settings: Settings) -> Check:
    # Every command imports this module, few need torch, and it takes seconds to import.
    import torch  # noqa: PLC0415

    from humwatch.tasks.features.backbones import choose_device  # noqa: PLC0415

    try:
        device = choose_device(settings.features.device)
    except HumwatchError as error:
        return Check("device", "fail", str(error), "set features.device to auto or cpu")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} cores"
    return Check("device", "pass", f"{device.type} ({name}), torch {torch.__version__}")


def _check_weights(settings: Settings) -> Iterator[Check]:
    features = settings.features
    for source in dict.fromkeys(found.source for text in features.backbones for found in parse(text)):
        if source in WITHOUT_WEIGHTS or features.random_weights:
            yield Check("weights", "pass", f"{source} needs none")
            continue
        try:
            weights = find(source, features)
        except HumwatchError as error:
            yield Check("weights", "fail", str(error), "correct features.weights_dir")
            continue
        if weights.available:
            yield Check("weights", "pass", f"{source}: {weights.file} in {weights.where}")
        else:
            advice = "the first run downloads it; without internet, stage it by `humwatch weights fetch`"
            yield Check("weights", "warn", f"{source}: {weights.file} is not here", advice)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _local_folder(uri: str) -> Path | None:
    if "://" in uri and not uri.startswith("file://"):
        return None
    return Path(uri.removeprefix("file://"))


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest above it that is there."""
    return next(path for path in (folder, *folder.parents) if path.is_dir())
