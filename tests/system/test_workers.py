"""Real schedulers with worker processes of their own: which get work, how much at once, and which are refused."""

import os
import re
from pathlib import Path

import distributed
import pytest
from dask_cluster import dask_scheduler, dask_worker, wait_for
from lakes import small
from recordings import machine, write_zip

from humwatch.flows.cluster import WORKER_ENVIRONMENT, shared_workers, workers, workers_when_needed
from humwatch.storage.errors import BadConfiguration
from humwatch.tasks.execution.stage import run_on_workers
from humwatch.tasks.features.task import compute_features
from humwatch.tasks.ingest.task import ingest_sources
from humwatch.tasks.plan.run import Run
from humwatch.tasks.settings import DaskSettings
from humwatch.tasks.spectrograms.task import compute_spectrograms

CONTAINERFILE = Path(__file__).parents[2] / "deployments" / "Containerfile"
WITHOUT_HUMWATCH = (
    "-c",
    "import sys; sys.modules['humwatch'] = None; import distributed.cli.dask_worker as w; w.main()",
)
ONE = {"block_recordings": 1, "chunk_recordings": 1}


@pytest.fixture(scope="module")
def address():
    with dask_scheduler() as (address, _):
        yield address


@pytest.fixture
def client(address):
    with distributed.Client(address, timeout="60s") as client:
        yield client


def wait_for_plain_and_gpu(client):
    """Dask lists a worker before it knows its resources."""
    client.wait_for_workers(2, timeout=60)
    wait_for(lambda: any(each["resources"] for each in client.scheduler_info(n_workers=-1)["workers"].values()))


def test_workers_without_humwatch_are_refused_at_once(address, client):
    with dask_worker(address, "--no-nanny", program=WITHOUT_HUMWATCH):
        client.wait_for_workers(1, timeout=60)
        refused = pytest.raises(BadConfiguration, match="has no Humwatch: install it there")
        with refused, workers(DaskSettings(address=address)):
            pass


def test_own_workers_have_one_thread_and_one_heap_and_may_be_slow_to_end(monkeypatch):
    close = distributed.LocalCluster.close

    def slow(cluster):
        close(cluster)
        raise TimeoutError  # what Dask raises when a worker process outlives its time

    monkeypatch.setattr(distributed.LocalCluster, "close", slow)
    for name in WORKER_ENVIRONMENT:  # Dask leaves some in processes that had a cluster before
        monkeypatch.delenv(name, raising=False)
    with workers(DaskSettings(workers=1)) as client:
        assert environment(client) == WORKER_ENVIRONMENT


def test_runs_in_shared_workers_have_the_same_local_ones_under_the_same_settings(address):
    own = DaskSettings(workers=1)
    with shared_workers():
        with workers(own) as first:
            pass
        with workers(DaskSettings(address=address)) as team:
            pass
        assert team.status == "closed"
        with workers(own) as again:
            assert again is first
            assert again.submit(sum, [1, 2]).result() == 3
        with workers(DaskSettings(workers=1, blocks_in_flight=3)) as other:
            assert (first.status, other.status) == ("closed", "running")
    assert other.status == "closed"
    with workers(own) as alone:
        pass
    assert alone.status == "closed"


def test_workers_begin_with_the_first_unit_of_work_and_end_with_the_run():
    with workers_when_needed(DaskSettings(workers=1)):
        assert list(run_on_workers("x", str, [], 0, 1)) == []
        with pytest.raises(ValueError, match="No global client"):
            distributed.get_client()
        (pid,) = run_on_workers("x", _process, [0], 1, 1)
        assert pid != os.getpid()
        client = distributed.get_client()
        assert list(run_on_workers("x", _process, [0], 1, 1)) == [pid], "the same ones serve the next stage"
    assert client.status == "closed"


def _process(_):
    import os

    return os.getpid()


def test_workers_of_the_image_have_the_same_under_a_nanny(address, client, monkeypatch):
    for name in WORKER_ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    (of_image,) = re.findall(r"^ENV ((?:.*\\\n)*.*)$", CONTAINERFILE.read_text(), re.MULTILINE)
    with dask_worker(address, env=dict(re.findall(r"(\w+)=(\S+)", of_image))):
        client.wait_for_workers(1, timeout=60)
        assert environment(client) == WORKER_ENVIRONMENT


# Functions of this module are defined where they are used: those travel by value, and workers need not import it.


def environment(client):
    """What the environment of the one worker holds of WORKER_ENVIRONMENT."""

    def read(names):
        import os

        return {name: os.environ.get(name) for name in names}

    (found,) = client.run(read, list(WORKER_ENVIRONMENT)).values()
    return found


def test_blocks_that_want_a_gpu_go_to_workers_that_have_one_and_to_all_where_none_has(address, client):
    def where(_):
        import time

        time.sleep(0.02)
        return distributed.get_worker().name

    def used(resource):
        return set(run_on_workers("x", where, range(40), 40, 2, resource))

    with dask_worker(address, "--no-nanny", "--name", "plain"):
        client.wait_for_workers(1, timeout=60)
        assert used("GPU") == {"plain"}
        with dask_worker(address, "--no-nanny", "--name", "gpu", "--resources", "GPU=1"):
            wait_for_plain_and_gpu(client)
            assert used("GPU") == {"gpu"}
            assert used(None) == {"plain", "gpu"}


def test_the_features_stage_wants_a_gpu_unless_the_device_is_the_cpu(address, client, tmp_path):
    def has_embedded(dask_worker):
        import sys

        return dask_worker.name, "humwatch.tasks.features.embed" in sys.modules

    source = write_zip(tmp_path / "plant.zip", machine("fan/id_00", 8, 0, duration_s=2.0))
    with (
        dask_worker(address, "--no-nanny", "--name", "plain"),
        dask_worker(address, "--no-nanny", "--name", "gpu", "--resources", "GPU=1"),
    ):
        wait_for_plain_and_gpu(client)
        for device, there in (("auto", {"gpu"}), ("cpu", {"gpu", "plain"})):
            work = Run(str(tmp_path / device), small(features={"device": device}, store=ONE))
            ingest_sources.fn(work, [str(source)])
            compute_spectrograms.fn(work)
            assert compute_features.fn(work).windows_embedded == 16
            assert {name for name, has in client.run(has_embedded).values() if has} == there


def test_never_more_than_some_blocks_a_worker_are_in_flight_while_workers_come_and_go(address, client):
    taken = 0

    def units():
        nonlocal taken
        for unit in range(60):
            taken += 1
            yield unit

    def nap(unit):
        import time

        time.sleep(0.05)
        return unit

    with dask_worker(address, "--no-nanny"):
        client.wait_for_workers(1, timeout=60)
        finished, waiting = [], []
        results = run_on_workers("x", nap, units(), 60, 2)

        def take(count):
            for _ in range(count):
                finished.append(next(results))
                waiting.append(taken - len(finished))

        take(10)
        with dask_worker(address, "--no-nanny"):
            client.wait_for_workers(2, timeout=60)
            take(20)
        wait_for(lambda: len(client.scheduler_info()["workers"]) == 1)
        finished += results
    # Two a worker, less the one just taken; how soon the second worker is counted is the scheduler's matter.
    assert max(waiting[:10]) == 1
    assert max(waiting[10:]) == 3
    assert sorted(finished) == list(range(60))
