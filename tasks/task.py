"""How any stage runs: as one Prefect task in the flow's process, which works its units off on Dask workers.

One Prefect task for each block would cost more than the block (orchestration is 100 ms, a block's share of a Dask
future 5 ms), so Prefect sees stages and Dask sees blocks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, ParamSpec, TypeVar

import distributed
import httpx
import prefect
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import PrefectException
from prefect.tasks import Task, exponential_backoff

from storage.errors import TransientError
from tasks import progress
from tasks.worker import call

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_log = logging.getLogger(__name__)


def stage(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function a Prefect task: transient errors are retried, results stay in the lake and out of Prefect."""
    return prefect.task(
        name=name,
        retries=3,
        retry_delay_seconds=exponential_backoff(2),
        retry_condition_fn=_is_transient,
        cache_policy=NO_CACHE,
        persist_result=False,
    )


@contextmanager
def artifacts_if_possible(what: str) -> Iterator[None]:
    """Let Prefect's API fail while the context lasts: artifacts are no reason for a stage to fail."""
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        _log.warning("no artifact for %s: %r", what, error)


def run_on_workers(
    name: str, function: Callable[[T], R], units: Iterable[T], total: int, in_flight: int
) -> Iterator[R]:
    """Yield `function(unit)` for every unit as they finish, on the current Dask client's workers.

    At most `in_flight` units a worker are submitted at once, so that memory is bounded however many units there are.
    Without a client the units run here, one after the other. The first error of a unit is raised.
    """
    try:
        client = distributed.get_client()
    except ValueError:
        for done, unit in enumerate(units, start=1):
            yield function(unit)
            progress.tell(name, done, total)
        return
    queue = iter(units)

    def submit(count: int) -> list[distributed.Future[R]]:
        return [client.submit(call, function, unit, pure=False) for unit in islice(queue, count)]

    workers = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
    running = distributed.as_completed(submit(workers * in_flight))
    for done, future in enumerate(running, start=1):
        result = future.result()
        running.update(submit(1))
        yield result
        progress.tell(name, done, total)


def _is_transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.result(raise_on_failure=False), TransientError)
