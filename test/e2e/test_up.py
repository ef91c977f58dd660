"""The whole graph, started as `make demo` starts it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from importlib import resources
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from defi_ros.robot import load_robot, robots_folder

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(180)]

NANO = Path(str(resources.files("defi_models"))) / "weights" / "nano" / "checkpoint.json"
FRANKA = load_robot("franka")
STOPPED_WITHIN_S = 3.0
AT_REST_WITHIN_S = 0.5
LISTENING_S = 0.06  # control_state comes every 20 ms; the observer's own delay on a busy machine


def check_measurements(report):
    """What holds for every run that moved the arm."""
    assert report["robot"] == "franka"
    assert report["rmw"] and report["ros_distro"]
    assert report["limit_violations"] == 0
    assert report["command_rate_hz"] >= 100
    assert report["chunk_rate_hz"] > 1
    assert report["camera_to_command_ms"]["n"] > 0
    assert 0 < report["camera_to_command_ms"]["p50"] <= report["camera_to_command_ms"]["p99"]
    assert (
        report["command_jitter_ms"]["p50"] <= report["command_jitter_ms"]["p99"] <= report["command_jitter_ms"]["max"]
    )
    assert {"sim_node", "arm_bridge_node", "task_node"} < set(report["exit_reasons"])


def test_the_scripted_policy_does_a_task_through_the_whole_graph(up):
    running = up("--policy", "scripted", "--task", "open the drawer", "--seed", "1")
    assert running.end() == 0, running.output
    check_measurements(running.report)
    (task,) = running.report["tasks"]
    assert task["instruction"] == "open the drawer" and task["success"] and 0 < task["duration_s"] < 30
    assert running.report["policy"] == "scripted"
    assert "task 'open the drawer': done" in running.output


@pytest.mark.skipif(not NANO.is_file(), reason=f"no weights of the nano policy at {NANO}: run `defi train all`")
def test_the_nano_policy_drives_the_arm_through_the_whole_graph(up):
    running = up("--policy", "nano", "--task", "turn on the led", "--seed", "1", "--timeout-s", "20")
    code = running.end()
    check_measurements(running.report)
    (task,) = running.report["tasks"]
    assert code == (0 if task["success"] else 1), running.output
    assert running.report["gfdm_ms"]["p50"] > 0 and running.report["gidm_ms"]["p50"] > 0


def test_a_task_that_is_not_done_in_time_makes_the_exit_code_1(up):
    running = up("--policy", "scripted", "--task", "open the drawer", "--timeout-s", "0.5")
    assert running.end() == 1
    (task,) = running.report["tasks"]
    assert not task["success"] and "timeout" in task["reason"]


def test_ctrl_c_in_the_middle_of_a_task_ends_everything_in_time_with_the_arm_at_rest(
    up, observer, record_testsuite_property
):
    running = up("--policy", "scripted", "--composed", "--task", "open the drawer")
    running.wait_for("task 'open the drawer': running")
    observer.wait_for_motion(running)
    children = running.children()
    duration_s = running.stop(signal.SIGINT)
    assert running.process.returncode == 130
    record_testsuite_property("ctrl_c_to_end_s", duration_s)
    assert duration_s < STOPPED_WITHIN_S
    assert not running.living(children)
    assert observer.heard[-1][1].at_rest
    (task,) = running.report["tasks"]
    assert task["reason"] == "stopped by Ctrl-C"


def test_on_a_terminal_the_last_frame_tells_how_the_task_has_ended(tmp_path):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    arguments = ["up", "franka", "--sim", "--policy", "scripted", "--task", "open the drawer", "--seed", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "defi_models.cli", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path), "TERM": "xterm"},
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # its other end is closed
        while got := os.read(ours, 65536):
            shown += got
    os.close(ours)
    last = re.sub(r"\x1b\[\??[\d;]*[a-zA-Z]", "", shown.decode()).rpartition("task ")[2]
    status, count = ("done", "1 of 1") if process.wait() == 0 else ("failed", "0 of 1")  # how the others' work lets it
    assert re.search(rf"open the drawer +{status} +[\d.]+ s +\w", last), last
    assert f"{count} tasks done" in shown.decode()


def test_a_graph_that_others_have_started_is_found_and_left_alone(up, observer):
    """As one of `ros2 launch`, or of another machine: its arm bridge is heard."""
    from defi_msgs.msg import ControlState
    from defi_ros.bridge import qos

    publisher = observer._node.create_publisher(ControlState, "control_state", qos.STREAM)
    state = ControlState(mode=ControlState.POLICY, reason="asked for by task_node")
    observer._node.create_timer(0.02, lambda: publisher.publish(state))
    running = up("--policy", "scripted", "--task", "open the drawer")
    assert running.end() == 2
    assert "a graph of DeFI already runs in ROS domain" in running.output
    assert "its arm_bridge_node says that the arm is in POLICY: asked for by task_node" in running.output
    assert running.report["exit_reasons"]["arm_bridge_node"] == []
    assert running.report["command_rate_hz"] is None and "\narm: " not in running.output


def test_a_second_ctrl_c_does_not_break_the_stop(up):
    running = up("--policy", "scripted", "--task", "open the drawer")
    running.wait_for("starting")
    children = running.children()
    running.process.send_signal(signal.SIGINT)
    assert running.stop(signal.SIGINT) < STOPPED_WITHIN_S
    assert running.process.returncode == 130
    assert not running.living(children)


@pytest.mark.parametrize("name", ["imagination_node", "action_node"])
def test_a_killed_inference_process_brings_the_arm_to_rest_and_it_goes_on_without_a_jump(
    up, observer, name, record_testsuite_property
):
    running = up("--policy", "scripted", "--separate", "--task", "move the door to the left", "--timeout-s", "60")
    observer.wait_for_motion(running)
    killed_s = time.monotonic()
    running.child(name).send_signal(signal.SIGKILL)
    rest_s, state = observer.wait_for(lambda state: state.at_rest, 5.0)
    record_testsuite_property(f"at_rest_after_kill_of_{name}_s", rest_s - killed_s)
    assert rest_s - killed_s < AT_REST_WITHIN_S + LISTENING_S
    assert f"{name} is gone" in state.verdict_reason
    observer.wait_for_motion(running)
    assert running.end() == 0, running.output
    assert f"{name} ended: killed by SIGKILL" in running.output
    assert "killed by SIGKILL" in running.report["exit_reasons"][name][0]
    assert running.report["limit_violations"] == 0
    check_no_jump([state for _, state in observer.since(killed_s)])


def test_an_inference_process_that_hangs_brings_the_arm_to_rest_and_is_started_again(up, observer):
    running = up("--policy", "scripted", "--separate", "--task", "move the door to the left", "--timeout-s", "60")
    observer.wait_for_motion(running)
    running.child("imagination_node").send_signal(signal.SIGSTOP)
    # The chunk may be over before the silence of its maker is noticed.
    gone = "imagination_node is gone: its process has ended or hangs"
    observer.wait_for(lambda state: state.at_rest and gone in state.verdict_reason, 5.0)
    running.wait_for("imagination_node says nothing any more: it hangs and is killed")
    observer.wait_for_motion(running)
    assert running.end() == 0, running.output
    assert running.report["limit_violations"] == 0


def check_no_jump(states):
    """Commands follow each other no further apart than the joints' speed limits allow in the ticks between them."""
    tick_s = 1.0 / FRANKA.control.rate_hz
    for before, after in pairwise(sorted(states, key=lambda state: state.ticks)):
        ticks = after.ticks - before.ticks + 1  # a report may be made between the count and the command of a tick
        moved = np.abs(np.subtract(after.commanded, before.commanded))
        assert (moved <= FRANKA.spec.limits.velocity * ticks * tick_s + 1e-6).all(), f"{moved} rad in {ticks} ticks"


def test_the_end_of_the_bridge_ends_the_graph_with_the_reason(up):
    running = up("--policy", "scripted", "--task", "open the drawer")
    running.wait_for("task 'open the drawer': running")
    running.child("arm_bridge_node").send_signal(signal.SIGKILL)
    assert running.end() == 1
    assert "arm_bridge_node ended: killed by SIGKILL" in running.output
    (task,) = running.report["tasks"]
    assert not task["success"] and "arm_bridge_node" in task["reason"]


def test_no_process_outlives_a_killed_parent(up):
    running = up("--policy", "scripted", "--task", "open the drawer")
    running.wait_for("task 'open the drawer': running")
    children = running.children()
    running.process.kill()
    assert not running.living(children, within_s=5.0)


def test_a_camera_that_never_sends_is_named_and_nothing_moves(up, observer, tmp_path):
    text = (robots_folder() / "franka.yaml").read_text(encoding="utf-8")
    text = text.replace("source: camera/wrist/image_raw", "source: camera/nowhere/image_raw")
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("  path: nano ", "  camera_timeout_s: 4.0\n  path: nano "), encoding="utf-8")
    running = up("--policy", "scripted", "--separate", "--task", "open the drawer", robot=str(path))
    assert running.end() == 2
    assert "camera 'wrist' has sent nothing for 4.0 s on camera/nowhere/image_raw" in running.output
    assert "imagination_node could not start" in running.output
    assert not running.report["tasks"][0]["success"]
    assert all(np.abs(state.commanded_velocity).max(initial=0.0) == 0.0 for _, state in observer.heard)
