"""Archive to report, cold, beside the naive pipeline: `python benchmarks/end_to_end.py [--recordings 60]`.

Both run on all cores in processes of their own, imports included: the naive one (peers.py) with torch's threads, which
are told not to spin while they wait (beside other work they would take several times as long), ours with its workers.
The backbone's weights are drawn at random, which costs what trained ones do. Then the presets, whose method is
another, and ours once more: what a rerun and the orchestration cost.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

PEERS = Path(__file__).with_name("peers.py")


def write_archive(path: Path, recordings: int) -> None:
    """Write a deflated archive in MIMII's layout: one machine, 8 channels, 10 s, a quarter of it with a whistle."""
    generator = np.random.default_rng(0)
    time_s = np.arange(160_000)[:, None] / 16_000
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(recordings):
            abnormal = number < recordings // 4
            sound = 0.05 * np.sin(2 * np.pi * generator.uniform(95, 105) * time_s)
            sound = sound + (0.01 * np.sin(2 * np.pi * 2400 * time_s) if abnormal else 0)
            file = io.BytesIO()
            samples = sound + 0.01 * generator.normal(size=(len(time_s), 8))
            soundfile.write(file, samples, 16_000, format="WAV", subtype="PCM_16")
            label = "abnormal" if abnormal else "normal"
            archive.writestr(f"fan/id_00/{label}/{number:08d}.wav", file.getvalue())


def timed(command: list[str]) -> tuple[float, float, dict[str, object]]:
    """Run a command; return its wall time, the processor time of all its processes, and the JSON it prints."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, used, json.loads(ran.stdout)


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", type=int, default=60)
    parser.add_argument("--backbone", default="resnet18")
    given = parser.parse_args()
    table = Table("pipeline", "wall s", "processor s", "ratio", "ratio, processor", "stages s", "outside them s")
    with tempfile.TemporaryDirectory(prefix="humwatch-speed-") as folder:
        archive = Path(folder) / "fan.zip"
        write_archive(archive, given.recordings)
        naive_wall, naive_used, _ = timed([sys.executable, str(PEERS), str(archive), "--backbone", given.backbone])
        table.add_row("naive, 224 px", f"{naive_wall:.0f}", f"{naive_used:.0f}", "1", "1")
        run = [sys.executable, "-m", "humwatch", "run", str(archive), "--json", "--set", "features.device=cpu"]
        paper = ["--backbone", given.backbone, "--set", "features.random_weights=true", "--detector", "gmm",
                 "--set", "fit.pca_components=none"]  # fmt: skip
        runs = (
            ("224 px, same windows", ["--lake", f"{folder}/same", *paper]),
            ("fully convolutional", ["--lake", f"{folder}/wide", *paper, "--set", "features.fully_convolutional=true"]),
            ("preset default", ["--lake", f"{folder}/default"]),
            ("preset fast", ["--lake", f"{folder}/fast", "--preset", "fast"]),
            ("again, another detector", ["--lake", f"{folder}/same", *paper, "--detector", "mahalanobis"]),
            ("again, nothing new", ["--lake", f"{folder}/same", *paper]),
        )
        for name, options in runs:
            wall, used, summary = timed([*run, *options])
            seconds: dict[str, float] = summary["seconds"]  # type: ignore[assignment]
            stages = ", ".join(f"{stage} {spent:.1f}" for stage, spent in seconds.items() if spent >= 0.05)
            table.add_row(name, f"{wall:.0f}", f"{used:.0f}", f"{naive_wall / wall:.2f} x",
                          f"{naive_used / used:.2f} x", stages, f"{wall - sum(seconds.values()):.1f}")  # fmt: skip
    table.title = f"{given.recordings} recordings of 8 channels and 10 s, {given.backbone}, {os.cpu_count()} cores"
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
