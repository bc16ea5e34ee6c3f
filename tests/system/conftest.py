"""The command line as users run it, in this process, with the fake backbone unless a test says otherwise."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

FAKE = ("--backbone", "fake", "--set", "images.image_size_px=64", "--set", "fit.gmm_components=2", "--workers", "2")


@dataclass
class Ran:
    """What a command left behind."""

    status: int
    stdout: str
    stderr: str

    @property
    def summary(self):
        return json.loads(self.stdout)

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(Path(self.summary["report"]).parent / f"{name}.parquet")


def run_humwatch(*arguments, env=None) -> Ran:
    """Run `humwatch ... --json` in a process of its own, as a user does."""
    command = [sys.executable, "-m", "flows", *map(str, arguments), "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})})
    return Ran(ran.returncode, ran.stdout, ran.stderr)


@pytest.fixture
def humwatch():
    return run_humwatch


def modification_times(lake: Path) -> dict[str, int]:
    return {str(path.relative_to(lake)): path.stat().st_mtime_ns for path in lake.rglob("*") if path.is_file()}


def sorted_scores(lake: Path) -> list[tuple]:
    """Every score the lake holds, in an order of its own; comparable with ==."""
    frames = [pd.read_parquet(path) for path in sorted((lake / "scores").rglob("*.parquet"))]
    rows = pd.concat(frames)[["recording_id", "backbone", "detector", "seed", "score", "threshold", "p_value"]]
    return sorted(map(tuple, rows.astype(object).where(rows.notna(), None).to_numpy().tolist()), key=str)
