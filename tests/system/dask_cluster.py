"""A Dask scheduler and workers in processes of their own, as a team runs them, that tests may kill."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import distributed
import psutil
from s3_server import free_ports

WORKER = ("-m", "distributed.cli.dask_worker")
_QUIET = ("--no-dashboard",)


@dataclass(frozen=True)
class DaskCluster:
    """A running cluster: its address, the scheduler's process, and one process a worker, its nanny."""

    address: str
    scheduler: subprocess.Popen[bytes]
    nannies: list[subprocess.Popen[bytes]]

    def worker(self, index: int) -> psutil.Process:
        """The process that works under a nanny; the nanny starts another one when it dies."""
        (worker,) = [
            child
            for child in psutil.Process(self.nannies[index].pid).children()
            if "resource_tracker" not in " ".join(child.cmdline())
        ]
        return worker


@contextmanager
def dask_scheduler(env: dict[str, str] | None = None) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a scheduler; yields its address and process."""
    (port,) = free_ports(1)
    address = f"tcp://127.0.0.1:{port}"
    arguments = ("-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), *_QUIET)
    with _process(arguments, env) as scheduler:
        yield address, scheduler


@contextmanager
def dask_worker(
    address: str, *options: str, program: tuple[str, ...] = WORKER, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker of one thread."""
    arguments = (*program, address, "--nthreads", "1", "--memory-limit", "0", *_QUIET, *options)
    with _process(arguments, env) as worker:
        yield worker


@contextmanager
def dask_cluster(env: dict[str, str] | None = None, workers: int = 2) -> Iterator[DaskCluster]:
    """Run a scheduler and workers under nannies; ready when all workers are there."""
    with dask_scheduler(env) as (address, scheduler), ExitStack() as stack:
        nannies = [stack.enter_context(dask_worker(address, env=env)) for _ in range(workers)]
        with distributed.Client(address, timeout="120s") as client:
            client.wait_for_workers(workers, timeout=120)
        yield DaskCluster(address, scheduler, nannies)


def wait_for(condition, timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


@contextmanager
def _process(arguments: tuple[str, ...], env: dict[str, str] | None) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, **(env or {})}
    with subprocess.Popen([sys.executable, *arguments], env=environment, stderr=subprocess.DEVNULL) as process:
        family: list[psutil.Process] = []
        try:
            yield process
        finally:
            if process.poll() is None:
                family = psutil.Process(process.pid).children(recursive=True)
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
            for left in family:
                if left.is_running():
                    left.kill()
