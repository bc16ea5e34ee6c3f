"""Peak resident memory of every process of a run, for N and for 10 N recordings: `python benchmarks/memory.py`.

The claim: no process grows with the number of recordings, fitting included, and all stay under 2 GB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from watching import ROLES, peak_memory

from humwatch.flows.simulation import FleetPlan, simulate_labelled


def run(recordings: int, folder: Path, options: list[str]) -> tuple[dict[str, int], dict[str, object], float]:
    """Simulate a machine with that many recordings, run the chain, return peaks, the summary and the wall time."""
    plan = FleetPlan(machines=1, nights=2, snr_db=6.0, seed=0, types=("fan",), duration_s=10.0)
    normals, abnormals = round(recordings * 0.9), recordings - round(recordings * 0.9)
    source = folder / f"source-{recordings}"
    simulate_labelled(plan, source, normals, abnormals)
    command = [
        sys.executable,
        "-m",
        "humwatch",
        "run",
        str(source),
        "--lake",
        str(folder / f"lake-{recordings}"),
        "--json",
    ]
    begun = time.perf_counter()
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    with peak_memory(process.pid) as peaks:
        output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"the run failed: {output}")
    return peaks, json.loads(output), time.perf_counter() - begun


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", type=int, default=200)
    parser.add_argument("--option", action="append", default=[], help="passed to `humwatch run`; repeatable")
    arguments = parser.parse_args()
    counts = (arguments.recordings, 10 * arguments.recordings)
    with tempfile.TemporaryDirectory() as folder:
        results = [run(count, Path(folder), arguments.option) for count in counts]
    table = Table("process", *(f"{count} recordings" for count in counts), "growth")
    for role in ROLES:
        first, second = (peaks[role] for peaks, _, _ in results)
        if first:
            table.add_row(role, f"{first / 1e6:.0f} MB", f"{second / 1e6:.0f} MB", f"{second / first:.2f} x")
    table.add_row(
        "wall time", *(f"{seconds:.0f} s" for _, _, seconds in results), f"{results[1][2] / results[0][2]:.1f} x"
    )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
