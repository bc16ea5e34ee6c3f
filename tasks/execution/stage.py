"""How any stage runs: as one Prefect task in the flow's process, which works its units off on Dask workers.

One Prefect task for each block would cost more than the block (orchestration is 100 ms, a block's share of a Dask
future 5 ms), so Prefect sees stages and Dask sees blocks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property, wraps
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

from humwatch.storage.errors import TransientError, WorkersLost
from humwatch.tasks.execution import progress
from humwatch.tasks.execution.worker import Done, call
from humwatch.tasks.plan.run import Run

if TYPE_CHECKING:
    from distributed import Client
    from prefect.client.schemas.objects import State, TaskRun
    from prefect.tasks import Task

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_RETRIES = 3

_begin_workers: ContextVar[Callable[[], object] | None] = ContextVar("begin_workers", default=None)

_log = logging.getLogger(__name__)

# Prefect and Dask are imported where they are used: a run with nothing to do, and a command without a run, need
# neither, and they take two seconds.


class Stage(Generic[P, R]):
    """A function of a run that is a Prefect task; while a lake is only looked at, it is called as it is.

    Attributes:
        fn: The function.
    """

    def __init__(self, name: str, function: Callable[Concatenate[Run, P], R]) -> None:
        self.name = name
        self.fn = function

    def __call__(self, run: Run, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function of `run`, as a task of the current flow."""
        return self.fn(run, *args, **kwargs) if run.only_looks else self.task(run, *args, **kwargs)

    @cached_property
    def task(self) -> Task[Concatenate[Run, P], R]:
        """The Prefect task, made when a flow first calls it."""
        import prefect  # noqa: PLC0415 - see above
        from prefect.cache_policies import NO_CACHE  # noqa: PLC0415
        from prefect.tasks import exponential_backoff  # noqa: PLC0415

        return prefect.task(
            name=self.name,
            retries=_RETRIES,
            retry_delay_seconds=exponential_backoff(2),
            retry_condition_fn=_is_transient,
            cache_policy=NO_CACHE,
            persist_result=False,
        )(self.fn)


def stage(name: str) -> Callable[[Callable[Concatenate[Run, P], R]], Stage[P, R]]:
    """Make a function of a run a stage: transient errors are retried, results stay in the lake, not in Prefect.

    Whatever error ends the function, what it did until then may have changed the lake: the run reads it anew.
    """

    def decorate(function: Callable[Concatenate[Run, P], R]) -> Stage[P, R]:
        @wraps(function)
        def fresh_after_errors(run: Run, /, *args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(run, *args, **kwargs)
            except Exception as error:
                run.refresh()
                if isinstance(error, TransientError):
                    _log.info("%s: %s; it is tried again while there are retries left", name, error)
                raise

        return Stage(name, fresh_after_errors)

    return decorate


def is_last_try() -> bool:
    """Whether the stage that runs here would not be tried again."""
    from prefect.runtime import task_run  # noqa: PLC0415 - see above

    return (task_run.run_count or 0) > _RETRIES


@contextmanager
def artifacts_if_possible(what: str) -> Iterator[None]:
    """Let Prefect's API fail while the context lasts: artifacts are no reason for a stage to fail."""
    import httpx  # noqa: PLC0415 - see above
    from prefect.exceptions import PrefectException  # noqa: PLC0415

    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        _log.warning("no artifact for %s: %r", what, error)


@contextmanager
def workers_on_demand(begin: Callable[[], object]) -> Iterator[None]:
    """Call `begin` before the units of work of each stage while the context lasts: workers begin with the first."""
    token = _begin_workers.set(begin)
    try:
        yield
    finally:
        _begin_workers.reset(token)


def run_on_workers(
    name: str,
    function: Callable[[T], R],
    units: Iterable[T],
    total: int,
    in_flight: int,
    resource: str | None = None,
) -> Iterator[R]:
    """Yield `function(unit)` for every unit as they finish, on the current Dask client's workers, and tell progress.

    At most `in_flight` units a worker are submitted and not yet yielded, so that memory is bounded however many units
    there are; workers are counted anew for each, as they may join and leave, and none begin without a unit. When some
    workers have `resource` (as of `dask worker --resources "GPU=1"`), units go to those alone, one for each piece of it
    at a time. Without a client the units run here, one after the other. The first error of a unit is raised.

    Raises:
        WorkersLost: the scheduler is gone, or a unit was the end of several workers.
    """
    for done, result in enumerate(_finished(function, units, in_flight, resource), start=1):
        yield result
        progress.tell(name, done, total)


def run_on_worker(function: Callable[[T], R], unit: T, resource: str | None = None) -> R:
    """Return `function(unit)` from one of the workers; see `run_on_workers`."""
    (result,) = _finished(function, [unit], 1, resource)
    return result


def _finished(function: Callable[[T], R], units: Iterable[T], in_flight: int, resource: str | None) -> Iterator[R]:
    queue = iter(units)
    first = next(queue, None)
    if first is None:
        return
    queue = chain([first], queue)
    if begin := _begin_workers.get():
        begin()
    import distributed  # noqa: PLC0415 - see above

    try:
        client = distributed.get_client()
    except ValueError:
        yield from (_logged(str(unit), call(function, unit)) for unit in queue)
        return
    running = distributed.as_completed()
    names: dict[object, str] = {}
    while True:
        with _translated_dask_errors():
            workers, needs = _workers(client, resource)
            for unit in islice(queue, max(0, workers * in_flight - running.count())):
                future = client.submit(call, function, unit, pure=False, resources=needs)
                names[future.key] = str(unit)
                running.add(future)
            if running.is_empty():
                return
            finished = next(running)
            done = finished.result()
        yield _logged(names.pop(finished.key), done)


def _logged(unit: str, done: Done[R]) -> R:
    """Return the result of a unit. It is logged here, not where it ran: here Prefect knows whose run it is."""
    _log.debug("%s: %.3f s, %d bytes of input", unit, done.seconds, done.bytes_read)
    return done.result


def _workers(client: Client, resource: str | None) -> tuple[int, dict[str, int] | None]:
    """Return how many workers there are for units that want `resource`, at least one, and what they ask of them."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    having = [worker for worker in workers if resource in worker["resources"]]
    return max(1, len(having or workers)), {resource: 1} if resource and having else None


@contextmanager
def _translated_dask_errors() -> Iterator[None]:
    from distributed import KilledWorker  # noqa: PLC0415 - see above
    from distributed.comm.core import CommClosedError  # noqa: PLC0415

    try:
        yield
    except KilledWorker as error:
        raise WorkersLost(f"a unit of work was given up: {error}") from error
    except (CancelledError, CommClosedError) as error:
        raise WorkersLost(f"the connection to the Dask scheduler is lost ({error}); what is done is kept") from error


def _is_transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.result(raise_on_failure=False), TransientError)
