"""A real Prefect server for tests that deploy, kill and start it again; its database outlives it."""

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import urllib3
from s3_server import free_ports

# Places under a concurrency limit are found again after a kill, and waiting for one takes no half minute.
SETTINGS = {
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_DEPLOYMENT_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
}
_FRESH = "TESTS_PREFECT_DATABASE"
_SHARED = """
"$0" -m prefect server database upgrade -y && cp prefect.db fresh.new && mv fresh.new fresh.db
exec "$0" -m prefect server start --host 127.0.0.1 --port "$1" --no-ui
"""
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
# A busy SQLite is answered 503, for which the server takes up to 60 s, and every client of Prefect asks again.
_HTTP = urllib3.PoolManager(
    retries=urllib3.Retry(status=8, connect=0, read=0, status_forcelist=[503], backoff_factor=0.5, allowed_methods=None)
)


def ask(url: str, body: dict | None = None):
    """What an API of Prefect answers to a POST of `body`, or to a GET."""
    answer = _HTTP.request("GET" if body is None else "POST", url, json=body, timeout=90)
    assert answer.status < 400, f"{url}: {answer.status} {answer.data.decode()}"
    return json.loads(answer.data or "null")


def start_shared(home: Path) -> str:
    """Start the server that all tests share, in its home; return the URL where it will answer.

    A copy of its fresh database is kept for `new_home`: Prefect takes ten seconds to make one.
    """
    (port,) = free_ports(1)
    server = subprocess.Popen(
        ["/bin/sh", "-c", _SHARED, sys.executable, str(port)],
        env={**os.environ, "PREFECT_HOME": str(home)},
        cwd=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    atexit.register(os.killpg, server.pid, signal.SIGTERM)
    os.environ[_FRESH] = str(home / "fresh.db")
    return f"http://127.0.0.1:{port}/api"


def new_home(home: Path) -> Path:
    """A home for another server, with a database if there is one to copy."""
    fresh = Path(os.environ.get(_FRESH, "absent"))
    if fresh.exists() and not (home / "prefect.db").exists():
        home.mkdir(exist_ok=True)
        shutil.copyfile(fresh, home / "prefect.db")
    return home


class PrefectServer:
    """`prefect server start` on a port and in a folder of its own."""

    def __init__(self, home: Path) -> None:
        self.home, self.log = new_home(home), home / "server.log"
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.env = {**os.environ, **SETTINGS, "PREFECT_HOME": str(home), "PREFECT_API_URL": self.url}

    def start(self) -> None:
        command = ["-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port), "--no-ui"]
        self.process = spawn(command, self.env, self.log)
        wait_until(self._answers, 180, self.log)

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)

    def prefect(self, *arguments: str) -> str:
        """The output of `prefect ...`, which must succeed."""
        command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
        ran = subprocess.run(command, env=self.env, capture_output=True, text=True, check=False, cwd=self.home)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def api(self, path: str, body: dict | None = None):
        return ask(f"{self.url}{path}", body)

    def create_run(self, deployment: str, **parameters) -> str:
        """The id of a new flow run of a deployment (FLOW/NAME)."""
        found = self.api(f"/deployments/name/{deployment}")
        return self.api(f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters})["id"]

    def runs(self, deployment: str) -> list[dict]:
        """The flow runs of a deployment that no schedule made, first come first."""
        flow, name = deployment.split("/")
        body = {"flows": {"name": {"any_": [flow]}}, "deployments": {"name": {"any_": [name]}}}
        found = self.api("/flow_runs/filter", {**body, "sort": "EXPECTED_START_TIME_ASC"})
        return sorted((run for run in found if not run["auto_scheduled"]), key=lambda run: run["created"])

    def finished(self, run_id: str, timeout_s: float = 240) -> dict:
        """A flow run, when it has come to its end."""

        def ended():
            run = self.api(f"/flow_runs/{run_id}")
            return run if run["state_type"] in FINAL else None

        return wait_until(ended, timeout_s)

    def artifacts(self, run_id: str) -> dict[str, dict]:
        found = self.api("/artifacts/filter", {"flow_runs": {"id": {"any_": [run_id]}}})
        return {artifact["key"] or artifact["type"]: artifact for artifact in found}

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.api("/health")
        except urllib3.exceptions.HTTPError:
            return False


def spawn(arguments: list[str], env: dict[str, str], log: Path) -> subprocess.Popen:
    """Start our Python in a session of its own, so that it can be killed with all its children."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, *arguments],
            env=env,
            cwd=log.parent,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=_hears_ctrl_c,  # noqa: PLW1509 - it only sets a signal
        )


def _hears_ctrl_c() -> None:
    """A shell's background jobs, and all their children, would ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_until(condition: Callable, timeout_s: float, log: Path | None = None):
    """The first true value of `condition()`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.3)
    raise TimeoutError(log.read_text()[-4000:] if log else f"{condition} for {timeout_s} s")
