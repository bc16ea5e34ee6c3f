"""Sources and lake on a real S3 server: the scores, bytes and silence about secrets that a local run has."""

import io
import os
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from conftest import FAKE, prefect_api, run_humwatch, sorted_scores
from prefect_server import ask
from recordings import machine, write_zip
from s3_server import S3Proxy, s3_environment, s3_server, s3_workers

from humwatch.storage.lake import Lake
from humwatch.storage.sources import list_members, read_members
from humwatch.tasks.ingest.task import ingest_sources
from humwatch.tasks.plan.run import Run
from humwatch.tasks.settings import Settings

SMALL = (*FAKE, "--set", "store.block_recordings=8", "--set", "store.chunk_recordings=8")
REAL = Path(__file__).parents[3] / "shared" / "data" / "dcase2023_ToyCar.zip"
BLOCKS = {"plant.zip": 5, "ToyCar.zip": 8}  # of 8 recordings, each part for itself: 4 + 1, and 5 + 3


def write_archive(members: list[tuple[str, bytes]], suffix: str, modified_s: int = 1_700_000_000) -> bytes:
    """An archive in memory, its members stored in the order given; a tar's all modified at `modified_s`."""
    buffer = io.BytesIO()
    if suffix == ".zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, data in members:
                archive.writestr(zipfile.ZipInfo(name), data)
        return buffer.getvalue()
    with tarfile.open(fileobj=buffer, mode="w:gz" if suffix == ".tar.gz" else "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), modified_s
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def server():
    with s3_server() as running:
        yield running


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """A made-up plant, and 60 real recordings where there are any; members in the order of their names."""
    folder = tmp_path_factory.mktemp("sources")
    plant = {**machine("fan/id_00", 12, 6), **machine("fan/id_02", 10, 4), **machine("pump/id_00", 6, 0)}
    members = {"plant.zip": plant}
    if REAL.exists():
        with zipfile.ZipFile(REAL) as archive:
            names = sorted(archive.namelist())
            chosen = [name for name in names if "/train/" in name][:40] + [name for name in names if "/test/" in name][
                :20
            ]
            members["ToyCar.zip"] = {name: archive.read(name) for name in chosen}
    return [
        write_zip(folder / name, dict(sorted(files.items())), zipfile.ZIP_STORED) for name, files in members.items()
    ]


@pytest.fixture(scope="module")
def proxy(server):
    with S3Proxy(server).running() as running:
        yield running


@pytest.fixture(scope="module")
def env(proxy):
    with s3_workers(proxy.env) as env:
        yield env


@pytest.fixture(scope="module")
def local(archives, env, tmp_path_factory):
    lake = tmp_path_factory.mktemp("local")
    ran = run_humwatch("run", *archives, "--lake", lake, *SMALL, env=env)
    assert ran.status == 0, ran.stderr
    return lake


@pytest.fixture(scope="module")
def remote(server, archives, env, tmp_path_factory):
    """The same run from S3 to S3: what it printed, a copy of its lake, and its sources."""
    sources, lake = [server.upload(path) for path in archives], server.new_uri()
    ran = run_humwatch("run", *sources, "--lake", lake, *SMALL, env=env)
    assert ran.status == 0, ran.stderr
    return ran, server.download(lake, tmp_path_factory.mktemp("remote")), sources


def test_the_scores_are_those_of_a_local_run_to_the_last_digit(local, remote):
    assert len(sorted_scores(local)) >= 38
    assert sorted_scores(remote[1]) == sorted_scores(local)


def test_the_lake_holds_what_a_local_one_holds(local, remote):
    ran, copy, _ = remote
    # Versions, keys and ids are of contents and settings, not of places; recordings name their source, which differs,
    # and so does what is kept of an archive's contents.
    here, there = (
        {str(path.relative_to(lake)) for path in lake.rglob("*") if path.is_file() and "sources" not in path.parts}
        for lake in (local, copy)
    )
    assert there == here
    assert ran.summary["report"].startswith(f"{ran.summary['lake']}/reports/")
    assert (copy / "reports" / Path(ran.summary["report"]).parent.name / "index.html").stat().st_size > 0


@pytest.mark.skipif(not REAL.exists(), reason="the recordings of DCASE 2023 are not there")
def test_real_recordings_are_among_them(local, remote):
    from pyarrow import parquet

    tables = [parquet.read_table(path) for path in sorted(remote[1].glob("scores/*/machine_type=ToyCar/**/*.parquet"))]
    assert sum(table.num_rows for table in tables) == 60
    assert sum(table["score"].null_count for table in tables) == 0


def test_the_run_is_on_the_prefect_server_with_its_tables(remote):
    def found(of: str, body: dict) -> list[dict]:
        return ask(f"{prefect_api()}/{of}/filter", body)

    report = remote[0].summary["report"]
    (of_run,) = {each["flow_run_id"] for each in found("artifacts", {}) if report in str(each["data"])}
    (run,) = found("flow_runs", {"flow_runs": {"id": {"any_": [of_run]}}})
    assert run["state_type"] == "COMPLETED"
    beside = found("artifacts", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    assert {"auc", "summary", "report"} <= {each["key"] for each in beside}


def test_an_archive_is_listed_once_and_read_in_one_piece_a_block(remote, proxy, server, archives):
    _, _, sources = remote
    for path, uri in zip(archives, sources, strict=True):
        key = uri.removeprefix("s3:/")
        with S3Proxy(server).running() as listing, s3_environment(listing.env):
            list_members(uri, ("wav", "flac"), 1 << 30)
        assert listing.read_bytes[key] < 150_000
        with zipfile.ZipFile(path) as archive:
            n_members = len(archive.infolist())
            member_bytes = sum(info.file_size for info in archive.infolist())
        headers = proxy.gets[key] - listing.gets[key] - BLOCKS[path.name]  # of files that may be long
        assert 0 <= headers <= n_members
        assert member_bytes <= proxy.read_bytes[key] <= 1.1 * member_bytes


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".zip"])
def test_an_archive_is_opened_again_only_when_it_has_changed(server, proxy, tmp_path, suffix):
    members = list(machine("fan/id_00", 21, 0).items())
    path, (more, most) = tmp_path / f"plant{suffix}", (write_archive(members[:count], suffix) for count in (20, 21))
    path.write_bytes(more)
    uri = server.upload(path)
    key = uri.removeprefix("s3:/")
    with s3_environment(proxy.env):
        work = Run(server.new_uri(), Settings())
        first = ingest_sources.fn(work, [uri])
        assert (first.errors, len(first.recording_ids), first.new) == ((), 20, 20)
        if suffix == ".tar.gz":
            assert (proxy.gets[key], proxy.read_bytes[key]) == (1, len(more))
        if suffix == ".tar":
            assert proxy.gets[key] >= 20  # a header every 96 kB
            assert proxy.read_bytes[key] <= 0.1 * len(more)
        opened = proxy.gets[key]
        again = ingest_sources.fn(work, [uri])
        assert (again.recording_ids, again.new) == (first.recording_ids, 0)
        assert proxy.gets[key] == opened
        server.replace(uri, most)
        assert ingest_sources.fn(work, [uri]).new == 1
        assert proxy.gets[key] > opened


def test_a_tar_without_times_is_read_whole_once(server, proxy, tmp_path):
    """Only its bytes tell one version of such a member from another."""
    path = tmp_path / "untimed.tar"
    path.write_bytes(write_archive(list(machine("fan/id_00", 20, 0).items()), ".tar", modified_s=0))
    uri = server.upload(path)
    key = uri.removeprefix("s3:/")
    with s3_environment(proxy.env):
        work = Run(server.new_uri(), Settings())
        assert ingest_sources.fn(work, [uri]).new == 20
        read_bytes = proxy.read_bytes[key]
        assert 0.9 * path.stat().st_size <= read_bytes <= 1.1 * path.stat().st_size
        assert ingest_sources.fn(work, [uri]).new == 0
        assert proxy.read_bytes[key] == read_bytes


def test_the_secret_is_written_nowhere(remote, server):
    ran, copy, _ = remote
    written = {
        path: path.read_bytes()
        for path in [*copy.rglob("*"), *Path(os.environ["PREFECT_HOME"]).rglob("*")]
        if path.is_file()
    }
    assert any(b"lake" in data for data in written.values())
    assert [path for path, data in written.items() if server.secret.encode() in data] == []
    assert server.secret not in ran.stdout + ran.stderr


def test_endpoint_and_credentials_may_come_from_a_profile(server, tmp_path):
    (tmp_path / "config").write_text(
        f"[profile plant]\nregion = us-east-1\nendpoint_url = {server.env['AWS_ENDPOINT_URL']}\n"
        f"aws_access_key_id = {server.key}\naws_secret_access_key = {server.secret}\n"
    )
    with s3_environment({"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_PROFILE": "plant"}):
        assert Lake.open(server.new_uri()).list("") == ["lake.json"]


def test_files_that_are_in_no_archive_are_fetched_many_at_once(server, tmp_path):
    files = {f"fan/id_00/normal/{number:02d}.wav": bytes([number]) * 1000 for number in range(24)}
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    uri = f"{server.new_uri()}/plant"
    server.put(tmp_path, uri)
    with S3Proxy(server).running() as proxy, s3_environment(proxy.env):
        members = list_members(uri, ("wav",), 1 << 20).members
        proxy.heads.clear()
        proxy.delay_s = 0.2
        read = {member.path.partition("/")[2]: data for member, data in read_members(members, 1 << 20)}
        assert read == files
        assert proxy.most_at_once >= 8
        assert Counter(kind for kind, _ in proxy.requests) == {"GET": 24}  # none is asked for its size first


def test_a_run_asks_a_store_for_little_and_one_with_nothing_to_do_for_less(server, proxy, env, archives):
    source, lake = server.upload(archives[0]), server.new_uri()
    asked = []
    for _ in range(2):
        proxy.heads.clear()
        ran = run_humwatch("run", source, "--lake", lake, *SMALL, env=env)
        assert ran.status == 0, ran.stderr
        asked.append(Counter(proxy.requests))
    new, again = asked
    assert sum(new.values()) <= 225
    assert sum(again.values()) <= 40
    assert {kind for kind, _ in again} == {"GET", "HEAD", "LIST"}
    # Objects are not asked for their size before they are read, nor fetched before they are replaced.
    shards = {path for kind, path in new if kind == "PUT" and "/c/" in path}
    assert shards
    assert not [path for kind, path in new if kind == "HEAD" and path in shards]
    # Tables never change: the worker reads one once, the flow before it is decoded and after.
    tables = {path: count for (kind, path), count in new.items() if kind == "GET" and path.endswith(".parquet")}
    assert tables
    assert max(tables.values()) <= 3
