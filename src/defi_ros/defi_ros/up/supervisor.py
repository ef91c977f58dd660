"""Keeps the processes of a graph running: starts them together, restarts those that may be, tells of the rest."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from defi_models.contract import DefiError
from defi_ros.bringup import Process
from defi_ros.up.processes import Child, Exit, StopTimes, stop_all

RESTARTS = 4  # a fault that comes back more often than this within the window is not cured by restarting
RESTART_WINDOW_S = 60.0
RESTART_PAUSE_S = 0.2
BAD_CONFIGURATION = 2  # exit code of a node that refuses its configuration; the same again is of no use


class ProcessEndedError(DefiError):
    """A process ended without which the graph cannot go on."""


class Supervisor:
    """The processes of one graph. Every method is called from the main thread."""

    def __init__(self, processes: Sequence[Process], run_folder: Path, stop_times: StopTimes | None = None) -> None:
        """Nothing is started yet.

        Args:
            processes: What to run, in the order of starting.
            run_folder: Existing folder for one `<name>.log` a process.
            stop_times: When a process that is asked to stop is asked harder.
        """
        self._processes = {process.name: process for process in processes}
        self._run_folder = run_folder
        self._stop_times = stop_times or StopTimes()
        self._started: set[str] = set()
        self._children: dict[str, Child] = {}
        self._due_s: dict[str, float] = {}
        self._restarts: dict[str, deque[float]] = {name: deque() for name in self._processes}
        self.reasons: dict[str, list[str]] = {name: [] for name in self._processes}

    def start(self, held_back: str = "") -> None:
        """Starts every process that was not started yet, except the one held back, without waiting for any."""
        for name, process in self._processes.items():
            if name != held_back and name not in self._started:
                self._started.add(name)
                self._start(process)

    def _start(self, process: Process) -> None:
        environment = merged_environment(os.environ, process.environment)
        self._children[process.name] = Child(
            process.name, process.command(sys.executable), environment, self.log_path(process.name), process.nice
        )

    def log_path(self, name: str) -> Path:
        """Where a process writes what it says."""
        return self._run_folder / f"{name}.log"

    def pid(self, name: str) -> int | None:
        """Process id, or None while it is not running; any thread."""
        child = self._children.get(name)
        return child.pid if child else None

    def poll(self) -> list[Exit]:
        """Looks after every process once; returns those that ended since the last call and are being restarted.

        Raises:
            ProcessEndedError: one ended that may not be restarted, or that keeps ending.
        """
        ended = [end for child in self._children.values() if (end := child.ended()) is not None]
        for end in ended:
            del self._children[end.name]
            self.reasons[end.name].append(end.reason)
        for end in ended:
            self._plan_restart(end)
        now_s = time.monotonic()
        for name in [name for name, due_s in self._due_s.items() if due_s <= now_s]:
            del self._due_s[name]
            self._start(self._processes[name])
        return ended

    def _plan_restart(self, end: Exit) -> None:
        now_s = time.monotonic()
        recent = self._restarts[end.name]
        while recent and now_s - recent[0] > RESTART_WINDOW_S:
            recent.popleft()
        if end.code == BAD_CONFIGURATION and end.last_lines:
            raise ProcessEndedError(f"{end.name} could not start. {end.last_lines[-1]}")
        log_path = self.log_path(end.name)
        if not self._processes[end.name].respawn:
            raise ProcessEndedError(
                f"{end.name} ended: {end.reason}. The graph cannot go on without it; see {log_path}"
            )
        if len(recent) >= RESTARTS:
            raise ProcessEndedError(
                f"{end.name} ended {len(recent) + 1} times within {RESTART_WINDOW_S:.0f} s, "
                f"at most {RESTARTS} restarts are tried; last time: {end.reason}; see {log_path}{_quoted(end)}"
            )
        recent.append(now_s)
        self._due_s[end.name] = now_s + RESTART_PAUSE_S

    def kill(self, name: str) -> bool:
        """Ends a process that hangs; `poll` then starts it again. False, and it is left alone, where that is not allowed."""
        child = self._children.get(name)
        if child is None or not self._processes[name].respawn:
            return False
        child.send(signal.SIGKILL)
        return True

    def stop(self, elapsed_s: float = 0.0) -> None:
        """Ends every process; a second call does nothing.

        Args:
            elapsed_s: How long ago the stop was wanted; the sooner a process is asked harder [s].
        """
        self._due_s.clear()
        began_s = time.monotonic() - elapsed_s
        for last in (False, True):
            children = [child for name, child in self._children.items() if self._processes[name].stops_last == last]
            for end in stop_all(children, self._stop_times.later(time.monotonic() - began_s)):
                self.reasons[end.name].append("stopped" if end.code == 0 else f"stopped: {end.reason}")
        self._children.clear()


def _quoted(end: Exit) -> str:
    """What the process said last, one line under the other."""
    return "".join(f"\n  | {line}" for line in end.last_lines)


def merged_environment(own: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child: what a process needs, except where the user has said otherwise."""
    return {**wanted, **own}
