"""The command line as users run it, in this process, with the fake backbone unless a test says otherwise."""

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import distributed
import pandas as pd
import pytest
import warm
from chromium import chromium
from prefect_server import start_shared

_PREFECT, _DASK = "TESTS_PREFECT_API", "TESTS_DASK_ADDRESS"
FAKE = (
    *("--backbone", "fake", "--detector", "gmm", "--set", "images.image_size_px=64"),
    *("--set", "fit.pca_components=none", "--set", "fit.gmm_components=2"),
    *("--set", "report.max_clips=0"),  # their pictures would take a third of a run's time
)


@dataclass
class Ran:
    """What a command left behind."""

    status: int
    stdout: str
    stderr: str

    @property
    def summary(self):
        return json.loads(self.stdout)

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(Path(self.summary["report"]).parent / f"{name}.parquet")


def run_humwatch(*arguments, env=None, before=(), as_json=True) -> Ran:
    """Run `humwatch ... --json` in a process of its own; `as_json=False` leaves the option out.

    To save starting them each time, runs share what they import and, even over several test processes, one Prefect
    server and one Dask scheduler with two workers, reached as a team reaches theirs; with `dask.address=null` a run has
    workers of its own. `before` is put before the command.
    """
    given = [*map(str, arguments), *(["--json"] if as_json else [])]
    shared = {"PREFECT_API_URL": prefect_api(), "HUMWATCH_DASK__ADDRESS": dask_address()}
    if not before and warm.can_run(env or {}, _warm_environment()):
        return Ran(*warm.run(given, {**shared, **(env or {})}))
    command = [*before, sys.executable, "-m", "humwatch", *given]
    environment = {**os.environ, **shared, **(env or {})}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return Ran(ran.returncode, ran.stdout, ran.stderr)


@functools.cache
def _warm_environment() -> dict[str, str]:
    environment = {"PREFECT_API_URL": prefect_api()}
    warm.start(environment)
    return environment


def pytest_configure(config):
    """The first process of several starts what all share; the others inherit the addresses."""
    if config.getoption("numprocesses", default=None) and not hasattr(config, "workerinput"):
        os.environ[_PREFECT] = _start_prefect()
        os.environ[_DASK] = _start_dask()


@functools.cache
def prefect_api() -> str:
    url = os.environ.get(_PREFECT) or _start_prefect()
    for _ in range(480):
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=1):
                return url
        except OSError:
            time.sleep(0.5)
    raise RuntimeError("the Prefect server did not start")


@functools.cache
def dask_address() -> str:
    return os.environ.get(_DASK) or _start_dask()


def _start_prefect() -> str:
    return start_shared(Path(tempfile.mkdtemp(prefix="shared-", dir=os.environ["PREFECT_HOME"])))


def _start_dask() -> str:
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0"
    )
    atexit.register(cluster.close)
    return cluster.scheduler_address


@pytest.fixture
def humwatch():
    return run_humwatch


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


def modification_times(lake: Path) -> dict[str, int]:
    return {str(path.relative_to(lake)): path.stat().st_mtime_ns for path in lake.rglob("*") if path.is_file()}


def sorted_scores(lake: Path) -> list[tuple]:
    """Every score the lake holds, in an order of its own; comparable with ==."""
    frames = [pd.read_parquet(path) for path in sorted((lake / "scores").rglob("*.parquet"))]
    rows = pd.concat(frames)[["recording_id", "backbone", "detector", "seed", "score", "threshold", "p_value"]]
    return sorted(map(tuple, rows.astype(object).where(rows.notna(), None).to_numpy().tolist()), key=str)
