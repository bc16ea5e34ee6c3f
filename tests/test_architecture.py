"""The house rules that a machine can check: imports go down, Prefect and Dask stay where the design says."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ["storage", "tasks", "flows"]
# Rooms and modules of the middle floor from the ground up: each may import those before it.
ROOMS = [
    *("settings", "frames", "words", "weights", "sound", "plan", "execution"),
    *("ingest", "spectrograms", "features", "detectors", "scoring", "alarms", "explanation", "evaluation", "reports"),
    "notify",
]
STAGES = ["ingest", "spectrograms", "features", "detectors", "scoring", "alarms", "evaluation", "reports", "notify"]
# What the ground floor may not know.
STORAGE_MUST_NOT_KNOW = {"prefect", "dask", "distributed", "torch", "torchvision", "sklearn", "librosa", "pandas"}
ORCHESTRATORS = {"prefect", "dask", "distributed"}
# They take seconds to import: networks are the workers' business, and so is decoding (librosa, numba).
SLOW = {"torch", "torchvision", "librosa", "numba", "skops", "scipy.signal"}
# Each has its own by convention, and its folder says whose it is.
MAY_BE_NAMED_ALIKE = {"__init__.py", "task.py"}


def imports_of(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the floor"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def floors_of(source: str) -> set[str]:
    return {name.split(".")[1] for name in imports_of(source) if name.startswith("humwatch.")}


def rooms_of(source: str) -> set[str]:
    return {name.split(".")[2] for name in imports_of(source) if name.startswith("humwatch.tasks.")}


def modules(floor: str) -> list[Path]:
    return sorted((ROOT / floor).rglob("*.py"))


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_never_go_up(floor):
    above = set(FLOORS[FLOORS.index(floor) + 1 :])
    for path in modules(floor):
        up = floors_of(path.read_text()) & above
        assert not up, f"{path.relative_to(ROOT)} imports {up}"


def test_imports_of_the_middle_floor_never_go_up_a_room():
    for path in modules("tasks"):
        room = path.relative_to(ROOT / "tasks").parts[0].removesuffix(".py")
        if room != "__init__":
            up = rooms_of(path.read_text()) - set(ROOMS[: ROOMS.index(room) + 1])
            assert not up, f"{path.relative_to(ROOT)} imports {up}"


def test_a_floor_is_imported_by_the_products_name():
    for floor in FLOORS:
        for path in modules(floor):
            bare = {name for name in imports_of(path.read_text()) if name.split(".")[0] in FLOORS}
            assert not bare, f"{path.relative_to(ROOT)} imports {bare}"


def test_only_task_modules_and_flows_know_prefect_and_dask():
    for path in [*modules("storage"), *modules("tasks")]:
        if path.is_relative_to(ROOT / "tasks") and (
            path.name == "task.py" or path.parts[-2:] == ("execution", "stage.py")
        ):
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
            name = "humwatch." + ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
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
    source = "import dask.array\nfrom humwatch.flows.cli.app import main\nfrom humwatch.tasks.plan import run"
    assert imports_of(source) == {"dask.array", "humwatch.flows.cli.app.main", "humwatch.tasks.plan.run"}
    assert floors_of(source) == {"flows", "tasks"}
    assert rooms_of(source) == {"plan"}
    with pytest.raises(AssertionError, match="relative"):
        imports_of("from . import cli")


def test_every_stage_is_a_package_with_one_task_module():
    for stage in STAGES:
        assert (ROOT / "tasks" / stage / "__init__.py").exists()
        assert (ROOT / "tasks" / stage / "task.py").exists(), stage


def test_no_two_modules_have_one_name():
    names = Counter(path.name for floor in FLOORS for path in modules(floor))
    twice = {name for name, count in names.items() if count > 1} - MAY_BE_NAMED_ALIKE
    assert not twice, twice


def asks_the_lake(source: str) -> bool:
    calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return any(
        isinstance(call, ast.Attribute) and call.attr == "exists" and "lake" in ast.unparse(call.value)
        for call in calls
    )


def test_whether_something_derived_is_there_is_asked_in_the_plan_alone():
    # Marks that an event was sent; a lake that may not have been begun.
    others = {"tasks/alarms/task.py", "flows/operations/doctor.py"}
    asking = {
        str(path.relative_to(ROOT))
        for path in [*modules("tasks"), *modules("flows")]
        if not path.is_relative_to(ROOT / "tasks" / "plan") and asks_the_lake(path.read_text())
    }
    assert asking == others
    assert asks_the_lake("run.lake.exists(path)")
    assert not asks_the_lake("folder.exists()")


def test_a_command_and_a_flow_start_without_what_is_slow_to_import():
    # With the settings of the default preset and the weights that these need.
    script = (
        "import sys, humwatch.flows.cli.app, humwatch.flows.nightly; from humwatch.flows.presets import load; "
        "from humwatch.tasks.plan.run import Run; run = Run('lake', load()); run.require_weights(); "
        "run.embedding; print(*sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "humwatch.flows.nightly" in ran.stdout.split()
    assert not SLOW & set(ran.stdout.split())
