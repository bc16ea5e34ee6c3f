"""Two workers of one thread against one of two, alone and beside busy neighbours: `python benchmarks/threads.py`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

from flows.cluster import WORKER_ENVIRONMENT

_WORK = """
import sys, numpy as np, torch
from tasks.features.embed import Embedder
from tasks.features.representations import parse
from tasks.settings import FeatureSettings, ImageSettings, SpectrogramSettings
rows, threads = map(int, sys.argv[1:])
made = Embedder(parse("resnet18"), FeatureSettings(random_weights=True, device="cpu"), ImageSettings(),
                SpectrogramSettings())
torch.set_num_threads(threads)
values = np.random.default_rng(0).uniform(-80, 0, (rows, 64, 313)).astype(np.float32)
print(flush=True)
sys.stdin.readline()
made.embed(values, np.full(rows, 313))
"""


def seconds(workers: int, threads: int, recordings: int, policy: str) -> float:
    """Return the wall time of embedding so many recordings, imports left out."""
    environment = {**os.environ, **WORKER_ENVIRONMENT, "OMP_NUM_THREADS": str(threads),
                   "MKL_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": policy}  # fmt: skip
    command = [sys.executable, "-c", _WORK, str(recordings // workers), str(threads)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    processes = [subprocess.Popen(command, env=environment, **pipes) for _ in range(workers)]
    for process in processes:
        process.stdout.readline()  # it has imported everything, and waits for the word
    begun = time.perf_counter()
    for process in processes:
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in processes:
        process.wait()
    return time.perf_counter() - begun


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", type=int, default=16)
    given = parser.parse_args()
    table = Table("workers x threads", "waiting threads", "alone s", "beside 2 busy processes s",
                  title=f"{given.recordings} recordings through resnet18 at 224 px")  # fmt: skip
    for workers, threads, policy in ((2, 1, "PASSIVE"), (1, 2, "PASSIVE"), (1, 2, "ACTIVE"), (2, 2, "ACTIVE")):
        alone = seconds(workers, threads, given.recordings, policy)
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
        try:
            beside = seconds(workers, threads, given.recordings, policy)
        finally:
            for process in busy:
                process.kill()
        table.add_row(f"{workers} x {threads}", policy.lower(), f"{alone:.1f}", f"{beside:.1f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
