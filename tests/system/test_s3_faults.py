"""An S3 server that throttles, resets and refuses: what may pass is repeated, what will not is said at once."""

import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import distributed
import numpy as np
import pytest
from conftest import FAKE, run_humwatch, sorted_scores
from recordings import machine, write_zip
from s3_server import S3Proxy, s3_environment, s3_server, s3_workers

from humwatch.storage.arrays import ArraySchema, create_store, finish_store, read_n_frames, read_rows, write_block
from humwatch.storage.errors import SourceForbidden, SourceNotFound, StorageUnavailable
from humwatch.storage.lake import Lake
from humwatch.storage.sources import list_members, read_members
from humwatch.tasks.execution.stage import run_on_workers

SMALL = (*FAKE, "--set", "store.block_recordings=8", "--set", "store.chunk_recordings=4")
SCHEMA = ArraySchema("logmel", ("recording", "mel", "frame"), (8, 3, 64), (4, 3, 64), 2, "float32", {})


@pytest.fixture(scope="module")
def server():
    with s3_server() as running:
        yield running


@pytest.fixture(scope="module")
def proxy(server):
    with S3Proxy(server).running() as running:
        yield running


@pytest.fixture(scope="module")
def env(proxy):
    with s3_workers(proxy.env, workers=2) as env:
        yield env


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    members = {**machine("fan/id_00", 10, 4), **machine("pump/id_00", 6, 3)}
    return write_zip(tmp_path_factory.mktemp("source") / "plant.zip", members, zipfile.ZIP_STORED)


@pytest.fixture(scope="module")
def undisturbed(archive, env, tmp_path_factory):
    lake = tmp_path_factory.mktemp("undisturbed")
    ran = run_humwatch("run", archive, "--lake", lake, *SMALL, env=env)
    assert ran.status == 0, ran.stderr
    return sorted_scores(lake)


def test_a_run_through_throttling_and_resets_gives_the_same_scores(server, proxy, env, archive, undisturbed, tmp_path):
    source, lake = server.upload(archive), server.new_uri()
    with proxy.spoiling(slow_down=0.05, cut=0.05, seed=1):
        ran = run_humwatch("run", source, "--lake", lake, *SMALL, env=env)
    assert ran.status == 0, ran.stderr
    assert ran.summary["errors"] == []
    assert min(proxy.spoiled["slow_down"], proxy.spoiled["cut"]) >= 5
    assert sorted_scores(server.download(lake, tmp_path)) == undisturbed


def test_two_runs_at_once_share_a_lake(server, env, archive, undisturbed, tmp_path):
    source, lake = server.upload(archive), server.new_uri()
    with ThreadPoolExecutor(2) as executor:
        runs = [executor.submit(run_humwatch, "run", source, "--lake", lake, *SMALL, env=env) for _ in range(2)]
    for ran in [run.result() for run in runs]:
        assert ran.status == 0, ran.stderr
        assert (ran.summary["errors"], ran.summary["accepted"]) == ([], 23)
    assert sorted_scores(server.download(lake, tmp_path)) == undisturbed


@pytest.mark.parametrize("wrong", ["secret", "bucket"])
def test_what_will_not_pass_is_said_at_once(server, env, archive, wrong):
    source, lake = server.upload(archive), server.new_uri()
    if wrong == "secret":
        env = {**env, "AWS_SECRET_ACCESS_KEY": "another"}
    else:
        source = "s3://no-such-bucket/plant.zip"
    ran = run_humwatch("ingest", source, "--lake", lake, *SMALL, env=env)
    assert ran.status == 1
    assert sum(ran.summary["seconds"].values()) < 15
    (problem,) = ran.summary["errors"]
    assert problem["code"] == ("source_forbidden" if wrong == "secret" else "source_not_found")
    assert (lake if wrong == "secret" else source) in problem["message"]
    assert "Traceback" not in ran.stdout
    assert "another" not in ran.stdout + ran.stderr


def test_a_lake_in_a_bucket_that_is_not_there_is_refused(server):
    # This server says "forbidden" of a bucket that may not be created; others say that there is none.
    refused = pytest.raises((SourceForbidden, SourceNotFound), match="s3://no-such-bucket/lake")
    with s3_environment(server.env), refused:
        Lake.open("s3://no-such-bucket/lake")


def test_every_operation_outlives_resets(server, proxy, archive):
    uri = server.upload(archive)
    values = np.random.default_rng(0).normal(size=(4, 3, 64)).astype(np.float32)
    with proxy.spoiling(slow_down=0.05, cut=0.2, seed=2), s3_environment(proxy.env):
        lake = Lake.open(server.new_uri())
        for name in map(str, range(5)):
            lake.write(f"a/{name}", name.encode() * 1000)
            lake.create(f"b/{name}", name.encode())
            assert lake.read(f"a/{name}") == name.encode() * 1000
            assert (lake.exists(f"b/{name}"), lake.exists(f"c/{name}")) == (True, False)
        assert lake.list("b") == [f"b/{name}" for name in range(5)]
        lake.delete("b")
        assert lake.list("b") == []
        array = create_store(lake, "s.zarr", SCHEMA, {"recording_id": list("abcdefgh")}, {})
        write_block(lake, array, range(4, 8), values)
        finish_store(lake, array, np.arange(8), 64)
        np.testing.assert_array_equal(read_rows(lake, array, range(4, 8)), values)
        assert read_n_frames(lake, "s.zarr").tolist() == list(range(8))
        members = list_members(uri, ("wav",), 1 << 30).members
        read = {member.member: data for member, data in read_members(members, 1 << 30)}
    assert min(proxy.spoiled["cut"], proxy.spoiled["slow_down"]) >= 1
    with zipfile.ZipFile(archive) as source:
        assert read == {name: source.read(name) for name in source.namelist()}


def test_of_many_creators_no_two_win_even_if_answers_are_lost(server, proxy):
    with proxy.spoiling(cut=0.3, seed=3), s3_environment(proxy.env):
        lake = Lake.open(server.new_uri())
        start = threading.Barrier(16)

        def create(index):
            start.wait(30)
            return lake.create("mark", str(index).encode())

        with ThreadPoolExecutor(16) as executor:
            won = list(executor.map(create, range(16)))
        assert sum(won) <= 1
        kept = int(lake.read("mark"))
    assert won in ([index == kept for index in range(16)], [False] * 16)
    assert proxy.spoiled["cut"] >= 1


def test_a_store_that_cannot_be_asked_says_neither_yes_nor_no(server):
    with s3_environment(server.env):
        lake = Lake.open(server.new_uri())
        create_store(lake, "s.zarr", SCHEMA, {}, {})
    with s3_environment({**server.env, "AWS_SECRET_ACCESS_KEY": "another"}):
        for ask in (
            lambda lake: lake.exists("lake.json"),
            lambda lake: lake.exists("absent"),
            lambda lake: lake.list("absent"),
            lambda lake: lake.create("absent", b""),
            lambda lake: read_n_frames(lake, "s.zarr"),
        ):
            with pytest.raises(SourceForbidden, match=lake.uri):
                ask(Lake(lake.uri))


def test_a_worker_s_lost_connection_is_still_worth_a_retry_in_the_flow(server, proxy, env):
    # The causes of what comes out of a cut answer cannot be pickled.
    with (
        distributed.Client(env["HUMWATCH_DASK__ADDRESS"]),
        proxy.spoiling(cut=1.0),
        pytest.raises(StorageUnavailable, match=r"lake\.json"),
    ):
        list(run_on_workers("opening", Lake.open, [server.new_uri()], 1, 1))
