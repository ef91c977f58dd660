"""Child processes: starting them, seeing them end, and ending them in time. Knows nothing of ROS or of robots.

Every child gets a session of its own, so that Ctrl-C in the terminal reaches only this process, which then stops
the children in order; and it is told by the kernel when this process dies, so that none outlives a SIGKILL of it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

EXEC_CHILD = Path(__file__).with_name("exec_child.py")


@dataclass(frozen=True, slots=True)
class StopTimes:
    """When a child that is asked to stop is asked harder, counted from when the stop was wanted.

    Attributes:
        terminate_s: SIGTERM follows SIGINT at this time [s].
        kill_s: SIGKILL follows at this time [s].
        give_up_s: Waiting ends at this time even if the kernel has not reported the child's end [s].
    """

    terminate_s: float = 1.5
    kill_s: float = 2.2
    give_up_s: float = 2.6

    def later(self, elapsed_s: float, least_s: float = 0.3) -> StopTimes:
        """The same counted from `elapsed_s` later; each step keeps `least_s` to the one before."""
        terminate_s = max(self.terminate_s - elapsed_s, least_s)
        kill_s = max(self.kill_s - elapsed_s, terminate_s + least_s)
        return StopTimes(terminate_s, kill_s, max(self.give_up_s - elapsed_s, kill_s + least_s))


@dataclass(frozen=True, slots=True)
class Exit:
    """How a child ended.

    Attributes:
        name: The child.
        code: Its exit code, or minus the signal that killed it.
        after_s: How long it had been running [s].
        last_lines: The end of what it wrote.
    """

    name: str
    code: int
    after_s: float
    last_lines: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """The end in words: "killed by SIGKILL after 3.2 s", "exit code 2 after 1.0 s: <its last line>"."""
        if self.code < 0:
            return f"killed by {signal.Signals(-self.code).name} after {self.after_s:.1f} s"
        told = f": {self.last_lines[-1]}" if self.code > 0 and self.last_lines else ""
        return f"exit code {self.code} after {self.after_s:.1f} s{told}"


class Child:
    """One running process and the file it writes to. Made, polled and stopped from one thread."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log_path: Path, nice: int = 0
    ) -> None:
        """Starts the process at once.

        The thread that makes a child must live as long as the child may: the kernel ties the death signal to it.

        Args:
            name: For messages.
            command: Absolute path of the program, and its arguments.
            environment: The whole environment of the child.
            log_path: Its standard output and error are appended here.
            nice: Wanted niceness, of its session where the kernel shares time by session; what is not permitted is left out.
        """
        self.name = name
        self.log_path = log_path
        self.started_s = time.monotonic()
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(EXEC_CHILD), str(os.getpid()), str(nice), *command],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def ended(self) -> Exit | None:
        """How it ended, or None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        return Exit(self.name, code, time.monotonic() - self.started_s, last_lines(self.log_path))

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the child and whatever it started; nothing happens when it has ended."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)


def stop_all(children: Iterable[Child], times: StopTimes | None = None) -> list[Exit]:
    """Stops children together: SIGINT, then SIGTERM, then SIGKILL; returns how each ended.

    Takes as long as the slowest child and at most `give_up_s`. A child that ends before it is asked counts as well.
    """
    times = times or StopTimes()
    children = list(children)
    for child in children:
        child.send(signal.SIGINT)
    start_s = time.monotonic()
    harder = [(times.terminate_s, signal.SIGTERM), (times.kill_s, signal.SIGKILL)]
    exits: dict[str, Exit] = {}
    while True:
        exits |= {child.name: end for child in children if child.name not in exits and (end := child.ended())}
        elapsed_s = time.monotonic() - start_s
        if len(exits) == len(children) or elapsed_s > times.give_up_s:
            break
        if harder and elapsed_s > harder[0][0]:
            number = harder.pop(0)[1]
            for child in children:
                child.send(number)
        time.sleep(0.01)
    missing = [child for child in children if child.name not in exits]
    return [*exits.values(), *(Exit(child.name, -signal.SIGKILL, times.give_up_s) for child in missing)]


def last_lines(path: Path, count: int = 5, window_bytes: int = 8192) -> tuple[str, ...]:
    """The last lines of a log that are not empty; none when there is no such file."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - window_bytes))
            text = log.read().decode("utf-8", "replace")
    except OSError:
        return ()
    return tuple(line.rstrip() for line in text.splitlines() if line.strip())[-count:]
