"""The terminal: live lines where it is one, a plain line at each change where it is not. Decides nothing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Protocol, TextIO

from rich.console import Console, Group
from rich.constrain import Constrain
from rich.live import Live
from rich.table import Table
from rich.text import Text

from defi_ros.up.status import NodeStatus, TaskStatus

REDRAW_S = 0.25
ECHO = 4  # columns left free at the right: Ctrl-C, pressed twice, is echoed after the last line and must not wrap
LONGEST_INSTRUCTION = 30
ON_THE_WAY = ("starting", "restarting", "configuring", "inactive", "unconfigured")  # no lines: they end by themselves
STATE_STYLES = {"active": "green", "failed": "bold red", "starting": "yellow", "restarting": "yellow", "silent": "red"}
TASK_STYLES = {"done": "bold green", "failed": "bold red", "running": "bold", "waiting": "dim"}


class View(Protocol):
    """What shows a run. Every method is called from the main thread and never raises for a terminal that is gone."""

    def show(self, nodes: Sequence[NodeStatus], tasks: Sequence[TaskStatus], arm: str = "") -> None:
        """Shows how things are now, `arm` being who has it and why; cheap when nothing changed."""
        ...

    def note(self, text: str) -> None:
        """Shows one line that stays."""
        ...

    def close(self) -> None:
        """Leaves the terminal as it was found."""
        ...


class PlainView:
    """A line for each change of a node, of who has the arm, or of a task: for logs, pipes and tests."""

    def __init__(self, stream: TextIO) -> None:
        """Writes to `stream` until it is closed by its reader."""
        self._stream: TextIO | None = stream
        self._nodes: dict[str, tuple[str, str]] = {}
        self._tasks: dict[int, str] = {}
        self._arm = ""

    def show(self, nodes: Sequence[NodeStatus], tasks: Sequence[TaskStatus], arm: str = "") -> None:
        """Writes what changed since the last call."""
        for node in nodes:
            seen = (node.state, node.trouble)
            if self._nodes.get(node.name) != seen:
                self._nodes[node.name] = seen
                if node.trouble or node.state not in ON_THE_WAY:
                    self.note(f"{node.name}: {node.state}" + (f": {node.trouble}" if node.trouble else ""))
        if arm != self._arm:
            self._arm = arm
            self.note(f"arm: {arm}")
        for index, task in enumerate(tasks):
            if self._tasks.get(index, "waiting") != task.status:
                self._tasks[index] = task.status
                self.note(task_line(task))

    def note(self, text: str) -> None:
        """Writes one line."""
        try:
            if self._stream:
                self._stream.write(f"{text}\n")
                self._stream.flush()
        except (OSError, ValueError):  # its reader is gone; the run goes on
            self._stream = None

    def close(self) -> None:
        """Nothing to leave."""


class LiveView:
    """One live line a node and a task, and what is wrong, redrawn in place."""

    def __init__(self, console: Console) -> None:
        """Takes over the last lines of a terminal until `close`."""
        self._console = console
        self._live: Live | None = Live(console=console, auto_refresh=False, transient=False)
        self._live.start()
        self._drawn_s = 0.0
        self._newest: tuple[Sequence[NodeStatus], Sequence[TaskStatus], str] = ([], [], "")

    def show(self, nodes: Sequence[NodeStatus], tasks: Sequence[TaskStatus], arm: str = "") -> None:
        """Redraws a few times a second."""
        self._newest = nodes, tasks, arm
        if time.monotonic() - self._drawn_s >= REDRAW_S:
            self._drawn_s = time.monotonic()
            self._draw()

    def _draw(self) -> None:
        nodes, tasks, arm = self._newest
        shown = Group(node_table(nodes), Text(f"arm: {arm}" if arm else ""), task_table(tasks), *troubles(nodes))
        try:
            if self._live and nodes:
                self._live.update(Constrain(shown, self._console.width - ECHO), refresh=True)
        except OSError:  # the terminal was closed; the run ends in order
            self._live = None

    def note(self, text: str) -> None:
        """Writes one line above the live ones."""
        try:
            if self._live:
                self._console.print(Text(text))
        except OSError:
            self._live = None

    def close(self) -> None:
        """Ends the live lines; how things were last stays."""
        self._draw()
        live, self._live = self._live, None
        with contextlib.suppress(OSError):  # the terminal was closed: there is nothing to leave as it was found
            if live:
                live.stop()


class PatientConsole(Console):
    """A console that falls silent when its reader is gone; rich itself would end the process, arm and all."""

    def on_broken_pipe(self) -> None:
        """Writes no more."""
        self.quiet = True


def open_view(stream: TextIO) -> View:
    """Live lines on a terminal, plain ones on anything else."""
    console = PatientConsole(file=stream, highlight=False)
    return LiveView(console) if console.is_terminal and not console.is_dumb_terminal else PlainView(stream)


def node_table(nodes: Sequence[NodeStatus]) -> Table:
    """One line a node; where the terminal is narrow, only the mode is shortened."""
    table = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
    for title, justify in (("node", "left"), ("state", "left"), ("rate", "right"), ("latency", "right")):
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("mode")
    for node in nodes:
        mode = "" if node.mode == node.state else node.mode
        table.add_row(
            node.name,
            Text(node.state, style=STATE_STYLES.get(node.state, "")),
            "" if node.rate_hz is None else f"{node.rate_hz:.1f} Hz",
            "" if node.latency_ms is None else f"{node.latency_ms:.1f} ms",
            Text(mode, no_wrap=True, overflow="ellipsis"),
        )
    return table


def troubles(nodes: Sequence[NodeStatus]) -> list[Text]:
    """What is wrong with nodes, in full."""
    return [Text(f"{node.name}: {node.trouble}", style="yellow") for node in nodes if node.trouble]


def task_table(tasks: Sequence[TaskStatus]) -> Table:
    """One line a task; the reason why one has ended is shown in full."""
    table = Table(box=None, pad_edge=False, show_header=bool(tasks), header_style="dim")
    table.add_column("task", max_width=LONGEST_INSTRUCTION, no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("reason")
    for task in tasks:
        style = TASK_STYLES.get(task.status, "")
        seconds = "" if task.status == "waiting" else f"{task.duration_s:.1f} s"
        short = task.status == "running"
        reason = Text(task.reason, no_wrap=short, overflow="ellipsis" if short else "fold")
        table.add_row(task.instruction, Text(task.status, style=style), seconds, reason)
    return table


def task_line(task: TaskStatus) -> str:
    """A task in one plain line."""
    ended = f" after {task.duration_s:.1f} s" if task.status in ("done", "failed") else ""
    return f"task {task.instruction!r}: {task.status}{ended}" + (f": {task.reason}" if task.reason else "")
