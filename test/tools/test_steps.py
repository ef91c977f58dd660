"""Steps of the set-up: what is remembered, what a failure says, what an interruption leaves."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from steps import Journal, SetupError, Stamps, Step, only_one

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def nothing() -> None:
    """A step that needs no doing."""


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "cache" / "setup.log")


@pytest.fixture
def lock(tmp_path):
    with only_one(tmp_path / "lock") as lock:
        yield lock


def test_a_step_is_due_again_when_an_input_changes(tmp_path):
    stamps = Stamps(tmp_path)
    stamps.end(Step("messages", ["a.msg"], nothing))
    assert stamps.is_done(Step("messages", ["a.msg"], nothing))
    assert not stamps.is_done(Step("messages", ["a.msg", "b.msg"], nothing))


def test_a_step_that_began_and_did_not_end_is_due(tmp_path):
    stamps, step = Stamps(tmp_path), Step("torch", ["2"], nothing)
    stamps.end(step)
    stamps.begin(step)
    assert not stamps.is_done(step)


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (
            "WARNING: Failed to establish a new connection: [Errno -3] Temporary failure in name resolution",
            "no network",
        ),
        ("ProxyError('Cannot connect to proxy.')\nERROR: No matching distribution found for torch==2", "no network"),
        ("ERROR: No matching distribution found for ros-rclpy==9.1.2", "no package ros-rclpy==9.1.2 for Python 3"),
        ("OSError: [Errno 28] No space left on device", "make room"),
        ("fatal error: Python.h: No such file or directory", "apt-get install -y python3-dev"),
    ],
)
def test_a_failed_command_says_what_mends_it(journal, lock, output, told):
    with pytest.raises(SetupError, match=told) as failure:
        journal.run([sys.executable, "-c", f"print({output!r}); raise SystemExit(3)"], lock)
    assert str(journal.log) in str(failure.value)


def test_an_unknown_failure_shows_the_end_of_its_log_only(journal, lock):
    with pytest.raises(SetupError, match="ended with code 7") as failure:
        journal.run([sys.executable, "-c", "print(*range(100), sep='\\n'); raise SystemExit(7)"], lock)
    assert "99" in str(failure.value)
    assert "  50\n" not in str(failure.value)


def test_what_an_earlier_command_said_is_not_taken_for_the_cause(journal, lock):
    journal.run([sys.executable, "-c", "print('No space left on device')"], lock)
    with pytest.raises(SetupError, match="ended with code 1") as failure:
        journal.run([sys.executable, "-c", "raise SystemExit(1)"], lock)
    assert "make room" not in str(failure.value)


def test_what_a_command_says_is_heard_line_by_line_and_logged(journal, lock):
    heard = []
    journal.run(["printf", "a b\\nsecond\\nno end"], lock, heard=heard.append)
    assert heard == ["a b", "second"]
    assert journal.log.read_text().endswith("a b\nsecond\nno end")


def test_a_line_is_heard_while_the_command_still_runs(journal, lock, tmp_path):
    """The command ends only when the hearing of its first line has made the file that it waits for."""
    go = tmp_path / "go"
    journal.run(
        ["sh", "-c", f"echo begun; until [ -e {go} ]; do sleep 0.02; done"], lock, heard=lambda _line: go.touch()
    )
    assert go.exists()


def test_a_failed_command_that_is_listened_to_says_why_too(journal, lock):
    with pytest.raises(SetupError, match="make room"):
        journal.run(["sh", "-c", "echo No space left on device; exit 3"], lock, heard=lambda line: None)


@pytest.mark.parametrize(("terminal", "mark"), [(True, "\r"), (False, "\n")])
def test_progress_takes_the_place_of_its_line_on_a_terminal_and_is_a_line_elsewhere(
    journal, capsys, monkeypatch, terminal, mark
):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    with journal.line("messages"):
        journal.progress("messages 3 of 7: moveit_msgs")
    with journal.line("other"):
        pass
    text = re.sub(" +", " ", capsys.readouterr().out)
    assert text == f" messages {mark} messages 3 of 7: moveit_msgs {mark} messages 0.0 s\n other 0.0 s\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_the_running_command_too(tmp_path, number):
    code = (
        f"import signal, sys; sys.path.insert(0, {str(TOOLS)!r})\n"
        "for number in (signal.SIGINT, signal.SIGTERM):  # a run in the background is born ignoring SIGINT\n"
        "    signal.signal(number, signal.default_int_handler)\n"
        "from pathlib import Path; from steps import Journal, only_one\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "with only_one(folder / 'lock') as lock:\n"
        f"    said = 'echo $$ > ' + str(folder / 'pid') + '; kill -{number.value} $PPID; sleep 60'  # at once\n"
        "    Journal(folder / 'log').run(['sh', '-c', said], lock)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    pid = wait_for_text(tmp_path / "pid")
    assert process.wait(10) != 0
    deadline_s = time.monotonic() + 5.0  # it was told to end, and does so in its own time
    while psutil.pid_exists(int(pid)) and psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline_s


def test_a_second_set_up_waits_for_what_a_killed_one_left_running(tmp_path):
    with only_one(tmp_path / "lock") as lock:
        left = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock,))
    code = (
        f"import sys; sys.path.insert(0, {str(TOOLS)!r}); from pathlib import Path; from steps import only_one\n"
        f"with only_one(Path({str(tmp_path / 'lock')!r})): print('mine', flush=True)"
    )
    second = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert second.stdout is not None
    assert "waiting" in second.stdout.readline()
    assert second.poll() is None
    left.communicate(b"\n", timeout=10)
    assert second.communicate(timeout=10)[0] == "mine\n"


def wait_for_text(path: Path) -> str:
    """The text of a file that another process is about to write."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if path.is_file() and path.read_text().strip():
            return path.read_text()
        time.sleep(0.01)
    raise AssertionError(f"{path} did not appear")
