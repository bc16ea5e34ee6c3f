"""What users wait for, beside an earlier commit: `python benchmarks/against.py COMMIT [--rounds 3] [--rows help ...]`.

Each row runs `humwatch` in fresh processes, the commit's and this working tree's in turn, and prints the medians of
wall and processor time (of all processes of the command that were waited for, workers and Prefect's server included)
and their ratios. Processor time says more on a machine that others use. The commit is a clone in a temporary folder,
run with this environment; `--own-environment` installs it into one of its own. Both have a Prefect home and lakes of
their own, warmed by one run before anything is measured.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
SAMPLES = sorted((ROOT / "samples").glob("*.zip"))
_PREFECT = ("PREFECT_API_URL", "PREFECT_PROFILES_PATH")


@dataclass(frozen=True)
class Version:
    """A Humwatch: the root of its code, its interpreter, and a folder of its own for lakes and Prefect's home."""

    code: Path
    python: Path
    folder: Path

    def run(self, arguments: Sequence[str]) -> tuple[float, float]:
        """Run a command; return its wall and processor time in seconds.

        Raises:
            RuntimeError: it failed.
        """
        own = {"PYTHONPATH": str(self.code), "PREFECT_HOME": str(self.folder / "prefect")}
        environment = {name: value for name, value in os.environ.items() if name not in _PREFECT} | own
        with (self.folder / "said").open("w+") as said:
            begun = time.perf_counter()
            process = subprocess.Popen(
                [self.python, "-m", "humwatch", *arguments], env=environment, cwd=self.folder, stdout=said, stderr=said
            )
            _, status, used = os.wait4(process.pid, 0)
            wall_s = time.perf_counter() - begun
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                said.seek(0)
                raise RuntimeError(f"humwatch {' '.join(arguments)} of {self.code}:\n{said.read()}")
        return wall_s, used.ru_utime + used.ru_stime

    def new_lake(self) -> str:
        """Return a folder that is not there yet."""
        return tempfile.mkdtemp(dir=self.folder) + "/lake"


def rows(sources: Sequence[str], options: Sequence[str]) -> dict[str, Callable[[Version, str], list[str]]]:
    """Return by name what each row runs, for a version and its lake in which everything is done."""
    return {
        "help": lambda _version, _lake: ["--help"],
        "status": lambda _version, lake: ["status", "--lake", lake, *options],
        "doctor": lambda _version, lake: ["doctor", "--lake", lake, *options],
        "nothing to do": lambda _version, lake: ["run", *sources, "--lake", lake, *options],
        "new recordings": lambda version, _lake: ["run", *sources, "--lake", version.new_lake(), *options],
    }


def clone(commit: str, folder: Path, *, own_environment: bool) -> Version:
    """Return the Humwatch of a commit, cloned into a folder."""
    code = folder / "code"
    subprocess.run(["git", "clone", "--quiet", "--shared", "--no-checkout", ROOT, code], check=True)
    subprocess.run(["git", "-C", code, "checkout", "--quiet", "--detach", _hash_of(commit)], check=True)
    python = Path(sys.executable)
    if own_environment:
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        python = folder / "venv" / "bin" / "python"
        install = [python, "-m", "pip", "install", "--quiet", "-c", "constraints.txt", "-e", "."]
        subprocess.run(install, check=True, cwd=code)
    return Version(code, python, folder)


def _hash_of(commit: str) -> str:
    told = subprocess.run(["git", "-C", ROOT, "rev-parse", commit], check=True, capture_output=True, text=True)
    return told.stdout.strip()


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, of which the median is told")
    parser.add_argument("--rows", nargs="+", choices=rows((), ()), default=list(rows((), ())))
    parser.add_argument("--sources", nargs="+", type=Path, default=SAMPLES, help="unset: the samples of the demo")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--own-environment", action="store_true", help="install the commit's locked libraries for it")
    arguments = parser.parse_args()
    sources = [str(source.absolute()) for source in arguments.sources]
    commands = rows(sources, ["--preset", arguments.preset])
    table = Table("command", *(f"{which}, {what} s" for what in ("wall", "processor") for which in ("then", "now")),
                  "wall, times", "processor, times")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "then").mkdir()
        (Path(folder) / "now").mkdir()
        versions = [
            clone(arguments.commit, Path(folder) / "then", own_environment=arguments.own_environment),
            Version(ROOT, Path(sys.executable), Path(folder) / "now"),
        ]
        lakes = [version.new_lake() for version in versions]
        if arguments.rows != ["help"]:
            for version, lake in zip(versions, lakes, strict=True):
                version.run(commands["nothing to do"](version, lake))  # the first time there is something to do
        for name in arguments.rows:
            spent: list[list[tuple[float, float]]] = [[], []]
            for _ in range(arguments.rounds):
                for version, lake, runs in zip(versions, lakes, spent, strict=True):
                    runs.append(version.run(commands[name](version, lake)))
            then, now = ([median(times) for times in zip(*runs, strict=True)] for runs in spent)
            figures = [f"{value:.2f}" for pair in zip(then, now, strict=True) for value in pair]
            ratios = [f"{before / after:.2f}" for before, after in zip(then, now, strict=True)]
            table.add_row(name, *figures, *ratios)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
