"""A fleet under a real Prefect server: deployments, a process worker, backfill, kills, and `humwatch serve`."""

import json
import re
import shutil
import signal
import socket
import tomllib
from collections import Counter
from contextlib import ExitStack, contextmanager
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import psutil
import pytest
import urllib3
import yaml
from conftest import dask_address
from prefect.blocks.notifications import SlackWebhook
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_server import PrefectServer, spawn, wait_until

from humwatch.flows.backfill import backfill
from humwatch.flows.serving import cron_schedule, deployments
from humwatch.flows.simulation import FleetPlan, simulate
from humwatch.storage.errors import BadConfiguration

ROOT = Path(__file__).parents[2]
DEPLOYMENTS = ROOT / "deployments"
pytestmark = pytest.mark.timeout(1800)  # a dozen processes that import everything, one after the other
DEPLOYED, LOOKING = {"nightly", "backfill", "train", "ingest", "evaluate"}, {"nightly", "backfill", "ingest"}
FIRST, LAST, NIGHTS, MACHINES, TRAINING_NIGHTS = date(2026, 1, 1), date(2026, 1, 10), 10, 2, 2
SETTINGS = {
    "features": {"backbones": ["fake"], "device": "cpu"},
    "images": {"image_size_px": 32},
    "fit": {"gmm_components": 2, "commissioning_nights": TRAINING_NIGHTS, "min_training_recordings": 2},
    "evaluation": {"bootstrap_samples": 100},
    "report": {"max_clips": 0},
}
# Deployments say nothing of settings: they come from the environment of the worker, as an operator gives them.
ENVIRONMENT = {
    f"HUMWATCH_{section}__{key}".upper(): value if isinstance(value, str) else json.dumps(value)
    for section, values in SETTINGS.items()
    for key, value in values.items()
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fleet") / "nights"
    plan = FleetPlan(
        machines=MACHINES, nights=NIGHTS, snr_db=6.0, seed=1, first_night=FIRST, types=("fan",), duration_s=2.5,
        recordings_per_night=2, fault_fraction=0.0, dropout_rate=0.0, broken_rate=0.0,
    )  # fmt: skip
    simulate(plan, folder, workers=1)
    return folder


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    return tmp_path_factory.mktemp("lakes") / "plant"


@pytest.fixture(scope="module")
def server(tmp_path_factory, fleet, lake):
    """A server with everything deployed, as deployments/README.md says."""
    running = PrefectServer(tmp_path_factory.mktemp("prefect"))
    running.start()
    variables = {"lake": str(lake), "sources": [str(fleet)], "time_zone": "Europe/Berlin", "work_pool": "plant"}
    for name, value in variables.items():
        running.api("/variables/", {"name": f"humwatch_{name}", "value": value})
    running.api("/work_pools/", {"name": "plant", "type": "process"})
    running.prefect("deploy", "--prefect-file", str(DEPLOYMENTS / "prefect.yaml"), "--all")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def workers(server):
    """Starts process workers; all that live at the end are stopped."""
    env = {**server.env, **ENVIRONMENT, "HUMWATCH_DASK__ADDRESS": dask_address(), "PREFECT_WORKER_QUERY_SECONDS": "1"}
    started = []

    def start():
        command = ["-m", "prefect", "worker", "start", "--pool", "plant", "--type", "process"]
        started.append(spawn(command, env, server.home / "worker.log"))
        return started[-1]

    yield start
    for worker in started:
        if worker.poll() is None:
            worker.terminate()
            worker.wait(60)


@pytest.fixture(scope="module")
def orphan(server, workers, tmp_path_factory):
    """The id of a run whose process was killed together with its worker, in the middle of a source that hangs."""
    with hanging_run(server, tmp_path_factory.mktemp("orphan")) as (run_id, running):
        (automation,) = yaml.safe_load((DEPLOYMENTS / "automations.yaml").read_text())["automations"]
        # Of this run only, and sooner than an operator wants it: the machine of the tests may be busy.
        automation["trigger"] |= {"match": {"prefect.resource.id": f"prefect.flow-run.{run_id}"}, "within": 60}
        server.prefect("automation", "create", "--from-json", json.dumps(automation))
        worker = workers()
        running()
        wait_until(lambda: _heartbeats(server, run_id), 60)
        kill_family(worker.pid)
        worker.wait()
    return run_id


@contextmanager
def hanging_run(server, lake):
    """A run of a source that never answers: its id, and a function that waits until it is read."""
    with socket.create_server(("127.0.0.1", 0)) as silent, ExitStack() as connection:
        silent.settimeout(240)
        source = f"http://127.0.0.1:{silent.getsockname()[1]}/night.zip"
        run_id = server.create_run("ingest/fleet", lake=str(lake), sources=[source])
        yield run_id, lambda: connection.enter_context(silent.accept()[0])


def kill_family(pid):
    family = [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]
    assert len(family) > 1
    for process in family:
        process.kill()


def _heartbeats(server, run_id):
    resource = {"id": [f"prefect.flow-run.{run_id}"]}
    wanted = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": resource}
    return server.api("/events/filter", {"filter": wanted})["total"]


@pytest.fixture(scope="module")
def backfilled(server, workers, orphan):
    """Ten nights through the deployment of the backfill, by a second worker."""
    assert server.api(f"/flow_runs/{orphan}")["state_type"] == "RUNNING"
    workers()
    return server.finished(server.create_run("backfill/fleet", first=str(FIRST), last=str(LAST)), 1500)


def scores_of(lake):
    return pd.concat(pd.read_parquet(path) for path in sorted((lake / "scores").rglob("*.parquet")))


def test_a_night_is_scheduled(server):
    """Guards the caps on fastapi and SQLAlchemy: beyond them the server fails, or its scheduler creates nothing."""
    nightly = {"flows": {"name": {"any_": ["nightly"]}}, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    runs = wait_until(lambda: server.api("/flow_runs/filter", {**nightly, "sort": "EXPECTED_START_TIME_ASC"}), 120)
    due = datetime.fromisoformat(runs[0]["expected_start_time"]).astimezone(ZoneInfo("Europe/Berlin"))
    assert (due.hour, due.minute) == (2, 0)
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {"fastapi<0.151", "sqlalchemy<2.1"} <= set(requirements)


def test_every_flow_is_deployed_one_run_at_a_time_in_the_named_pool(server, lake, fleet):
    found = {name: server.api(f"/deployments/name/{name}/fleet") for name in DEPLOYED}
    for name, deployment in found.items():
        assert deployment["work_pool_name"] == "plant"
        assert deployment["global_concurrency_limit"]["limit"] == 1
        assert deployment["concurrency_options"]["collision_strategy"] == "ENQUEUE"
        assert deployment["parameters"]["lake"] == str(lake)
        assert deployment["parameters"].get("sources") == ([str(fleet)] if name in LOOKING else None)
        assert "Args:" not in deployment["description"]


def test_a_backfill_makes_one_run_a_night_in_their_order(server, backfilled, lake):
    assert backfilled["state_type"] == "COMPLETED", server.artifacts(backfilled["id"])
    assert backfilled["name"] == f"backfill {FIRST} plant"
    runs = server.runs("nightly/fleet")
    assert [run["name"] for run in runs] == [f"nightly 2026-01-{day:02} plant" for day in range(1, NIGHTS + 1)]
    assert {run["state_type"] for run in runs} == {"COMPLETED"}
    for before, after in pairwise(runs):
        assert before["end_time"] <= after["start_time"]
    last = server.artifacts(runs[-1]["id"])
    assert {"auc", "summary", "report"} <= set(last)


def test_each_night_is_scored_once_and_a_second_backfill_adds_neither_run_nor_score(server, backfilled, lake, fleet):
    scores = scores_of(lake)
    # Before the last commissioning night there is no model.
    nights = {f"2026-01-{day:02}" for day in range(TRAINING_NIGHTS, NIGHTS + 1)}
    assert Counter(scores["batch"]) == dict.fromkeys(nights, MACHINES * 2)
    assert scores["recording_id"].is_unique
    assert scores["model_version"].nunique() == MACHINES
    with temporary_settings({PREFECT_API_URL: server.url}):
        again = backfill(str(lake), FIRST, LAST, sources=[str(fleet)], deployment="nightly/fleet", at_once=3)
    assert [night["state"] for night in again.nights] == ["Completed"] * NIGHTS
    assert len(server.runs("nightly/fleet")) == NIGHTS
    assert len(scores_of(lake)) == len(scores)


def test_a_server_killed_in_the_middle_of_a_run_loses_and_doubles_nothing(server, backfilled, lake, fleet, tmp_path):
    """The run goes on without it, and ends Completed when it is back; the lake is that of an undisturbed one."""
    other = tmp_path / "plant"
    run_id = server.create_run("nightly/fleet", lake=str(other), night=None)
    wait_until(lambda: list(other.glob("recordings/**/*.parquet")), 240, server.home / "worker.log")
    server.kill()
    assert not list(other.glob("scores/**/*.parquet"))
    wait_until(lambda: list(other.glob("reports/*/summary.json")), 240, server.home / "worker.log")
    server.start()
    assert server.finished(run_id)["state_type"] == "COMPLETED"
    scores = scores_of(other)
    assert Counter(scores["batch"]) == {f"2026-01-{day:02}": MACHINES * 2 for day in range(1, NIGHTS + 1)}
    assert scores["recording_id"].is_unique
    same = scores_of(lake).merge(scores, on="recording_id", suffixes=("", "_other"))
    assert same["score"].tolist() == same["score_other"].tolist()


def test_a_failed_run_leaves_an_artifact_and_an_event(server, backfilled, tmp_path):
    run_id = server.create_run("nightly/fleet", lake=str(tmp_path / "x"), settings={"fit": {"gmm_components": 0}})
    assert server.finished(run_id)["state_type"] == "FAILED"
    text = wait_until(lambda: server.artifacts(run_id).get("failure"), 60)["data"]
    assert "bad_configuration" in text
    assert "fit.gmm_components" in text
    payload = wait_until(lambda: _failures(server), 60)[0]["payload"]
    assert (payload["code"], payload["lake"]) == ("bad_configuration", str(tmp_path / "x"))


def test_a_killed_run_leaves_an_artifact_and_an_event_by_its_worker(server, workers, backfilled, tmp_path):
    with hanging_run(server, tmp_path / "y") as (run_id, running):
        running()
        (process,) = (each for each in psutil.process_iter(["environ"]) if runs(each, run_id))
        process.kill()
        assert server.finished(run_id)["state_type"] == "CRASHED"
    assert "crashed" in wait_until(lambda: server.artifacts(run_id).get("failure"), 120)["data"]
    events = wait_until(lambda: [event for event in _failures(server) if event["payload"]["code"] == "crashed"], 60)
    assert [event["payload"]["lake"] for event in events] == [str(tmp_path / "y")]


def runs(process, run_id):
    environment = process.info["environ"] or {}
    return environment.get("PREFECT__FLOW_RUN_ID") == run_id and "prefect" in " ".join(process.cmdline())


def _failures(server):
    return server.api("/events/filter", {"filter": {"event": {"name": ["humwatch.run.failed"]}}})["events"]


def test_the_automation_marks_an_orphan_crashed(server, orphan):
    run = server.finished(orphan, 150)
    assert run["state_type"] == "CRASHED"
    assert "No heartbeat" in run["state"]["message"]


def test_serving_again_resumes_the_schedule_that_was_paused_when_it_ended(server, lake):
    schedule = cron_schedule("30 3 * * *", "America/New_York")
    with temporary_settings({PREFECT_API_URL: server.url}):
        for number in range(2):
            for deployment in deployments("again", {"lake": str(lake)}, [], schedule):
                deployment.apply()
            found = server.api("/deployments/name/nightly/again")
            assert not found["paused"]
            assert [(each["active"], each["schedule"]["timezone"]) for each in found["schedules"]] == [
                (True, "America/New_York")
            ]
            server.api(f"/deployments/{found['id']}/pause_deployment", {})
            assert server.api("/deployments/name/nightly/again")["paused"], number


def test_an_upgrade_pauses_all_schedules_and_resumes_them(server):
    def active():
        found = server.api("/deployments/filter", {})
        return {schedule["active"] for deployment in found for schedule in deployment["schedules"]}

    server.prefect("deployment", "schedule", "resume", "--all")
    assert active() == {True}
    server.prefect("deployment", "schedule", "pause", "--all")
    assert active() == {False}


def test_the_notification_of_the_guide_and_the_automation_of_the_deployments_are_taken(server):
    guide = (ROOT / "docs" / "operators-guide.md").read_text()
    (notification,) = re.findall(r"automation create --from-json '(.*?)'", guide, re.DOTALL)
    with temporary_settings({PREFECT_API_URL: server.url}):
        block = SlackWebhook(url="https://hooks.example.org/plant").save("plant")
    server.prefect("automation", "create", "--from-json", notification.replace('"..."', f'"{block}"'))
    server.prefect("automation", "create", "--from-file", str(DEPLOYMENTS / "automations.yaml"))
    found = {each["name"]: each for each in server.api("/automations/filter", {})}
    assert found["Tell the data team"]["actions"][0]["block_document_id"] == str(block)
    assert found["Tell the data team"]["trigger"]["expect"] == ["humwatch.run.failed"]
    assert found["Orphaned runs are crashed"]["trigger"]["within"] == 300


@pytest.mark.parametrize(("cron", "zone"), [("0 2 * *", "UTC"), ("0 2 * * *", "Europe/Nowhere"), ("0 2 * * *", "")])
def test_a_schedule_that_is_none_is_refused(cron, zone):
    with pytest.raises(BadConfiguration):
        cron_schedule(cron, zone)


def test_serve_runs_what_it_is_asked_for_and_ends_on_ctrl_c(fleet, tmp_path):
    server, lake = PrefectServer(tmp_path), tmp_path / "served"
    env = {name: value for name, value in server.env.items() if name != "PREFECT_API_URL"}
    sources = tmp_path / "one"
    shutil.copytree(fleet / str(FIRST), sources / str(FIRST))
    flags = ["--port", str(server.port), "--time-zone", "Europe/Berlin", "--set", "dask.workers=1"]
    command = ["-m", "humwatch", "serve", str(sources), "--lake", str(lake), *flags]
    served = server.process = spawn(command, {**env, **ENVIRONMENT}, server.log)
    wait_until(server._answers, 240, server.log)
    wait_until(lambda: _deployed(server), 240, server.log)
    run_id = server.create_run("nightly/serve")
    run = server.finished(run_id)
    assert run["state_type"] == "COMPLETED", server.log.read_text()
    # The night that is there, and by the clock the one that is due, of which nothing arrived.
    nights = {json.loads(path.read_text())["night"]: path.parent.name for path in lake.glob("reports/*/summary.json")}
    overdue = nights.pop(max(nights))
    assert list(nights) == [str(FIRST)]
    assert json.loads((lake / "reports/latest.json").read_text())["report_id"] == overdue
    served.send_signal(signal.SIGINT)
    assert served.wait(90) == 0, server.log.read_text()
    with pytest.raises(urllib3.exceptions.MaxRetryError, match="refused"):
        server.api("/health")


def _deployed(server):
    found = server.api("/deployments/filter", {})
    return {deployment["entrypoint"].rpartition(".")[2] for deployment in found} == DEPLOYED
