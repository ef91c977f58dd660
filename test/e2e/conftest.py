"""`defi up` as a process of its own, as `make demo` starts it, and an observer in the same ROS domain."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

pytest.importorskip("rclpy", reason="the graph needs ROS 2: run `make setup`")
pytest.importorskip("defi_msgs", reason="the graph needs its messages: run `make setup`")

from defi_ros.up.surroundings import surroundings

LONGEST_S = 90.0  # a cold start on a busy machine and one task


def wait_until(true: Callable[[], Any], show: Callable[[], object] = lambda: "", timeout_s: float = LONGEST_S) -> Any:
    """The first value that is true; fails with what `show` gives when there is none in time."""
    end_s = time.monotonic() + timeout_s
    while not (value := true()):
        assert time.monotonic() < end_s, f"not within {timeout_s} s: {show()}"
        time.sleep(0.01)
    return value


class RunningUp:
    """One `defi up franka --demo --headless ...`; its output goes to a file, its report to another."""

    def __init__(self, folder: Path, *arguments: str, robot: str = "franka") -> None:
        self.report_path, self._output_path = folder / "report.json", folder / "output.txt"
        self._arguments = [robot, "--demo", "--headless", "--json", str(self.report_path), *arguments]
        with self._output_path.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "defi_models.cli", "up", *self._arguments],
                env={**os.environ, "XDG_STATE_HOME": str(folder)},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._output_path.read_text(encoding="utf-8")

    @property
    def report(self) -> dict[str, Any]:
        return json.loads(self.report_path.read_text(encoding="utf-8"))

    def wait_for(self, text: str) -> None:
        """Until `text` is in the output."""
        wait_until(lambda: text in self.output or self.process.poll() is not None, lambda: self.output)
        assert text in self.output, self.output

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, name: str) -> psutil.Process:
        """The process of one node."""
        return next(child for child in self.children() if any(name in part for part in child.cmdline()))

    @staticmethod
    def living(processes: list[psutil.Process], within_s: float = 0.0) -> list[psutil.Process]:
        """Those that still run after `within_s` [s]; one that has ended and that nobody collects (a zombie) does not."""

        def runs(process: psutil.Process) -> bool:
            try:
                return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
            except psutil.NoSuchProcess:
                return False

        end_s = time.monotonic() + within_s
        while (running := [process for process in processes if runs(process)]) and time.monotonic() < end_s:
            time.sleep(0.01)
        return running

    def stop(self, number: signal.Signals = signal.SIGINT) -> float:
        """Sends a signal and waits for the end; how long that took [s]."""
        start_s = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(10)
        return time.monotonic() - start_s

    def end(self) -> int:
        """Waits for the end by itself: the exit code."""
        return self.process.wait(LONGEST_S)


@pytest.fixture(scope="session", autouse=True)
def domain() -> Iterator[None]:
    """All graphs of a session, one after the other, in one domain that nobody else uses."""
    with surroundings(sim=True):
        yield


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., RunningUp]]:
    """Starts `defi up` with the arguments given; what still runs at the end of the test is ended."""
    started: list[RunningUp] = []

    def start(*arguments: str, robot: str = "franka") -> RunningUp:
        started.append(RunningUp(tmp_path, *arguments, robot=robot))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.stop()


class Observer:
    """Every control_state heard, with the time it came in."""

    def __init__(self) -> None:
        import rclpy
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.node import Node

        from defi_msgs.msg import ControlState
        from defi_ros.bridge import qos

        self.heard: list[tuple[float, Any]] = []
        self._context = Context()
        rclpy.init(args=[], context=self._context)
        self._node = Node("observer", context=self._context)
        self._node.create_subscription(
            ControlState, "control_state", lambda message: self.heard.append((time.monotonic(), message)), qos.STREAM
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._spin, name="observer", daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._stopping.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def wait_for_motion(self, running: RunningUp) -> None:
        """Until the arm is commanded to move at more than a creep; fails when the run ends before."""

        def moving() -> bool:
            assert running.process.poll() is None, running.output
            return bool(self.heard) and np.abs(self.heard[-1][1].commanded_velocity).max(initial=0.0) > 0.05

        wait_until(moving, lambda: running.output)

    def wait_for(self, true: Callable[[Any], bool], timeout_s: float) -> tuple[float, Any]:
        """The first state from now on for which `true` holds, and when it came in."""
        known = len(self.heard)
        return wait_until(
            lambda: next((entry for entry in self.heard[known:] if true(entry[1])), None),
            lambda: self.heard[-1][1] if self.heard else "nothing was heard",
            timeout_s,
        )

    def since(self, start_s: float) -> list[tuple[float, Any]]:
        return [(at_s, message) for at_s, message in self.heard if at_s >= start_s]

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(2.0)
        self._node.destroy_node()
        self._context.try_shutdown()


@pytest.fixture
def observer(domain: None) -> Iterator[Observer]:
    made = Observer()
    yield made
    made.close()
