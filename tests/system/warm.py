"""Commands in processes forked off one that has imported Humwatch: importing it takes longer than most commands do."""

import atexit
import multiprocessing
import multiprocessing.forkserver
import multiprocessing.process
import os
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
_CONTEXT = multiprocessing.get_context("forkserver")
# What most commands of the tests come to import, each when it needs it.
_PRELOADED = [
    *("humwatch.flows.cli.app", "humwatch.flows.looking", "humwatch.flows.nightly", "humwatch.flows.train"),
    *("humwatch.flows.cli.fleet_tables", "humwatch.flows.operations.status", "humwatch.tasks.alarms.task"),
    *("humwatch.tasks.reports.night.night_site", "humwatch.tasks.reports.evaluation.page"),
    *("prefect.artifacts", "prefect.events", "prefect.blocks.system", "distributed", "zarr"),
    *("sklearn.metrics", "scipy.stats", "scipy.optimize", "matplotlib.backends.backend_agg", "matplotlib.figure"),
    "warm",
]
_READ_BY_IMPORTS = ("PREFECT_", "PYTHON")


def can_run(environment: Mapping[str, str], server_environment: Mapping[str, str]) -> bool:
    """Whether what is imported already would be the same under this environment."""
    return not any(
        name.startswith(_READ_BY_IMPORTS) and server_environment.get(name) != value
        for name, value in environment.items()
    )


def start(environment: Mapping[str, str]) -> None:
    """Start the process that imports, under an environment."""
    _CONTEXT.set_forkserver_preload(_PRELOADED)
    kept = dict(os.environ)
    os.environ.update(environment, PYTHONPATH=os.pathsep.join([str(ROOT), str(Path(__file__).parent)]))
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(kept)


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str, str]:
    """Run a command under an environment; return its exit status and what it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        written = [str(Path(folder, name)) for name in ("stdout", "stderr")]
        process = begin(arguments, environment, *written)
        process.join()
        stdout, stderr = (Path(path).read_text() for path in written)
        return process.exitcode, stdout, stderr


def begin(
    arguments: Sequence[str], environment: Mapping[str, str], stdout: str = os.devnull, stderr: str = os.devnull
) -> multiprocessing.process.BaseProcess:
    """Begin a command under an environment, in a process (and group) that the caller joins, or kills."""
    process = _CONTEXT.Process(target=_command, args=(list(arguments), dict(environment), stdout, stderr))
    process.start()
    return process


def _command(arguments: list[str], environment: dict[str, str], stdout: str, stderr: str) -> None:
    os.setsid()
    for number, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    for name in [name for name in os.environ if name.startswith(("AWS_", "HUMWATCH_"))]:
        del os.environ[name]
    os.environ.update(environment)
    sys.argv = ["humwatch", *arguments]
    from humwatch.flows.cli.app import main

    try:
        main()
    finally:
        # multiprocessing leaves these out, and Prefect sends its last events in them.
        threading._shutdown()
        atexit._run_exitfuncs()
