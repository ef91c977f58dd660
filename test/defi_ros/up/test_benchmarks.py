"""What the benchmarks of the graph refuse before they start one."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("defi_msgs")

pytestmark = pytest.mark.ros
BENCH = Path(__file__).parents[3] / "bench"


def run(name: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(BENCH / name), *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_pattern_that_matches_no_fault_is_refused():
    ended = run("faults.py", "--only", "zzz")
    assert ended.returncode == 2 and ended.stdout == ""
    assert "--only: got 'zzz', which matches no fault; --list names all" in ended.stderr


def test_no_runs_are_refused():
    ended = run("graph_success.py", "--runs", "0")
    assert ended.returncode == 2 and ended.stdout == ""
    assert "--runs: got 0, expected 1 or more" in ended.stderr
