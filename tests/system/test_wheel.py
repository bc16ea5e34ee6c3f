"""The wheel in a fresh environment, used from the repository of a team that has its own tasks, flows and storage.

Its packages are those of this environment, found by a path; Humwatch itself is installed from the wheel alone.
"""

import json
import os
import shutil
import signal
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import prefect_api
from dask_cluster import dask_scheduler, dask_worker, wait_for
from prefect_server import PrefectServer, spawn, wait_until
from recordings import machine, write_zip

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(900)
FOREIGN = 'raise RuntimeError("this is the module of the team, not of Humwatch")\n'
SETTINGS = {
    "HUMWATCH_FEATURES__BACKBONES": '["fake"]',
    "HUMWATCH_IMAGES__IMAGE_SIZE_PX": "32",
    "HUMWATCH_REPORT__MAX_CLIPS": "0",
    "HUMWATCH_DASK__WORKERS": "1",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from what git tracks, as a release is."""
    clone, built = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("dist")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in files.rstrip("\0").split("\0"):
        if (source := ROOT / name).exists() and name.split("/")[0] not in {"tests", "docs"}:
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, clone / name, follow_symlinks=False)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(built), "."]
    subprocess.run(pip, cwd=clone, check=True)
    (made,) = built.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The interpreter of a fresh environment with the wheel in it."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "packages_of_the_tests.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", str(folder / "bin" / "python"), "install"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    return folder / "bin" / "python"


@pytest.fixture
def team(tmp_path):
    """A repository with modules of those names, and what the environment of a command in it says."""
    for name in ("tasks", "flows", "storage"):
        (tmp_path / f"{name}.py").write_text(FOREIGN)
    members = {**machine("fan/id_00", 6, 3, duration_s=2.2), **machine("pump/id_01", 4, 0, duration_s=2.2)}
    write_zip(tmp_path / "plant.zip", members)
    return tmp_path


def environment(team, **more):
    # Flow runs of a Prefect worker begin in folders of their own: there the second path finds the team's modules.
    path = os.pathsep.join([".", str(team)])
    return {**os.environ, **SETTINGS, "PYTHONPATH": path, "PREFECT_API_URL": prefect_api(), **more}


def _printed(python, team, *arguments):
    command = [str(python), *arguments]
    return subprocess.run(
        command, cwd=team, env=environment(team), stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def command(python, team, *arguments, **more):
    ran = subprocess.run(
        [str(python.parent / "humwatch"), *arguments],
        cwd=team,
        env=environment(team, **more),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_a_wheel_claims_the_products_name_alone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"humwatch"}
    assert {f"humwatch/{floor}/py.typed" for floor in ("storage", "tasks", "flows")} | {"humwatch/py.typed"} <= set(
        names
    )
    assert not [name for name in names if "__pycache__" in name or name.startswith("humwatch/tests")]


def test_every_module_of_the_floors_is_in_it(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for floor in ("storage", "tasks", "flows"):
        for path in (ROOT / floor).rglob("*"):
            if path.suffix in {".py", ".j2", ".css", ".js", ".csv"}:
                assert f"humwatch/{path.relative_to(ROOT)}" in names


def test_the_version_is_that_of_the_project(python, team):
    code = "import humwatch; print(humwatch.__version__, humwatch.__file__)"
    ran = subprocess.run(
        [python, "-c", code], cwd=team, env=environment(team), capture_output=True, text=True, check=True
    )
    version, file = ran.stdout.split()
    assert f'version = "{version}"' in (ROOT / "pyproject.toml").read_text()
    assert Path(file).is_relative_to(python.parents[1])


def test_a_run_and_a_status_beside_a_teams_own_modules(python, team):
    run = [str(python.parent / "humwatch"), "run", "plant.zip", "--lake", "lake", "--json", "--verbose"]
    env = environment(team, COLUMNS="300")
    ran = subprocess.run(run, cwd=team, env=env, capture_output=True, text=True, check=True)
    summary = json.loads(ran.stdout)
    assert (summary["listed"], summary["recordings_scored"], summary["errors"]) == (13, 13, [])
    assert "spectrograms of part fan/all" in ran.stderr, "the log of a worker's unit"
    (row, _) = json.loads(command(python, team, "status", "--lake", "lake", "--json"))["machines"]
    assert row["models"]


def test_the_demo_finds_its_samples(python, team):
    code = "from humwatch.flows.cli.app import SAMPLES; print(*sorted(path.name for path in SAMPLES.glob('*.zip')))"
    ran = subprocess.run(
        [python, "-c", code], cwd=team, env=environment(team), capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == sorted(path.name for path in (ROOT / "samples").glob("*.zip"))


def test_dask_workers_started_there_take_part(python, team, monkeypatch):
    monkeypatch.chdir(team)
    monkeypatch.setattr(sys, "executable", str(python))
    with dask_scheduler(environment(team)) as (address, _), dask_worker(address, env=environment(team)) as worker:
        lake = team / "lake"
        run = ["run", "plant.zip", "--lake", str(lake), "--json"]
        summary = json.loads(command(python, team, *run, HUMWATCH_DASK__ADDRESS=address))
        assert (summary["recordings_scored"], summary["errors"]) == (13, [])
        assert worker.poll() is None


def test_a_prefect_worker_started_there_runs_a_deployment(python, team):
    server = PrefectServer(team / "prefect")
    server.home.mkdir(exist_ok=True)
    server.start()
    try:
        variables = {"lake": str(team / "lake"), "sources": [str(team / "plant.zip")], "time_zone": "UTC"}
        for name, value in {**variables, "work_pool": "plant"}.items():
            server.api("/variables/", {"name": f"humwatch_{name}", "value": value})
        server.api("/work_pools/", {"name": "plant", "type": "process"})
        server.prefect("deploy", "--prefect-file", str(ROOT / "deployments" / "prefect.yaml"), "--all")
        env = environment(team, **{name: value for name, value in server.env.items() if name.startswith("PREFECT_")})
        env |= {"PREFECT_LOGGING_EXTRA_LOGGERS": "humwatch", "PREFECT_LOGGING_LEVEL": "DEBUG"}  # the operator's guide
        worker = _spawn(python, team, ["-m", "prefect", "worker", "start", "--pool", "plant", "--type", "process"], env)
        try:
            run = server.finished(server.create_run("ingest/fleet"), 300)
            assert run["state_type"] == "COMPLETED", (team / "log").read_text()[-4000:]
            wait_until(lambda: any("bytes of input" in line for line in _log_of(server, run["id"])), 60)
        finally:
            worker.terminate()
            worker.wait(60)
    finally:
        server.stop()


def _log_of(server, run_id):
    body = {"logs": {"flow_run_id": {"any_": [run_id]}, "level": {"le_": 10}}, "limit": 200}
    return [line["message"] for line in server.api("/logs/filter", body) if line["name"].startswith("humwatch.")]


def test_serve_runs_there(python, team):
    server = PrefectServer(team / "home")
    env = environment(team, **{name: value for name, value in server.env.items() if name.startswith("PREFECT_")})
    del env["PREFECT_API_URL"]
    serve = ["-m", "humwatch", "serve", "plant.zip", "--lake", "lake", "--port", str(server.port)]
    server.process = _spawn(python, team, serve, env)
    server.log = team / "log"
    wait_until(server._answers, 240, server.log)
    wait_until(lambda: len(server.api("/deployments/filter", {})) == 5, 240, server.log)
    run = server.finished(server.create_run("ingest/serve"), 300)
    server.process.send_signal(signal.SIGINT)
    wait_for(lambda: server.process.poll() is not None)
    assert run["state_type"] == "COMPLETED", server.log.read_text()[-4000:]
    assert list((team / "lake" / "recordings").rglob("*.parquet"))


def _spawn(python, team, arguments, env):
    """As `spawn`, by another interpreter, in the folder of the team."""
    interpreter, sys.executable = sys.executable, str(python)
    try:
        return spawn(arguments, env, team / "log")
    finally:
        sys.executable = interpreter
