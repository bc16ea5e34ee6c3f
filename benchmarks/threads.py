"""Two workers of one thread against one of two, alone and beside busy neighbours: `python benchmarks/threads.py`.

The last row is the first without `humwatch.flows.cluster.WORKER_ENVIRONMENT`'s heap: glibc's own way with large arrays.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

from humwatch.flows.cluster import WORKER_ENVIRONMENT

_WORK = """
import sys, numpy as np, torch
from humwatch.tasks.features.embed import Embedder
from humwatch.tasks.plan.representations import parse
from humwatch.tasks.settings import FeatureSettings, ImageSettings, SpectrogramSettings
rows, threads = map(int, sys.argv[1:3])
made = Embedder(parse(sys.argv[3]), FeatureSettings(random_weights=True, device="cpu"), ImageSettings(),
                SpectrogramSettings())
torch.set_num_threads(threads)
values = np.random.default_rng(0).uniform(-80, 0, (rows, 64, 313)).astype(np.float32)
print(flush=True)
sys.stdin.readline()
made.embed(values, np.full(rows, 313))
"""


_HEAP = {name: value for name, value in WORKER_ENVIRONMENT.items() if name.startswith("MALLOC_")}


def seconds(backbone: str, workers: int, threads: int, recordings: int, policy: str, heap: dict[str, str]) -> float:
    """Return the wall time of embedding so many recordings, imports left out."""
    environment = {name: value for name, value in os.environ.items() if name not in _HEAP}
    environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": policy, **heap}
    command = [sys.executable, "-c", _WORK, str(recordings // workers), str(threads), backbone]
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
    parser.add_argument("--recordings", type=int, default=32)
    parser.add_argument("--backbone", default="resnet18")
    given = parser.parse_args()
    table = Table("workers x threads", "waiting threads", "heap", "alone s", "beside 2 busy processes s",
                  title=f"{given.recordings} recordings through {given.backbone} at 224 px")  # fmt: skip
    ways = ((2, 1, "PASSIVE", _HEAP), (1, 2, "PASSIVE", _HEAP), (1, 2, "ACTIVE", _HEAP), (2, 2, "ACTIVE", _HEAP),
            (2, 1, "PASSIVE", {}))  # fmt: skip
    for workers, threads, policy, heap in ways:
        alone = seconds(given.backbone, workers, threads, given.recordings, policy, heap)
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
        try:
            beside = seconds(given.backbone, workers, threads, given.recordings, policy, heap)
        finally:
            for process in busy:
                process.kill()
        table.add_row(
            f"{workers} x {threads}", policy.lower(), "kept" if heap else "glibc's", f"{alone:.1f}", f"{beside:.1f}"
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
