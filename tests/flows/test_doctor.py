"""`humwatch doctor`: each check can pass and can fail, and the exit status follows."""

import http.server
import shutil
import threading
from pathlib import Path

import distributed
import pytest
import torch
from listeners import SECRET, Webhook
from operator_lake import contents, humwatch
from prefect.settings import PREFECT_API_URL, temporary_settings

from humwatch.flows.operations.doctor import (
    check_channels,
    check_dask,
    check_disk,
    check_lake,
    check_libraries,
    check_prefect,
    check_python,
    judge_space,
)
from humwatch.flows.presets import load
from humwatch.storage.lake import Lake
from humwatch.tasks.notify.news import News
from humwatch.tasks.notify.task import tell_channels
from humwatch.tasks.plan.run import Run

INSTALLED = {"fastapi": "0.150.1", "sqlalchemy": "2.0.44", "prefect": "3.8.8"}
REQUIRED = ["fastapi<0.151", "sqlalchemy<2.1", "prefect<4,>=3.8.8", 'pytest>=99; extra == "dev"']


def states(checks):
    return [(check.check, check.state) for check in checks]


@pytest.mark.parametrize(("version", "state"), [("3.11.0", "pass"), ("3.13.2", "pass"), ("3.10.14", "fail")])
def test_python(version, state):
    assert check_python(version).state == state


def test_libraries_within_their_caps_pass_together():
    (check,) = check_libraries(REQUIRED, INSTALLED.get)
    assert (check.state, check.found) == ("pass", "3 requirements met")


@pytest.mark.parametrize(
    ("name", "version"), [("fastapi", "0.151.0"), ("fastapi", "0.152.0rc1"), ("sqlalchemy", "2.1.0"), ("prefect", None)]
)
def test_each_library_outside_its_caps_is_named_with_what_to_install(name, version):
    (check,) = check_libraries(REQUIRED, {**INSTALLED, name: version}.get)
    assert check.state == "fail"
    assert check.found.startswith(f"{name} {version or 'is not'}")
    assert check.advice.startswith(f"pip install '{name}<")


def test_a_lake_that_works_passes_and_is_left_as_it_was(tmp_path):
    lake = tmp_path / "lake"
    Lake.open(str(lake))
    before = contents(lake)
    assert check_lake(str(lake)).state == "pass"
    assert check_lake(f"file://{lake}").state == "pass"
    assert contents(lake) == before


def test_a_lake_in_memory_passes_without_a_disk():
    Lake.open("memory://doctors-lake")
    assert check_lake("memory://doctors-lake").state == "pass"
    assert list(check_disk("memory://doctors-lake")) == []


def test_no_lake_yet_is_a_warning_and_none_is_begun(tmp_path):
    assert check_lake(str(tmp_path / "a" / "b")).state == "warn"
    assert not (tmp_path / "a").exists()
    (tmp_path / "there").mkdir()
    assert check_lake(str(tmp_path / "there")).state == "warn"
    assert contents(tmp_path) == {}


def test_a_lake_that_is_a_file_or_newer_or_of_an_unknown_store_fails(tmp_path):
    (tmp_path / "file").write_text("")
    assert check_lake(str(tmp_path / "file")).state == "fail"
    (tmp_path / "lake.json").write_text('{"format_version": 99}')
    newer = check_lake(str(tmp_path))
    assert (newer.state, "99" in newer.found) == ("fail", True)
    assert check_lake("carrier-pigeon://lake").state == "fail"


def test_a_lake_that_may_not_be_written_fails(tmp_path):
    # A folder nobody can write to, root included.
    read_only = Path("/proc/self")
    assert check_lake(str(read_only)).state == "fail"
    assert check_lake(str(read_only / "lake")).state in {"warn", "fail"}


@pytest.mark.parametrize(("gib", "state"), [(0.5, "fail"), (2, "warn"), (200, "pass")])
def test_free_space(gib, state, tmp_path):
    assert judge_space(int(gib * 2**30), tmp_path).state == state


def test_the_disk_of_a_local_lake_is_looked_at(tmp_path):
    (check,) = check_disk(str(tmp_path / "not" / "yet"))
    free_gib = shutil.disk_usage(tmp_path).free / 2**30
    assert abs(float(check.found.split()[0]) - free_gib) < 2


def test_dask():
    assert check_dask(load()).state == "pass"
    for address in ("127.0.0.1:9", "nonsense"):
        check = check_dask(load(assignments=[f'dask.address="{address}"']))
        assert (check.state, address in check.found) == ("fail", True)
    with distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster:
        settings = load(assignments=[f'dask.address="{cluster.scheduler_address}"'])
        assert check_dask(settings).state == "warn"
        cluster.scale(1)
        with distributed.Client(cluster) as client:
            client.wait_for_workers(1, timeout=30)
        assert check_dask(settings).state == "pass"


def test_no_client_is_made_for_a_scheduler_that_does_not_answer(monkeypatch):
    """Dask hangs when the garbage collector comes upon one that could not connect while another is started."""
    made = []
    monkeypatch.setattr(distributed, "Client", lambda *_, **__: made.append(True))
    assert check_dask(load(assignments=['dask.address="127.0.0.1:9"'])).state == "fail"
    assert not made


class _Api(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path.endswith("/health") else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b"true")

    def log_message(self, *_):
        pass


def test_prefect():
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert check_prefect().state == "pass"
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        check = check_prefect()
        assert (check.state, "127.0.0.1:9" in check.found) == ("fail", True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Api)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{server.server_port}/api"}):
            assert check_prefect().state == "pass"
    finally:
        server.shutdown()
        server.server_close()


def test_a_healthy_place_ends_with_0(tmp_path):
    Lake.open(str(tmp_path))
    answer = humwatch("doctor", "--lake", tmp_path, "--backbone", "fake", "--json")
    assert (answer.status, answer.json["command"], answer.json["errors"]) == (0, "doctor", [])
    checks = answer.json["checks"]
    names = ["python", "libraries", "device", "weights", "lake", "disk", "dask", "prefect", "notify"]
    assert [check["check"] for check in checks] == names
    assert {check["state"] for check in checks} <= {"pass", "warn"}
    assert all(check["advice"] for check in checks if check["state"] != "pass")


def test_one_failure_ends_with_1_and_the_table_says_which(tmp_path):
    (tmp_path / "lake").write_text("")
    assert humwatch("doctor", "--lake", tmp_path / "lake", "--json").status == 1
    answer = humwatch("doctor", "--lake", tmp_path / "lake")
    assert answer.status == 1
    assert [line.split()[3] for line in answer.stdout.splitlines() if line.startswith("│ lake")] == ["fail"]


def test_weights_that_are_not_here_are_a_warning_that_says_how_to_stage_them(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    answer = humwatch("doctor", "--backbone", "resnet18", "--backbone", "squeezenet1_1", "--json")
    resnet, squeezenet = (check for check in answer.json["checks"] if check["check"] == "weights")
    assert (resnet["state"], squeezenet["state"]) == ("warn", "pass")
    assert "humwatch weights fetch" in resnet["advice"]
    answer = humwatch("doctor", "--backbone", "resnet18", "--set", "features.random_weights=true", "--json")
    assert [check["state"] for check in answer.json["checks"] if check["check"] == "weights"] == ["pass"]


def test_a_device_that_is_not_here_fails():
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    answer = humwatch("doctor", "--backbone", "fake", "--set", "features.device=cuda", "--json")
    assert answer.status == 1
    assert [check["state"] for check in answer.json["checks"] if check["check"] == "device"] == ["fail"]


def test_bad_settings_are_bad_usage():
    answer = humwatch("doctor", "--set", "nothing.at=1", "--json")
    assert (answer.status, answer.json["errors"][0]["code"]) == (2, "bad_configuration")


def test_channels(tmp_path, monkeypatch):
    settings, lake = load(), str(tmp_path / "lake")
    assert states(check_channels(settings, lake)) == [("notify", "pass")]
    with Webhook() as up:
        pass
    monkeypatch.setenv("HUMWATCH_NOTIFY_URLS", f"{up.url}, nothing://{SECRET}")
    checks = list(check_channels(settings, lake))
    assert states(checks) == [("notify", "pass"), ("notify", "fail")]
    assert SECRET not in repr(checks)
    assert not (tmp_path / "lake").exists()
    failure = [News("failed", "workers_lost", "workers_lost: gone", "2026-01-02")]
    tell_channels.fn(Run(lake, settings), "2026-01-02", failure, "", judged=False)
    first = next(check_channels(settings, lake))
    assert (first.state, first.found) == (
        "warn", "channel 1 (JSON): did not arrive: Humwatch, 2026-01-02: 1 failure: no connection",
    )  # fmt: skip
    with up:
        up.status = None
        tell_channels.fn(Run(lake, settings), "2026-01-02", failure, "", judged=False)
        first = next(check_channels(settings, lake))
        assert (first.state, first.found) == (
            "warn", "channel 1 (JSON): may not have arrived: Humwatch, 2026-01-02: 1 failure",
        )  # fmt: skip
        up.status, failure = 200, [News("failed", "storage_full", "no room", "2026-01-03")]
        tell_channels.fn(Run(lake, settings), "2026-01-03", failure, "", judged=False)
    assert next(check_channels(settings, lake)).found == "channel 1 (JSON): 3 messages"
    assert len(up.told) == 2
