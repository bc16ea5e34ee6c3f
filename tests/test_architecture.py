"""The house rules that a machine can check: imports go down, Prefect and Dask stay where the design says."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ["storage", "tasks", "flows"]
STAGES = ["ingest", "spectrograms", "features", "detectors", "scoring", "alarms", "evaluation", "reports"]
# What the ground floor may not know.
STORAGE_MUST_NOT_KNOW = {"prefect", "dask", "distributed", "torch", "torchvision", "sklearn", "librosa", "pandas"}
ORCHESTRATORS = {"prefect", "dask", "distributed"}
# They take seconds to import: networks are the workers' business, and numba (librosa's) is nobody's.
SLOW = {"torch", "torchvision", "librosa", "numba", "skops", "scipy.signal"}


def imports_of(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the floor"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules(floor: str) -> list[Path]:
    return sorted((ROOT / floor).rglob("*.py"))


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_never_go_up(floor):
    above = FLOORS[FLOORS.index(floor) + 1 :]
    for path in modules(floor):
        tops = {name.split(".")[0] for name in imports_of(path.read_text())}
        assert not tops & set(above), f"{path.relative_to(ROOT)} imports {tops & set(above)}"


def test_only_task_modules_and_flows_know_prefect_and_dask():
    for path in [*modules("storage"), *modules("tasks")]:
        if path.name == "task.py" and path.is_relative_to(ROOT / "tasks"):
            continue
        tops = {name.split(".")[0] for name in imports_of(path.read_text())}
        assert not tops & ORCHESTRATORS, f"{path.relative_to(ROOT)} imports {tops & ORCHESTRATORS}"


def test_storage_knows_only_its_own_libraries():
    for path in modules("storage"):
        tops = {name.split(".")[0] for name in imports_of(path.read_text())}
        assert not tops & STORAGE_MUST_NOT_KNOW, f"{path.relative_to(ROOT)}: {tops & STORAGE_MUST_NOT_KNOW}"


def test_there_are_no_circular_imports():
    graph = {}
    for floor in FLOORS:
        for path in modules(floor):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            graph[name] = imports_of(path.read_text())
    known = set(graph)

    def targets(name):
        for imported in graph[name]:
            target = imported if imported in known else imported.rpartition(".")[0]
            if target in known and target != name:
                yield target

    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        path.append(name)
        for target in targets(name):
            visit(target)
        path.pop()
        done.add(name)

    for name in graph:
        visit(name)


def test_the_rules_can_fail():
    assert imports_of("import dask.array\nfrom flows.cli import main") == {"dask.array", "flows.cli.main"}
    with pytest.raises(AssertionError, match="relative"):
        imports_of("from . import cli")


def test_every_stage_is_a_package_with_one_task_module():
    for stage in STAGES:
        assert (ROOT / "tasks" / stage / "__init__.py").exists()
        assert (ROOT / "tasks" / stage / "task.py").exists(), stage


def test_a_command_and_a_flow_start_without_what_is_slow_to_import():
    # With the settings of the default preset and the weights that these need.
    script = (
        "import sys, flows.cli, flows.nightly; from flows.settings import load; from tasks.work import Work; "
        "from tasks.features.weights import require_weights; settings = load(); require_weights(settings.features); "
        "Work('lake', settings).embedding; print(*sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "flows.nightly" in ran.stdout.split()
    assert not SLOW & set(ran.stdout.split())
