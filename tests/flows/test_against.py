"""The benchmark that runs this working tree beside an earlier commit."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no clone, so no earlier commit")
def test_a_commit_is_run_beside_the_working_tree():
    command = [sys.executable, ROOT / "benchmarks" / "against.py", "HEAD", "--rows", "help", "--rounds", "1"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    (row,) = (line for line in ran.stdout.splitlines() if "help" in line)
    then_s, now_s, *_ = map(float, re.findall(r"\d+\.\d+", row))
    assert then_s > 0.05
    assert now_s > 0.05


def test_a_commit_that_is_none_is_an_error():
    command = [sys.executable, ROOT / "benchmarks" / "against.py", "no-such-commit", "--rows", "help"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert "no-such-commit" in ran.stderr
