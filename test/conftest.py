"""Surroundings of every test run: a ROS domain of its own, local discovery, headless rendering, and no process left behind."""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
import sys
import tempfile
import uuid
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from defi_ros.bringup import graph_environment
from defi_ros.up.domain import reserved_domain

MARK = "DEFI_TEST_RUN"
LEAVE_S = 5.0  # what ends by itself after the last test gets this long
RESOURCE_TRACKER = "multiprocessing.resource_tracker"
_surroundings = ExitStack()
_left_behind: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    """Sets the environment that tests, and the processes they start, run in; before anything imports rclpy.

    The domain is never the user's: `make test` on a machine with a live robot must not be heard by it.
    """
    del config
    os.environ.update(graph_environment())
    os.environ["ROS_DOMAIN_ID"] = str(_surroundings.enter_context(reserved_domain()))
    os.environ["ROS_LOG_DIR"] = tempfile.mkdtemp(prefix="defi-test-log-")
    _surroundings.callback(shutil.rmtree, os.environ["ROS_LOG_DIR"], ignore_errors=True)
    os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] = str(Path(__file__).with_name("one_process.xml"))
    os.environ.setdefault("MUJOCO_GL", "egl")
    os.environ[MARK] = uuid.uuid4().hex


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips, by name, what this machine lacks."""
    if importlib.util.find_spec("rclpy") is not None:
        return
    for item in items:
        if item.get_closest_marker("ros"):
            item.add_marker(pytest.mark.skip(reason="rclpy is not installed; `make setup` installs it"))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Ends what a ROS test left to the garbage collector, before the next one begins.

    rclpy's nodes are held by cycles: their DDS participants would otherwise live on and be destroyed in the middle of
    a later test.
    """
    if "rclpy" in sys.modules and not item.path.is_relative_to(Path(__file__).parent / "e2e"):
        gc.collect()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the run when a process that it started is still alive, also one that lost its parent; ends it."""
    # multiprocessing's own resource tracker ends with this process, not before.
    alive = [process for process in _started_here() if RESOURCE_TRACKER not in " ".join(_command(process))]
    _, alive = psutil.wait_procs(alive, timeout=LEAVE_S)
    for process in alive:
        _left_behind.append(f"{process.pid}: {' '.join(_command(process))[:200]}")
        process.kill()
    if _left_behind and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names the processes that were left behind."""
    if _left_behind:
        terminalreporter.section("processes left behind by tests (killed; the run counts as failed)", red=True)
        for line in _left_behind:
            terminalreporter.write_line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Gives the domain back."""
    del config
    _surroundings.close()


def _started_here() -> list[psutil.Process]:
    """Processes that carry this run's mark in their environment, except this one."""
    return [
        process
        for process in psutil.process_iter()
        if process.pid != os.getpid() and _mark(process) == os.environ[MARK]
    ]


def _mark(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return ["(gone)"]


@pytest.fixture
def repository() -> Path:
    """The root folder of the repository."""
    return Path(__file__).resolve().parents[1]
