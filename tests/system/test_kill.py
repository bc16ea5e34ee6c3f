"""Killed at any point and run again, or run twice at once: the same scores, and nothing half done is taken for done.

A run gets a process group of its own: the flow, its Dask workers and, when it is killed after the last shard of the
features, its Prefect server. It is watched from outside, by the objects in its lake, and the whole group is killed with
SIGKILL at a moment named by objects that are there already and objects that are not there yet. When the run was faster
than the watcher, it is begun again.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import warm
from conftest import FAKE, Ran, modification_times, prefect_api, run_humwatch, sorted_scores
from prefect_server import new_home
from recordings import machine, wav, write_zip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SEED = 20261121
BLOCK = 4
SMALL = (
    *FAKE,
    *("--set", "images.image_size_px=32", "--set", "images.window_frames=16", "--set", "images.window_hop_frames=16"),
    *("--set", f"store.block_recordings={BLOCK}", "--set", f"store.chunk_recordings={BLOCK // 2}"),
)
TYPES = {"fan": 200.0, "pump": 300.0, "slider": 450.0, "valve": 700.0}
LISTED, SILENT = 49, 1
# 1 s at hop 512 is 32 frames: two windows of 16.
WINDOWS = 2
TRIES = 6
TIMEOUT_S = 240

# What each stage leaves in the lake, in their order; times of day are in recordings and reports only.
FOLDERS = {
    "ingest": ("recordings",),
    "spectrograms": ("health", "spectrograms"),
    "features": ("features",),
    "fit": ("models",),
    "score": ("scores",),
    "evaluate": ("evaluations",),
    "report": ("reports",),
}
DERIVED = ("health", "spectrograms", "features", "models", "scores", "evaluations")


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    members = {"fan/id_00/normal/silent.wav": wav(np.zeros((16_000, 1), np.float32))}
    for name, frequency_hz in TYPES.items():
        members |= machine(f"{name}/id_00", 8, 4, frequency_hz=frequency_hz, duration_s=1.0)
    assert len(members) == LISTED
    return write_zip(tmp_path_factory.mktemp("source") / "plant.zip", members)


@dataclass(frozen=True)
class Undisturbed:
    lake: Path
    summary: dict

    def find(self, pattern: str) -> list[str]:
        found = sorted(str(path.relative_to(self.lake)) for path in self.lake.glob(pattern))
        assert found, pattern
        return found


@pytest.fixture(scope="module")
def undisturbed(archive, tmp_path_factory) -> Undisturbed:
    lake = tmp_path_factory.mktemp("undisturbed")
    ran = run_humwatch("run", archive, "--lake", lake, *SMALL)
    assert ran.status == 0, ran.stderr
    work = ("listed", "accepted", "rejected", "recordings_decoded", "windows_embedded", "models_fitted")
    assert [ran.summary[name] for name in work] == [
        LISTED,
        LISTED - SILENT,
        SILENT,
        LISTED,
        WINDOWS * LISTED,
        len(TYPES),
    ]
    return Undisturbed(lake, ran.summary)


@dataclass(frozen=True)
class Moment:
    """Of `objects` at least `fewest` and at most `most` are there, of `absent` none."""

    objects: list[str]
    fewest: int
    most: int
    absent: list[str]

    def begun(self, lake: Path) -> bool:
        return sum((lake / name).exists() for name in self.objects) >= self.fewest or self.over(lake)

    def over(self, lake: Path) -> bool:
        count = sum((lake / name).exists() for name in self.objects)
        return count > self.most or any((lake / name).exists() for name in self.absent)

    def __contains__(self, lake: Path) -> bool:
        return self.begun(lake) and not self.over(lake)


def marks(undisturbed: Undisturbed, kind: str) -> list[str]:
    return undisturbed.find(f"{kind}/*/*/*/*.json")


def receipts(undisturbed: Undisturbed, kind: str) -> list[str]:
    return [
        f"{mark.removesuffix('.json')}.blocks/{start:06d}.parquet"
        for mark in marks(undisturbed, kind)
        for start in range(0, recordings_of(undisturbed.lake, mark), BLOCK)
    ]


def recordings_of(lake: Path, name: str) -> int:
    """How many recordings the part has that an object `.../<part>.json` or `.../<part>.blocks/...` belongs to."""
    part = next(one for one in name.split("/") if "." in one).partition(".")[0]
    (table,) = lake.glob(f"recordings/*/*/{part}.parquet")
    return len(pd.read_parquet(table, partitioning=None))


def among_the_blocks(kind: str) -> Callable[[Undisturbed], Moment]:
    def moment(undisturbed):
        objects = receipts(undisturbed, kind)
        fewest = random.Random(f"{SEED} {kind}").randrange(1, len(objects))
        return Moment(objects, fewest, len(objects) - 1, marks(undisturbed, kind))

    return moment


def between_last_shard_and_mark(kind: str) -> Callable[[Undisturbed], Moment]:
    def moment(undisturbed):
        objects = receipts(undisturbed, kind)
        return Moment(objects, len(objects), len(objects), marks(undisturbed, kind))

    return moment


def among(pattern: str) -> Callable[[Undisturbed], Moment]:
    def moment(undisturbed):
        objects = undisturbed.find(pattern)
        assert len(objects) == len(TYPES)
        return Moment(objects, 1, len(objects) - 1, [])

    return moment


def between(first: str, last: str) -> Callable[[Undisturbed], Moment]:
    def moment(undisturbed):
        return Moment(undisturbed.find(first), 1, 1, undisturbed.find(last))

    return moment


MOMENTS: dict[str, tuple[str, Callable[[Undisturbed], Moment]]] = {
    "ingest": ("ingest", among("recordings/*/*/*.parquet")),
    "spectrograms": ("spectrograms", among_the_blocks("spectrograms")),
    "spectrograms, last shard written": ("spectrograms", between_last_shard_and_mark("spectrograms")),
    "features": ("features", among_the_blocks("features")),
    "features, last shard written": ("features", between_last_shard_and_mark("features")),
    "fit": ("fit", among("models/*/*/*/*/passport.json")),
    "score": ("score", among("scores/*/*/*/*.parquet")),
    "evaluate": ("evaluate", between("evaluations/*/auc.parquet", "evaluations/*/summary.parquet")),
    "report": ("report", between("reports/*/auc.csv", "reports/*/summary.json")),
}


def begin(command: list[str], log: Path, *, embedded: bool) -> tuple[int, Callable[[], int | None]]:
    """Begin a run, an embedded one with a Prefect server of its own; return its pid and what tells its exit status."""
    if not embedded:
        process = warm.begin(command, {"PREFECT_API_URL": prefect_api()}, str(log), str(log))
        return process.pid, lambda: process.exitcode
    environment = {**os.environ, "PREFECT_HOME": str(new_home(log.parent / "prefect"))}
    with log.open("w") as file:
        output = {"stdout": file, "stderr": file}
        alone = subprocess.Popen(
            [sys.executable, "-m", "humwatch", *command], env=environment, process_group=0, **output
        )
    return alone.pid, alone.poll


def kill_at(moment: Moment, archive: Path, lake: Path, log: Path, *, workers: int, embedded: bool) -> None:
    """Begin a run and kill all its processes when the moment has begun."""
    command = ["run", str(archive), "--lake", str(lake), *SMALL, f"--workers={max(1, workers)}", "--json"]
    deadline = time.monotonic() + TIMEOUT_S
    pid, status = begin(command, log, embedded=embedded)
    try:
        while not moment.begun(lake):
            assert status() is None, f"it ended before the moment: {log.read_text()}"
            assert time.monotonic() < deadline, f"the moment never came: {log.read_text()}"
            time.sleep(0.001)
        # Held still, so that nothing happens and nobody is born while we look who has to die.
        os.killpg(pid, signal.SIGSTOP)
        family = psutil.Process(pid).children(recursive=True)
        assert {os.getpgid(member.pid) for member in family} <= {pid}
        commands = [" ".join(member.cmdline()) for member in family]
        assert sum("prefect.server" in command for command in commands) == embedded, commands
        assert sum("spawn_main" in command for command in commands) == workers, commands
    finally:
        os.killpg(pid, signal.SIGKILL)
    while status() is None or any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in family):
        assert time.monotonic() < deadline, family
        time.sleep(0.01)
    assert status() == -signal.SIGKILL


def lake_before(stage: str, undisturbed: Undisturbed, lake: Path) -> Path:
    """A lake in which all stages before `stage` are done."""
    lake.mkdir()
    for folders in list(FOLDERS.values())[: list(FOLDERS).index(stage)]:
        for folder in folders:
            shutil.copytree(undisturbed.lake / folder, lake / folder)
    return lake


def done_blocks(lake: Path, kind: str) -> list[str]:
    return [str(path.relative_to(lake)) for path in lake.glob(f"{kind}/*/*/*/*.blocks/*.parquet")]


def done_recordings(lake: Path, kind: str) -> int:
    """Recordings in marked parts and in blocks with a receipt."""
    marked = [str(path.relative_to(lake)) for path in lake.glob(f"{kind}/*/*/*/*.json")]
    blocks = [min(BLOCK, recordings_of(lake, name) - int(Path(name).stem)) for name in done_blocks(lake, kind)]
    return sum(recordings_of(lake, name) for name in marked) + sum(blocks)


def shard_of(receipt: str, array: str) -> str:
    stem, _, name = receipt.partition(".blocks/")
    return f"{stem}.zarr/{array}/c/{int(Path(name).stem) // BLOCK}/0/0"


def derived(lake: Path) -> dict[str, bytes]:
    """Every derived object; what a killed writer leaves half written goes by other names."""
    return {
        str(path.relative_to(lake)): path.read_bytes()
        for folder in DERIVED
        for path in (lake / folder).rglob("*")
        if path.is_file() and not path.name.startswith(".tmp-") and path.suffix != ".partial"
    }


def assert_nothing_half_done_is_read(stage: str, lake: Path, copy: Path) -> None:
    """The stage after the one that died, alone, takes nothing for done that is not."""
    if stage == "report":
        assert not (lake / "reports" / "latest.json").exists()
        assert not (lake / "reports" / "index.html").exists()
        return
    follower = {"spectrograms": "features", "features": "fit", "fit": "score", "score": "evaluate"}[stage]
    shutil.copytree(lake, copy)
    ran = run_humwatch(follower, "--lake", copy, *SMALL)
    if stage == "spectrograms":
        assert ran.status == 0, ran.stderr
        assert ran.summary["windows_embedded"] == 0
        assert not (copy / "features").exists()
    elif stage == "fit":
        assert ran.status == 0, ran.stderr
        # A model whose writer died before it was made current scores nothing yet.
        current = len(list(lake.glob("models/*/*/*/current.json")))
        assert ran.summary["recordings_scored"] == 12 * current < LISTED - SILENT
    else:
        assert ran.status == 1
        assert [(error["stage"], error["code"]) for error in ran.summary["errors"]] == [(follower, "not_complete")]
        assert not list(copy.glob(f"{FOLDERS[follower][0]}/**/*.*"))


@pytest.mark.parametrize("name", MOMENTS)
def test_a_killed_run_is_continued_to_the_same_scores(name, undisturbed, archive, tmp_path):
    stage, moment_of = MOMENTS[name]
    moment = moment_of(undisturbed)
    for number in range(TRIES):
        lake = lake_before(stage, undisturbed, tmp_path / f"lake-{number}")
        # Two that write into one store, where they do; none before the first unit of work, and pages are none.
        workers = {"ingest": 0, "spectrograms": 2, "features": 2, "evaluate": 0, "report": 0}.get(stage, 1)
        embedded = name == "features, last shard written"
        kill_at(moment, archive, lake, tmp_path / "log", workers=workers, embedded=embedded)
        if lake in moment:
            break
    else:
        pytest.fail(f"{TRIES} runs were too fast to be killed there")
    if name not in {"ingest", "spectrograms", "features", "evaluate"}:
        assert_nothing_half_done_is_read(stage, lake, tmp_path / "copy")

    decoded, embedded = done_recordings(lake, "spectrograms"), done_recordings(lake, "features")
    models = len(list(lake.glob("models/*/*/*/*/passport.json")))
    scored = sum(len(pd.read_parquet(path, partitioning=None)) for path in lake.glob("scores/*/*/*/*.parquet"))
    finished = [shard_of(receipt, "logmel") for receipt in done_blocks(lake, "spectrograms")]
    finished += [shard_of(receipt, "features") for receipt in done_blocks(lake, "features")]
    before = modification_times(lake)

    ran = run_humwatch("run", archive, "--lake", lake, *SMALL)
    assert ran.status == 0, ran.stderr
    counts = ("listed", "accepted", "rejected", "degraded", "errors")
    assert {name: ran.summary[name] for name in counts} == {name: undisturbed.summary[name] for name in counts}
    assert ran.summary["recordings_decoded"] == LISTED - decoded
    if stage != "ingest":
        assert ran.summary["recordings_decoded"] < LISTED
    assert ran.summary["windows_embedded"] == WINDOWS * (LISTED - embedded)
    assert ran.summary["models_fitted"] == len(TYPES) - models
    assert ran.summary["recordings_scored"] == LISTED - SILENT - scored
    after = modification_times(lake)
    assert {path: after[path] for path in finished} == {path: before[path] for path in finished}

    assert sorted_scores(lake) == sorted_scores(undisturbed.lake)
    assert not list(lake.rglob("*.blocks"))
    assert derived(lake) == derived(undisturbed.lake)
    assert Path(ran.summary["report"]).exists()
    assert Path(ran.summary["report"]).parent.name in (lake / "reports" / "index.html").read_text()


def test_two_runs_at_once_do_no_harm_to_each_other(undisturbed, archive, tmp_path):
    def run(_) -> Ran:
        return run_humwatch("run", archive, "--lake", tmp_path, *SMALL)

    with ThreadPoolExecutor(2) as executor:
        both = list(executor.map(run, range(2)))
    assert [ran.status for ran in both] == [0, 0], [ran.stderr for ran in both]
    assert {ran.summary["accepted"] for ran in both} == {LISTED - SILENT}
    assert sorted_scores(tmp_path) == sorted_scores(undisturbed.lake)
    assert not list(tmp_path.rglob("*.blocks"))
    assert derived(tmp_path) == derived(undisturbed.lake)
