"""Peak resident memory of a process and of all it starts, by what each of them is."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

ROLES = ("flow", "Prefect server", "Dask worker", "other")


@contextmanager
def peak_memory(root: int, root_role: str = "flow") -> Iterator[dict[str, int]]:
    """Yield what will be the largest resident size of any single process of each role, in bytes."""
    peaks: dict[str, int] = defaultdict(int)
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(root, root_role, peaks, stop))
    watcher.start()
    try:
        yield peaks
    finally:
        stop.set()
        watcher.join()


def _watch(root: int, root_role: str, peaks: dict[str, int], stop: threading.Event) -> None:
    while not stop.wait(0.1):
        try:
            processes = [psutil.Process(root), *psutil.Process(root).children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for process in processes:
            try:
                role = root_role if process.pid == root else _role(process)
                peaks[role] = max(peaks[role], process.memory_info().rss)
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue


def _role(process: psutil.Process) -> str:
    command = " ".join(process.cmdline())
    if "prefect" in command and "uvicorn" in command:
        return "Prefect server"
    if "-m humwatch" in command:
        return "flow"
    return "Dask worker" if "spawn_main" in command or "forkserver" in command else "other"
