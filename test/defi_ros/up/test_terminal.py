import fcntl
import io
import os
import pty
import re
import struct
import termios

import pytest
from rich.console import Console

from defi_ros.up.status import NodeStatus, TaskStatus, node_status
from defi_ros.up.terminal import LiveView, PatientConsole, PlainView, open_view, task_table

ACTIVE = NodeStatus("sim_node", "active", 30.0, 5.04, "real time")


class ClosedStream(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


def shown(renderable) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


class Terminal:
    """A pseudo-terminal with what a person sees on it: text, line feeds, erased lines, cursor up, wrapping."""

    def __init__(self, columns: int) -> None:
        self._ours, theirs = pty.openpty()
        settings = termios.tcgetattr(theirs)
        settings[3] |= termios.NOFLSH  # Ctrl-C leaves what nobody has read yet
        termios.tcsetattr(theirs, termios.TCSANOW, settings)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self._got = b""
        self.columns, self.stream = columns, os.fdopen(theirs, "w", encoding="utf-8")
        self.view = LiveView(PatientConsole(file=self.stream, force_terminal=True, width=columns))

    def press_ctrl_c(self) -> None:
        """Until the kernel has echoed it."""
        os.write(self._ours, b"\x03")
        self._read_until(b"^C")

    def _read_until(self, end: bytes) -> None:
        got = b""
        while not got.endswith(end):
            got += os.read(self._ours, 65536)
        self._got += got

    def lines(self) -> list[str]:
        """The lines on the screen."""
        self.stream.write("\x00")  # nothing is to be read after it
        self.stream.flush()
        self._read_until(b"\x00")
        return seen(self._got.replace(b"\x00", b"").decode(), self.columns)

    def close(self) -> None:
        self.stream.close()
        os.close(self._ours)


def seen(text: str, columns: int) -> list[str]:
    """What a terminal makes of a text."""
    screen, row, column = [""], 0, 0
    for code, number, letter in re.findall(r"\x1b\[(\??[\d;]*)([a-zA-Z])|([^\x1b])", text):
        if number == "K":
            screen[row] = ""
        elif number == "A":
            row = max(row - int(code or 1), 0)
        elif letter == "\r":
            column = 0
        elif letter == "\n" or (letter and column == columns):
            row, column = row + 1, column if letter == "\n" else 0
            screen += [""] * (row + 1 - len(screen))
        if letter and letter not in "\r\n":
            screen[row] = screen[row][:column].ljust(column) + letter + screen[row][column + 1 :]
            column += 1
    return [line.rstrip() for line in screen]


@pytest.fixture
def terminal():
    opened: list[Terminal] = []

    def open_terminal(columns: int) -> Terminal:
        opened.append(Terminal(columns))
        return opened[-1]

    yield open_terminal
    for one in opened:
        one.close()


SLOW = "too slow for real time: got a real-time factor of 0.88, expected 1; free some CPU"
NODES = [
    NodeStatus("imagination_node", "active", 4.7, 41.2, "open the drawer, and then whatever else was asked for"),
    NodeStatus("sim_node", "active", 30.0, 5.04, "real time", SLOW),
    NodeStatus("arm_bridge_node", "active", 200.0, 128.4, "POLICY"),
]


@pytest.mark.parametrize("columns", [80, 60])
def test_what_is_wrong_leaves_name_state_rate_and_latency_of_every_node_readable(terminal, columns):
    one = terminal(columns)
    one.view.show(
        NODES, [TaskStatus("move the door to the left", "running", 2.3, "asked for by task_node")], "POLICY: x"
    )
    lines = one.lines()
    for node in NODES:
        (line,) = [line for line in lines if line.startswith(f"{node.name} ")]
        assert f"active  {node.rate_hz:5.1f} Hz" in line and f"{node.latency_ms:5.1f} ms" in line
    assert f"sim_node: {SLOW}" in " ".join(lines)
    assert any(line.startswith("move the door to the left  running  2.3 s  asked") for line in lines)
    assert "arm: POLICY: x" in lines and max(map(len, lines)) <= columns


@pytest.mark.parametrize("columns", [80, 60])
def test_the_last_frame_shows_how_every_task_has_ended(terminal, columns):
    one = terminal(columns)
    reason = "the policy lost the authority: panda_joint4 is 0.35 rad from its command, limit 0.35 rad"
    one.view.show(NODES, [TaskStatus("open the drawer", "running", 2.3, "asked for by task_node")])
    one.view.show(NODES, [TaskStatus("open the drawer", "failed", 2.4, reason)])
    one.view.close()
    text = " ".join(" ".join(one.lines()).split())
    assert "open the drawer failed 2.4 s" in text and "running" not in text
    assert all(word in text for word in reason.split())


@pytest.mark.parametrize("columns", [80, 60])
def test_ctrl_c_pressed_twice_leaves_one_header(terminal, columns):
    one = terminal(columns)
    one.view.show([ACTIVE], [TaskStatus("open the drawer", "running", 2.3, "x " * columns)])
    one.press_ctrl_c()
    one.press_ctrl_c()
    one.view.note("stopped by Ctrl-C")
    one.view.show([ACTIVE], [TaskStatus("open the drawer", "failed", 2.4, "stopped by Ctrl-C")])
    one.view.close()
    lines = one.lines()
    assert len([line for line in lines if line.startswith("node ")]) == 1, lines
    assert lines[0] == "stopped by Ctrl-C"


def test_a_task_has_one_line_with_status_time_and_reason():
    line = shown(task_table([TaskStatus("open the drawer", "failed", 30.0, "timeout")])).splitlines()[1]
    assert all(word in line for word in ("open the drawer", "failed", "30.0 s", "timeout"))


def test_plain_lines_come_at_changes_only():
    stream = io.StringIO()
    view = PlainView(stream)
    for rate_hz in (29.0, 30.0, 31.0):
        view.show([NodeStatus("sim_node", "active", rate_hz)], [TaskStatus("open the drawer", "running")])
    view.show([NodeStatus("sim_node", "silent")], [TaskStatus("open the drawer", "done", 4.2, "opened")])
    assert stream.getvalue().splitlines() == [
        "sim_node: active",
        "task 'open the drawer': running",
        "sim_node: silent",
        "task 'open the drawer': done after 4.2 s: opened",
    ]


def test_plain_lines_leave_out_what_ends_by_itself_and_come_again_after_it():
    stream = io.StringIO()
    view = PlainView(stream)
    for state in ("starting", "configuring", "inactive", "active", "restarting", "configuring", "active", "failed"):
        view.show([NodeStatus("sim_node", state)], [])
    assert stream.getvalue().splitlines() == ["sim_node: active", "sim_node: active", "sim_node: failed"]


def test_who_has_the_arm_and_why_is_a_plain_line_at_each_change():
    stream = io.StringIO()
    view = PlainView(stream)
    for arm in ("", "HOLD: start", "HOLD: start", "STOPPED: emergency stop at the input device"):
        view.show([], [], arm)
    assert stream.getvalue().splitlines() == ["arm: HOLD: start", "arm: STOPPED: emergency stop at the input device"]


def test_a_reader_that_is_gone_does_not_end_the_run():
    view = PlainView(ClosedStream())
    view.note("one")
    view.show([ACTIVE], [])
    view.close()


def test_a_terminal_that_is_gone_does_not_end_the_run():
    console = PatientConsole(file=io.StringIO(), force_terminal=True, width=80)
    view = LiveView(console)
    view.show([ACTIVE], [])
    console.file = ClosedStream()
    view.note("one")
    view._drawn_s = 0.0
    view.show([ACTIVE], [])
    view.close()


def test_a_file_gets_plain_lines():
    assert isinstance(open_view(io.StringIO()), PlainView)


def test_a_status_comes_from_the_diagnostics():
    values = {"state": "active", "rate_hz": "4.9", "latency_ms_p50": "", "mode": "POLICY", "error": ""}
    assert node_status("action_node", values) == NodeStatus("action_node", "active", 4.9, None, "POLICY", "")
    assert node_status("action_node", {"rate_hz": "none"}).state == "silent"
