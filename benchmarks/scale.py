"""What nights of a fleet cost, and how that grows with the number of machines: `python benchmarks/scale.py`.

A simulated fleet of each size goes through `humwatch nightly`, one command a night, on Dask workers that are there
already, as on a cluster. Measured of it:

- recordings a second by stage: recordings of the last night over the time of the stage's Prefect task run;
- overhead of orchestration: wall time of all flow runs over the time that the work itself needs. That is, for each
  task run, the time of its units on the workers, over their number, and the time before its first unit begins and after
  its last one ends, when the flow's process plans and finishes. Whatever else passes (a worker waiting for its next
  unit or for another to finish, the flow between stages, Prefect and Dask themselves) is overhead. Up to the delay of
  the first unit of each stage, it errs on the side of more overhead. Evaluation and report have no units: they are
  work throughout. The start of the command, imports and an embedded Prefect server are in neither, but shown;
- Prefect task runs, from Prefect's own database;
- peak resident memory of every process;
- objects written, from an inventory of the lake.

Then the same night goes through the stages once more in this process, from and to a filesystem in memory that counts
every request and its bytes: what a store on a network would be asked. And `--history` measures what nights that are
long over cost a night: a lake of many nights is looked at as every stage looks at it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import counting
import pyarrow as pa
from rich.console import Console
from rich.table import Table
from watching import peak_memory

from humwatch.flows.cluster import workers
from humwatch.flows.night import night_run
from humwatch.flows.simulation import FleetPlan, simulate
from humwatch.storage.inventory import take_inventory
from humwatch.storage.lake import Lake
from humwatch.storage.parts import create_part, list_parts
from humwatch.storage.records import Mark
from humwatch.storage.tables import HEALTH, RECORDINGS, create_table
from humwatch.tasks.detectors.task import fit_models
from humwatch.tasks.evaluation.store import evaluate
from humwatch.tasks.features.task import compute_features
from humwatch.tasks.ingest.recording_rows import recording_id
from humwatch.tasks.ingest.task import ingest_sources
from humwatch.tasks.scoring.task import score_recordings
from humwatch.tasks.settings import DaskSettings
from humwatch.tasks.spectrograms.task import compute_spectrograms

STAGES = ("ingest", "spectrograms", "features", "fit", "score", "evaluate", "report")
FIRST = date(2026, 1, 1)
# Short recordings and a small network: this is about what a recording costs beside its arithmetic.
SETTINGS: dict[str, dict[str, Any]] = {
    "features": {"backbones": ["squeezenet1_1"], "device": "cpu"},
    "images": {"image_size_px": 64},
    "fit": {"gmm_components": 4, "min_training_recordings": 4, "calibration_folds": 2, "false_alarm_rate": 0.2},
}
Figures = dict[str, float]


@dataclass(frozen=True)
class Fleet:
    """A simulated fleet: the sources as they are after each night, growing by one night at a time."""

    machines: int
    nights: tuple[str, ...]
    folder: Path

    def arrive(self, night: str) -> None:
        """Put a night's archives where the source is."""
        shutil.copytree(self.folder / "all" / night, self.source / night)

    @property
    def source(self) -> Path:
        """What nightly runs are given."""
        return self.folder / "nights"


def simulated(machines: int, nights: int, folder: Path) -> Fleet:
    """Simulate a fleet of which every machine has a fault-free first night but the last two."""
    plan = FleetPlan(
        machines, nights, snr_db=6.0, seed=0, first_night=FIRST, duration_s=2.5, commissioning_nights=nights - 1
    )
    simulate(plan, folder / "all")
    return Fleet(machines, tuple((FIRST + timedelta(days=day)).isoformat() for day in range(nights)), folder)


def settings_of(fleet: Fleet) -> dict[str, dict[str, Any]]:
    """All nights but the last one commission the fleet."""
    return SETTINGS | {"fit": SETTINGS["fit"] | {"commissioning_nights": len(fleet.nights) - 1}}


def run_nights(fleet: Fleet, processes: int) -> Figures:
    """Run every night and return what was measured."""
    home, lake = fleet.folder / "prefect", fleet.folder / "lake"
    assignments = [f"{section}.{key}={json.dumps(value)}" for section, keys in settings_of(fleet).items()
                   for key, value in keys.items()]  # fmt: skip
    patience = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "600"}
    environment = {**os.environ, **patience, "PREFECT_HOME": str(home)}
    summary: dict[str, Any] = {}
    with peak_memory(os.getpid(), "scheduler") as peaks, workers(DaskSettings(workers=processes)) as client:
        client.run(_warm)
        client.get_task_stream(count=1)  # from now on every unit is kept
        begun = time.perf_counter()
        for night in fleet.nights:
            fleet.arrive(night)
            command = [sys.executable, "-m", "humwatch", "nightly", str(fleet.source), "--lake", str(lake), "--json"]
            options = [part for assignment in assignments for part in ("--set", assignment)]
            address = client.scheduler.address
            ran = subprocess.run(
                [*command, *options, "--date", night, "--set", f"dask.address={address}"],
                stdout=subprocess.PIPE, text=True, check=False, env=environment,
            )  # fmt: skip
            summary = json.loads(ran.stdout or "{}")
            if ran.returncode not in (0, 3):
                raise SystemExit(f"{night} failed: {summary}")
        commands_s = time.perf_counter() - begun
        units = [(span["start"], span["stop"]) for unit in client.get_task_stream() for span in unit["startstops"]
                 if span["action"] == "compute"]  # fmt: skip
    figures = {f"peak MB, {role}": peak / 1e6 for role, peak in peaks.items()}
    figures |= _timing(home / "prefect.db", units, processes, summary) | {"wall time of the commands, s": commands_s}
    return figures | _objects(Lake(str(lake)), fleet)


def _warm() -> None:
    """Import on a worker what its units will."""
    import skops.io  # noqa: F401, PLC0415

    import humwatch.tasks.detectors.fit  # noqa: PLC0415
    import humwatch.tasks.features.embed  # noqa: F401, PLC0415


def _timing(database: Path, units: list[tuple[float, float]], processes: int, summary: dict[str, Any]) -> Figures:
    with sqlite3.connect(database) as prefect:
        runs = prefect.execute("SELECT t.name, t.start_time, t.end_time, f.id, f.start_time, f.end_time "
                               "FROM task_run t JOIN flow_run f ON t.flow_run_id = f.id").fetchall()  # fmt: skip
    flows = {row[3]: (_seconds(row[4]), _seconds(row[5])) for row in runs}
    wall = sum(stop - start for start, stop in flows.values())
    last_flow = max(flows, key=lambda run: flows[run][0])
    work = on_workers = 0.0
    figures: Figures = {}
    for name, started, ended, flow, *_ in runs:
        start, stop = _seconds(started), _seconds(ended)
        own = [unit for unit in units if start <= unit[0] and unit[1] <= stop]
        busy = sum(end - begin for begin, end in own)
        alone = stop - start
        if own:
            alone = min(begin for begin, _ in own) - start + stop - max(end for _, end in own)
        on_workers += busy
        work += busy / processes + alone
        if flow == last_flow:
            stage = name.partition("-")[0]
            count = summary["models_fitted"] if stage == "fit" else summary["listed"]
            figures[f"{stage}, {'models' if stage == 'fit' else 'recordings'}/s"] = count / (stop - start)
    return {
        "recordings of the last night": summary["listed"],
        **figures,
        "wall time of the flows, s": wall,
        "units on workers, s": on_workers,
        "work, s": work,
        "overhead of orchestration": wall / work,
        "Prefect task runs a night": len(runs) / len(flows),
        "Dask units": len(units),
    }


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def _objects(lake: Lake, fleet: Fleet) -> Figures:
    objects, parts = take_inventory(lake), len(list_parts(lake))
    kinds = Counter(item.path.split("/")[0] for item in objects)
    sizes = Counter[str]()
    for item in objects:
        sizes[item.path.split("/")[0]] += item.size_bytes
    of_parts = ("recordings", "health", "spectrograms", "features", "scores")
    page = max(item.size_bytes for item in objects if item.path.endswith("/index.html"))
    return {
        "parts": parts,
        "objects a part": sum(kinds[kind] for kind in of_parts) / parts,
        "objects a machine (models)": kinds["models"] / fleet.machines,
        **{f"MB, {kind}": sizes[kind] / 1e6 for kind in (*of_parts, "models", "reports")},
        "MB, largest page": page / 1e6,
    }


def count_requests(fleet: Fleet) -> Figures:
    """Return the requests and bytes of the last night, and of the fits that its models need, stage by stage."""
    settings = settings_of(fleet) | {"features": {"backbones": ["fake"], "device": "cpu"}}
    counting.register()
    figures: Figures = {}
    stages: dict[str, Callable[[Any], object]] = {
        "spectrograms": compute_spectrograms.fn,
        "features": compute_features.fn,
        "fit": fit_models.fn,
        "score": score_recordings.fn,
        "evaluate": evaluate,
    }
    for night in fleet.nights:
        work = night_run("counted://lake", date.fromisoformat(night), None, "default", settings)
        counting.upload(fleet.folder / "all" / night, f"plant/nights/{night}")
        counts: dict[str, counting.Counts] = {}
        with counting.counted() as counts["ingest"]:
            ingest_sources.fn(work, ["counted://plant/nights"])
        for stage, run in stages.items():
            with counting.counted() as counts[stage]:
                run(work)
        if night == fleet.nights[-2]:  # on that night the models are fitted
            figures |= counts["fit"].figures("fit of all models")
    for stage, seen in counts.items():
        if stage != "fit":
            figures |= seen.figures(stage)
    catalog = work.catalog()
    needed = catalog.recordings.loc[catalog.recordings["batch"] == fleet.nights[-1], "size_bytes"].sum()
    return figures | {"source bytes read a byte needed": counts["spectrograms"].source_bytes / needed}


def measure_history(nights: int, machines: int) -> Figures:
    """Return what looking at one night costs in a lake with `nights` nights of 4 recordings a machine before it."""
    lake_uri = tempfile.mkdtemp(prefix="humwatch-history-")
    try:
        lake = Lake.open(lake_uri)
        types = ("fan", "pump", "slider", "valve")
        before, tonight = (FIRST + timedelta(days=nights - back) for back in (2, 1))
        work = night_run(lake_uri, before, None, "default", SETTINGS)
        for day in range(nights):
            night = FIRST + timedelta(days=day)
            if night == tonight:
                work.catalog()  # a look at the night before
            for kind in types:
                _old_part(lake, work.spectrogram_key, kind, night, machines // len(types))
        command = [sys.executable, __file__, "--look-at", lake_uri, "--night", str(tonight)]
        seen: Figures = {}
        for name in ("the night's very first look", "first look of a process"):
            ran = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
            seen |= {f"{name}, s": ran.pop("first look, s"), **ran}
    finally:
        shutil.rmtree(lake_uri)
    return {"recordings in the lake": 4 * machines * nights, "parts": len(types) * nights, **seen}


def _old_part(lake: Lake, key: str, kind: str, night: date, machines: int) -> None:
    """Keep a part of a night, and what was measured on it, with no sound behind it."""
    at = datetime(night.year, night.month, night.day, tzinfo=UTC)
    names = [f"nights/{night}/{kind}.zip/{kind}/id_{machine:04d}/{take}.wav"
             for machine in range(machines) for take in range(4)]  # fmt: skip
    rows = [
        {
            "recording_id": recording_id(path), "content_tag": f"crc-{number:08x}-{number:x}", "path": path,
            "source_uri": f"s3://plant/nights/{night}/{kind}.zip", "member": path.partition(".zip/")[2],
            "file_key": path, "byte_start": number * 80_000, "byte_end": (number + 1) * 80_000, "size_bytes": 80_044,
            "compression": "none", "crc32": number, "machine_type": kind, "machine_id": path.split("/")[-2],
            "batch": str(night), "recorded_at": at, "ingested_at": at,
        }
        for number, path in enumerate(names)
    ]  # fmt: skip
    part = create_part(lake, kind, str(night), pa.Table.from_pylist(rows, schema=RECORDINGS))
    facts = {
        "sample_rate_hz": 16_000, "channels": 1, "duration_s": 2.5, "rms_dbfs": -20.0, "peak_dbfs": -6.0,
        "clipped_fraction": 0.0, "silent_fraction": 0.0, "dc_offset": 0.0, "nonfinite_fraction": 0.0,
        "dead_channel": False, "resampled": False, "n_frames": 79, "status": "accepted",
    }  # fmt: skip
    health = [{"recording_id": row["recording_id"], **facts} for row in rows]
    create_table(lake, part.health_path(key), pa.Table.from_pylist(health, schema=HEALTH))
    part.store("spectrograms", key).mark(lake, Mark(part=part.part_id, recordings=len(rows), key=key), [])


def look_at(lake_uri: str, night: date) -> None:
    """Print what the first and the second look at a night cost a process of its own, in processor time."""
    import resource  # noqa: PLC0415

    work = night_run(lake_uri, night, None, "default", SETTINGS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(2):
        work.refresh()
        begun = time.process_time()
        work.catalog()
        seconds.append(time.process_time() - begun)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"first look, s": seconds[0], "later looks, s": seconds[1], "memory, MB": (peak - before) / 1e3}))


def print_table(title: str, results: dict[str, Figures]) -> None:
    """Print one column a size and the growth from the first to the last."""
    table = Table("", *results, "growth", title=title, title_justify="left")
    first, last = (list(results.values())[at] for at in (0, -1))
    for name in last:
        values = [figures.get(name) for figures in results.values()]
        growth = f"{last[name] / first[name]:.2f} x" if first.get(name) else ""
        table.add_row(name, *("" if value is None else f"{value:,.4g}" for value in values), growth)
    Console(width=120).print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, nargs="+", default=[50, 500])
    parser.add_argument("--nights", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", choices=("nights", "requests", "history"), help="one of the three tables")
    parser.add_argument("--look-at", help=argparse.SUPPRESS)
    parser.add_argument("--night", type=date.fromisoformat, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.look_at:
        look_at(arguments.look_at, arguments.night)
        return
    nights: dict[str, Figures] = {}
    requests: dict[str, Figures] = {}
    for machines in arguments.machines if arguments.only != "history" else ():
        with tempfile.TemporaryDirectory(prefix="humwatch-scale-") as folder:
            fleet = simulated(machines, arguments.nights, Path(folder))
            if arguments.only != "requests":
                nights[f"{machines} machines"] = run_nights(fleet, arguments.workers)
            if arguments.only != "nights":
                requests[f"{machines} machines"] = count_requests(fleet)
    if nights:
        print_table(f"{arguments.nights} nights, {arguments.workers} workers", nights)
    if requests:
        print_table("Requests to the store: the last night", requests)
    if arguments.only in (None, "history"):
        history = {f"{count} nights": measure_history(count, 2_000) for count in (10, 40)}
        print_table("History: a night of 2,000 machines in a lake of", history)


if __name__ == "__main__":
    main()
