"""Workers, schedulers, stores, disks and clocks fail in the middle: nothing is lost and nothing is doubled."""

import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import distributed
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import warm
from conftest import FAKE, modification_times, prefect_api, run_humwatch, sorted_scores
from dask_cluster import dask_cluster, wait_for
from lakes import build, small
from recordings import machine, tone, wav, write_zip
from s3_server import s3_environment, s3_server, s3_workers

from humwatch.flows.cluster import workers
from humwatch.storage.errors import StorageFull, WorkersLost
from humwatch.storage.lake import Lake
from humwatch.storage.parts import list_parts, read_part
from humwatch.storage.tables import encode
from humwatch.tasks.execution import progress
from humwatch.tasks.ingest.task import ingest_sources
from humwatch.tasks.plan.catalog import current_recordings
from humwatch.tasks.plan.run import Run
from humwatch.tasks.settings import DaskSettings

pytestmark = pytest.mark.slow

SMALL = (
    *FAKE,
    *("--set", "images.window_frames=16", "--set", "images.window_hop_frames=16"),
    *("--set", "store.block_recordings=2", "--set", "store.chunk_recordings=2"),
    *("--set", "fit.commissioning_nights=1", "--set", "fit.min_training_recordings=8"),
)
SETTINGS = small(store={"block_recordings": 2})


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """A folder of one night with one archive: two machines, 32 recordings, 16 blocks."""
    folder = tmp_path_factory.mktemp("source") / "nights"
    (folder / "2026-01-01").mkdir(parents=True)
    members = {**machine("fan/id_00", 16, 4, duration_s=2.0), **machine("pump/id_00", 12, 0, duration_s=2.0)}
    write_zip(folder / "2026-01-01" / "plant.zip", members)
    return folder


@pytest.fixture(scope="module")
def archive(nights):
    return nights / "2026-01-01" / "plant.zip"


@pytest.fixture(scope="module")
def cluster():
    with dask_cluster() as running:
        yield running


@pytest.fixture(scope="module")
def undisturbed(archive, tmp_path_factory):
    """The scores of the stages, one after the other in this process."""
    work = Run(str(tmp_path_factory.mktemp("undisturbed")), SETTINGS)
    build(work, archive)
    return scores_of(work.lake_uri)


@pytest.fixture(scope="module")
def undisturbed_run(archive, tmp_path_factory):
    lake = tmp_path_factory.mktemp("undisturbed")
    ran = run_humwatch("run", archive, "--lake", lake, *SMALL)
    assert ran.status == 0, ran.stderr
    return scores_of(lake)


def scores_of(lake) -> list[tuple]:
    scores = sorted_scores(Path(lake))
    assert len({row[:4] for row in scores}) == len(scores), "a recording was scored twice"
    return scores


@contextmanager
def when(stage: str, done: int, act):
    """Call `act` once, when `done` units of a stage are finished and others are being worked on."""
    acted = []

    def listen(name, finished, total):
        if (name, finished) == (stage, done):
            assert finished < total
            acted.append(act())

    with progress.listening(listen):
        yield
    assert len(acted) == 1, "it never came to that"


@pytest.mark.parametrize("stage", ["spectrograms", "features"])
def test_a_killed_worker_loses_nothing(stage, cluster, archive, undisturbed, tmp_path):
    def kill() -> int:
        worker = cluster.worker(0)
        worker.kill()
        return worker.pid

    work = Run(str(tmp_path), SETTINGS)
    with distributed.Client(cluster.address) as client:
        client.wait_for_workers(2, timeout=60)
        with when(stage, 3, kill):
            assert build(work, archive)[:2] == (32, 64)
        client.wait_for_workers(2, timeout=60)  # its nanny has started another one
    assert scores_of(tmp_path) == undisturbed
    assert not list(tmp_path.rglob("*.blocks"))


def test_a_flow_killed_beside_workers_that_live_on_is_continued(cluster, archive, undisturbed_run, tmp_path):
    environment = {"PREFECT_API_URL": prefect_api(), "HUMWATCH_DASK__ADDRESS": cluster.address}
    flow = warm.begin(["run", str(archive), "--lake", str(tmp_path / "lake"), *SMALL], environment)
    wait_for(lambda: list(tmp_path.glob("lake/spectrograms/*/*/*/*.blocks/*.parquet")))
    flow.kill()
    flow.join()
    assert flow.exitcode == -signal.SIGKILL
    assert not list(tmp_path.glob("lake/models/*"))
    ran = run_humwatch("run", archive, "--lake", tmp_path / "lake", *SMALL, env=environment)
    assert ran.status == 0, ran.stderr
    assert 0 < ran.summary["recordings_decoded"] < 32
    assert scores_of(tmp_path / "lake") == undisturbed_run


def test_a_killed_scheduler_ends_the_run_with_a_clear_error_and_the_next_one_goes_on(archive, undisturbed, tmp_path):
    work = Run(str(tmp_path), SETTINGS)
    with dask_cluster() as cluster:
        lost = pytest.raises(WorkersLost, match="the connection to the Dask scheduler is lost")
        with lost, workers(DaskSettings(address=cluster.address)), when("spectrograms", 3, cluster.scheduler.kill):
            build(work, archive)
    decoded = build(work, archive)[0]
    assert 0 < decoded <= 32 - 2 * 3
    assert scores_of(tmp_path) == undisturbed


def test_a_run_outlives_twenty_seconds_without_its_store(archive, undisturbed_run, tmp_path):
    with s3_server() as server, s3_workers(server.env) as env, ThreadPoolExecutor(1) as executor:
        source, uri = server.upload(archive), server.new_uri()
        running = executor.submit(run_humwatch, "run", source, "--lake", uri, *SMALL, env=env)
        with s3_environment(server.env):
            lake = Lake(uri)
            wait_for(lambda: lake.list("spectrograms", ".parquet") or running.done())
        with server.killed():
            assert not running.done()
            time.sleep(20)
        ran = running.result(timeout=300)
        assert ran.status == 0, ran.stderr
        assert ran.summary["errors"] == []
        assert scores_of(server.download(uri, tmp_path)) == undisturbed_run


def test_two_nightly_runs_at_once_do_the_work_of_one(nights, tmp_path):
    def nightly(lake):
        return run_humwatch("nightly", nights, "--lake", lake, *SMALL)

    with ThreadPoolExecutor(2) as executor:
        both = list(executor.map(nightly, [tmp_path / "both"] * 2))
    alone = nightly(tmp_path / "alone")
    for ran in (*both, alone):
        assert ran.status == 0, ran.stderr
        assert (ran.summary["errors"], ran.summary["accepted"], ran.summary["night"]) == ([], 32, "2026-01-01")
    assert scores_of(tmp_path / "both") == scores_of(tmp_path / "alone")
    before = modification_times(tmp_path / "both")
    again = nightly(tmp_path / "both")
    assert (again.summary["recordings_decoded"], again.summary["recordings_scored"]) == (0, 0)
    changed = {path for path, written in modification_times(tmp_path / "both").items() if before.get(path) != written}
    assert changed <= {"reports/latest.json", "reports/index.html"}


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 16 MB; only root may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.parametrize("free_bytes", [8 << 10, 256 << 10])
def test_a_full_disk_is_named_and_the_next_run_with_room_goes_on(free_bytes, small_disk, archive, undisturbed):
    work, ballast = Run(str(small_disk / "lake"), SETTINGS), small_disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - free_bytes))
    with pytest.raises(StorageFull, match="the disk is full: make room and run again"):
        build(work, archive)
    ballast.unlink()
    build(work, archive)
    assert scores_of(work.lake_uri) == undisturbed


def test_what_a_clock_that_was_a_day_ahead_has_written_does_not_hide_what_comes_later(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    work = Run(str(tmp_path / "lake"), SETTINGS)

    def ingest(data: bytes, count: int) -> str:
        write_zip(source / "plant.zip", {f"fan/id_00/normal/{n}.wav": data for n in range(count)})
        ingest_sources.fn(work, [str(source)])
        (tag,) = set(current_recordings(work.lake)[0]["content_tag"])
        return tag

    first = ingest(wav(tone(1)), 1)
    lake = work.lake
    (part,) = list_parts(lake)
    table = read_part(lake, part)
    column = table.schema.get_field_index("ingested_at")
    ahead = pc.add(table["ingested_at"], pa.scalar(timedelta(days=1)))
    lake.write(part.table_path, encode(table.set_column(column, "ingested_at", ahead)))
    second = ingest(wav(tone(2)), 1)
    assert second != first
    assert ingest_sources.fn(work, [str(source)]).new == 0
    assert ingest(wav(tone(1)), 1) == first
