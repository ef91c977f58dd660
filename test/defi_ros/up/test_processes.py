import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from defi_ros.up.processes import Child, Exit, StopTimes, last_lines, stop_all

QUICK = StopTimes(terminate_s=0.2, kill_s=0.4, give_up_s=1.0)
READY = "print('ready', flush=True)\n"


def wait_until(true, timeout_s=5.0):
    end_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end_s, "did not come true in time"
        time.sleep(0.01)


def child(tmp_path: Path, code: str, name="toy", nice=0) -> Child:
    made = Child(name, [sys.executable, "-c", code], os.environ, tmp_path / f"{name}.log", nice)
    if READY in code:
        wait_until(lambda: "ready" in made.log_path.read_text())
    return made


def end_of(made: Child) -> Exit:
    wait_until(lambda: made.ended() is not None)
    end = made.ended()
    assert end is not None
    return end


def test_an_exit_names_its_code_and_the_last_line_written(tmp_path):
    end = end_of(child(tmp_path, "import sys; print('a'); sys.stderr.write('no such camera\\n'); sys.exit(2)"))
    assert end.code == 2
    assert "exit code 2" in end.reason and end.reason.endswith("no such camera")


def test_a_killed_child_names_the_signal(tmp_path):
    made = child(tmp_path, READY + "import time; time.sleep(60)")
    made.send(signal.SIGKILL)
    assert "killed by SIGKILL" in end_of(made).reason


def test_a_child_that_obeys_is_stopped_by_the_first_signal(tmp_path):
    code = READY + "import time\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    print('safe', flush=True)\n"
    (end,) = stop_all([child(tmp_path, code)])
    assert (end.code, end.last_lines[-1]) == (0, "safe")


def test_a_child_that_ignores_all_is_killed_in_time(tmp_path):
    ignore = "import signal, time\nfor s in (2, 15): signal.signal(s, signal.SIG_IGN)\n"
    made = child(tmp_path, ignore + READY + "while True: time.sleep(1)")
    start_s = time.monotonic()
    (end,) = stop_all([made], QUICK)
    assert end.code == -signal.SIGKILL
    assert time.monotonic() - start_s < 1.0


def test_children_of_a_shell_that_ignores_ctrl_c_still_obey_it(tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        made = child(tmp_path, READY + "import time; time.sleep(60)")
    finally:
        signal.signal(signal.SIGINT, before)
    (end,) = stop_all([made], QUICK)
    assert end.code != -signal.SIGKILL and end.after_s < 5


def test_a_child_starts_with_its_parents_priority_and_lowers_it_itself(tmp_path):
    made = child(tmp_path, READY + "import time; time.sleep(60)", nice=7)
    assert psutil.Process(made.pid).nice() == psutil.Process().nice()
    stop_all([made], QUICK)


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel shares no time by session")
def test_a_childs_session_has_the_niceness_where_the_kernel_shares_time_by_session(tmp_path):
    made = child(tmp_path, READY + "import time; time.sleep(60)", nice=7)
    assert Path(f"/proc/{made.pid}/autogroup").read_text().split()[-1] == "7"
    stop_all([made], QUICK)


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
def test_children_end_with_a_parent_that_is_killed(tmp_path):
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, sys, time; from pathlib import Path; from defi_ros.up.processes import Child;"
            f"c = Child('toy', [sys.executable, '-c', 'import time; time.sleep(60)'], os.environ, Path({str(tmp_path)!r}) / 'l');"
            "print(c.pid, flush=True); time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    wait_until(lambda: "sleep" in " ".join(psutil.Process(pid).cmdline()) and "-I" not in psutil.Process(pid).cmdline())
    parent.kill()
    parent.wait()
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_the_last_lines_of_a_missing_log_are_none(tmp_path):
    assert last_lines(tmp_path / "none.log") == ()


def test_time_already_spent_on_a_stop_makes_the_next_steps_come_sooner_but_in_order():
    late = StopTimes(1.5, 2.2, 2.6).later(0.8)
    assert (late.terminate_s, late.kill_s, late.give_up_s) == pytest.approx((0.7, 1.4, 1.8))
    late = StopTimes(1.5, 2.2, 2.6).later(10.0)
    assert 0 < late.terminate_s < late.kill_s < late.give_up_s < 1.0
