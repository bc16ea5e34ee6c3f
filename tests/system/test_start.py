"""What a command costs before it works, in fresh processes: the modules it imports, and the processes it begins."""

import os
import subprocess
import sys

import pytest
from conftest import FAKE, Ran, modification_times, prefect_api, run_humwatch
from prefect_server import ask
from recordings import machine, write_zip

SCRIPT = """
import sys
from humwatch.__main__ import main
try:
    main()
finally:
    print(*sys.modules, sep="\\n", file=sys.stderr)
"""
# Each takes between a tenth of a second and four seconds to import.
NEVER = {
    *("torch", "torchvision", "librosa", "numba", "skops", "sklearn", "scipy.stats", "scipy.special", "matplotlib"),
    *("prefect", "prefect.server", "distributed", "dask", "xarray", "s3fs", "apprise"),
}
# Nor what no answer without a lake can need.
WITHOUT_A_LAKE = NEVER | {"numpy", "pandas", "pyarrow", "fsspec", "zarr", "scipy"}
NIGHT = "2026-01-0{}"
NIGHTLY = (*("--set", "fit.commissioning_nights=1", "--set", "fit.min_training_recordings=4"),)


def alone(tmp_path, *arguments) -> Ran:
    """Run a command in a fresh process that has no Prefect server and no Dask scheduler to share, and a new home."""
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "home")}
    environment.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def imported(ran: Ran) -> set[str]:
    return set(ran.stderr.splitlines())


def without_times(summary: dict) -> dict:
    return {name: value for name, value in summary.items() if name != "seconds"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return write_zip(tmp_path_factory.mktemp("source") / "plant.zip", machine("fan/id_00", 6, 3, duration_s=2.5))


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nights")
    for night in (1, 2, 3):
        (folder / NIGHT.format(night)).mkdir()
        members = machine("fan/id_00", 6, 0, duration_s=2.5, night=night)
        write_zip(folder / NIGHT.format(night) / "plant.zip", members)
    return folder


@pytest.fixture(scope="module")
def lake(archive, tmp_path_factory):
    lake = tmp_path_factory.mktemp("lake")
    ran = run_humwatch("run", archive, "--lake", lake, *FAKE)
    assert ran.status == 0, ran.stderr
    return lake


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("alarms", "ack", "--help"), ("run",)])
def test_help_and_bad_usage_need_no_library_of_arrays_or_tables(arguments, tmp_path):
    ran = alone(tmp_path, *arguments)
    assert "Usage" in ran.stdout + ran.stderr
    assert "humwatch.flows.cli.app" in imported(ran)
    assert not WITHOUT_A_LAKE & imported(ran)


@pytest.mark.parametrize("command", [("status",), ("alarms", "list")])
def test_a_look_into_a_lake_imports_nothing_that_fits_draws_or_orchestrates(command, lake, tmp_path):
    ran = alone(tmp_path, *command, "--lake", lake, "--json")
    assert ran.status == 0, ran.stderr
    assert "pandas" in imported(ran)
    assert not NEVER & imported(ran)


def test_a_run_with_nothing_to_do_begins_nothing_and_says_what_it_would_say_under_a_server(
    humwatch, lake, archive, tmp_path
):
    before = modification_times(lake)
    given = ("run", archive, "--lake", lake, *FAKE)
    ran, watched = alone(tmp_path, *given, "--json"), humwatch(*given)
    assert (ran.status, watched.status) == (0, 0)
    assert without_times(ran.summary) == without_times(watched.summary)
    assert list(ran.summary["seconds"]) == list(watched.summary["seconds"])
    assert ran.summary["listed"] == 9
    assert modification_times(lake) == before
    # What none has imported none can have begun.
    assert not NEVER & imported(ran)
    assert not (tmp_path / "home").exists()
    plain = alone(tmp_path, *given)
    assert f"report: {ran.summary['report']}" in plain.stdout
    assert [line for line in plain.stderr.splitlines() if line.startswith("ingest: ")] == ["ingest: 1/1"]


@pytest.mark.slow
def test_a_run_with_something_to_do_is_a_run_of_prefect_with_a_server_of_its_own(lake, archive, tmp_path):
    ran = alone(tmp_path, "run", archive, "--lake", lake, *FAKE, "--set", "report.title=Anew", "--workers", 1)
    assert ran.status == 0, ran.stderr
    assert (tmp_path / "home" / "prefect.db").exists()
    # A page was all that was missing, and nobody works on a page.
    assert "humwatch.flows.pipeline" in imported(ran)
    assert [line for line in ran.stderr.splitlines() if line.startswith("ingest: ")] == ["ingest: 1/1"]


def flow_runs(name: str) -> list[dict]:
    return ask(f"{prefect_api()}/flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}})


@pytest.mark.slow
def test_a_night_with_nothing_to_do_begins_nothing_and_is_a_run_under_a_server(humwatch, nights, tmp_path):
    lake = tmp_path / "of-nights"
    given = ("nightly", nights, "--lake", lake, "--date", NIGHT.format(3), *FAKE, *NIGHTLY)
    first = humwatch(*given)
    assert first.status == 0, first.stderr
    before, runs = modification_times(lake), len(flow_runs(f"nightly {NIGHT.format(3)} of-nights"))
    ran, watched = alone(tmp_path, *given, "--json"), humwatch(*given)
    assert (ran.status, watched.status) == (0, 0), ran.stderr
    assert without_times(ran.summary) == without_times(watched.summary)
    assert ran.summary["report"] == first.summary["report"]
    assert sum(ran.summary["machines"].values()) == 1
    assert modification_times(lake) == before
    assert not {"prefect", "distributed", "torch", "matplotlib"} & imported(ran)
    assert not (tmp_path / "home").exists()
    assert len(flow_runs(f"nightly {NIGHT.format(3)} of-nights")) == runs + 1
