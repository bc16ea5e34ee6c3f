"""The Dask workers of a run: a scheduler that is there already, or processes of this machine."""

from __future__ import annotations

import asyncio
import functools
import importlib
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass

import dask
import distributed
from distributed.comm.core import connect

from humwatch.storage.errors import BadConfiguration, StorageUnavailable
from humwatch.tasks.execution.stage import workers_on_demand
from humwatch.tasks.settings import DaskSettings

_TIMEOUT_S = 10
WORKER_ENVIRONMENT = {
    # Threads that wait must not spin: the workers share the cores.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    # One heap that keeps up to 1 GiB of what is free. By itself glibc maps every array above 32 MB anew, as large as a
    # batch's activations are, and Dask would have it give back all above 64 kB: page faults then cost up to a
    # third of a backbone's time.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
}
"""What a process that works on blocks should be started with: `deployments/Containerfile` has the same."""


@dataclass
class _SharedCluster:
    """The local cluster reused by consecutive runs; closed when `shared_workers` exits."""

    stack: ExitStack
    settings: DaskSettings | None = None
    client: distributed.Client | None = None


_shared: ContextVar[_SharedCluster | None] = ContextVar("_shared", default=None)


@contextmanager
def shared_workers() -> Iterator[None]:
    """Let runs, one after the other, share the local workers that the first of them begins, while the context lasts."""
    with ExitStack() as stack:
        token = _shared.set(_SharedCluster(stack))
        try:
            yield
        finally:
            _shared.reset(token)


@contextmanager
def workers(settings: DaskSettings) -> Iterator[distributed.Client]:
    """Yield a client that is current in every thread of this process while the context lasts.

    In `shared_workers` a local cluster is that of the run before, if that had the same settings. To a scheduler that is
    there already every run connects anew, and looks at its workers.

    Raises:
        StorageUnavailable: no scheduler answers at `dask.address`.
        BadConfiguration: `dask.address` is no address, or a worker of that scheduler has no Humwatch.
    """
    shared = _shared.get()
    if shared is None or settings.address:
        with _new_workers(settings) as client:
            yield client
        return
    if shared.client is None or shared.settings != settings:
        shared.stack.close()
        shared.client, shared.settings = shared.stack.enter_context(_new_workers(settings)), settings
    yield shared.client


@contextmanager
def workers_when_needed(settings: DaskSettings) -> Iterator[None]:
    """Let the units of work of stages find workers while the context lasts.

    Those of this machine begin with the first unit, so that a run without one never waits for them; a scheduler that is
    there already is looked at at once.

    Raises:
        StorageUnavailable, BadConfiguration: as `workers`.
    """
    with ExitStack() as stack:
        if settings.address:
            stack.enter_context(workers(settings))
            yield
            return
        with workers_on_demand(functools.cache(lambda: stack.enter_context(workers(settings)))):
            yield


def require_scheduler(settings: DaskSettings) -> None:
    """See to it that a scheduler answers at `dask.address`, if there is one; nothing is begun.

    Raises:
        StorageUnavailable, BadConfiguration: as `workers`.
    """
    if settings.address:
        with _scheduler_errors(settings.address):
            asyncio.run(_check_reachable(settings.address))


@contextmanager
def _scheduler_errors(address: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise BadConfiguration(f"dask.address {address!r} is no address: {error}") from error
    except OSError as error:
        raise StorageUnavailable(f"no Dask scheduler answers at {address}") from error


@contextmanager
def _new_workers(settings: DaskSettings) -> Iterator[distributed.Client]:
    # Its chatter about connections is for debugging clusters, not for operators.
    logging.getLogger("distributed").setLevel(logging.ERROR)
    if settings.address:
        require_scheduler(settings)
        with _scheduler_errors(settings.address):
            client = distributed.Client(settings.address, timeout=f"{_TIMEOUT_S}s")
        with client:
            _require_humwatch(client)
            yield client
        return
    configuration = {
        "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
        "distributed.worker.multiprocessing-method": "spawn",
        "distributed.worker.memory.terminate": False,  # a worker is bounded by its blocks, not by guesswork
        # Sampling stacks 100 times a second and ticking 50 times takes a twentieth of a core a worker, idle or not.
        "distributed.worker.profile.enabled": False,
        "distributed.admin.tick.interval": "1s",
    }
    with dask.config.set(configuration):
        cluster = distributed.LocalCluster(
            n_workers=settings.workers or os.cpu_count() or 1,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
        )
        try:
            with distributed.Client(cluster) as client:
                yield client
        finally:
            # On a busy host workers may be slow to end. The work is done, and they end with this process at the latest.
            with suppress(TimeoutError):
                cluster.close()


async def _check_reachable(address: str) -> None:
    """Connect once, without a client, to see whether a scheduler answers.

    A client that fails to connect is closed by the garbage collector, which hangs the process when it comes while
    another is started: both take the same lock (distributed.utils.LoopRunner).
    """
    arguments = distributed.Security().get_connection_args("client")
    connection = await connect(address, timeout=_TIMEOUT_S, **arguments)
    await connection.close()


def _require_humwatch(client: distributed.Client) -> None:
    """Refuse workers that could not even read what is sent to them: they die of it, and the run would wait forever."""
    said = client.run(importlib.import_module, "humwatch.tasks.execution.worker", on_error="return")
    for worker, error in said.items():
        if isinstance(error, ImportError):
            raise BadConfiguration(f"the Dask worker {worker} has no Humwatch: install it there ({error})")
