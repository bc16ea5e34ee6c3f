"""Real schedulers with worker processes of their own: which get work, how much at once, and which are refused."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import distributed
import pytest

from flows.cluster import workers
from storage.errors import BadConfiguration
from tasks.settings import DaskSettings

WITHOUT_HUMWATCH = "import sys; sys.modules['tasks'] = None; from distributed.cli.dask_worker import main; main()"


@pytest.fixture
def scheduler() -> Iterator[str]:
    with distributed.LocalCluster(n_workers=0, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


@contextmanager
def dask_worker(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker of one thread, as `dask worker` starts one."""
    options = ("--nthreads", "1", "--memory-limit", "0", "--no-dashboard", "--no-nanny")
    with subprocess.Popen([sys.executable, *arguments, *options], stderr=subprocess.DEVNULL) as worker:
        try:
            yield worker
        finally:
            worker.terminate()


def test_workers_without_humwatch_are_refused_at_once(scheduler):
    with dask_worker("-c", WITHOUT_HUMWATCH, scheduler), distributed.Client(scheduler) as client:
        client.wait_for_workers(1, timeout=60)
        refused = pytest.raises(BadConfiguration, match="has no Humwatch: install it there")
        with refused, workers(DaskSettings(address=scheduler)):
            pass
