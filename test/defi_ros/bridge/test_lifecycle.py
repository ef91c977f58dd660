"""The life of a node: what fails, how it is said, and what is on the wire last."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

pytest.importorskip("rclpy")

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import String

from defi_models.contract import DefiError
from defi_ros.bridge import qos
from defi_ros.bridge.lifecycle import DefiNode

pytestmark = pytest.mark.ros


class Probe(DefiNode):
    """Notes what happens to it."""

    NAME = "probe"

    def __init__(self, **options):
        super().__init__(**options)
        self.order: list[str] = []
        self.refuse = ""

    def configure(self):
        self.order.append("configure")
        self.publisher = self.say("words", String, qos.EVENTS)
        if self.refuse == "configure":
            raise DefiError("camera 'wrist': got nothing, expected images")
        if self.refuse == "bug":
            raise KeyError("x")

    def activate(self):
        self.order.append("activate")
        self.start_worker("work", self.work)
        if self.refuse == "activate":
            raise DefiError("another publisher")

    def work(self, stop):
        stop.wait(10.0)
        self.order.append("worker ended")
        if self.refuse == "work":
            raise ValueError("broken")

    def deactivate(self):
        self.order.append("deactivate")
        self.publisher.publish(String(data="rest"))

    def cleanup(self):
        self.order.append("cleanup")


@pytest.fixture
def context():
    made = Context()
    rclpy.init(args=[], context=made)
    yield made
    made.try_shutdown()


@pytest.fixture
def node(context):
    made = Probe(context=context, namespace="/lifecycle")
    yield made
    made.shut_down()
    made.destroy_node()


def test_a_life_goes_in_order_and_ends_its_thread_after_the_safe_action(node):
    assert node.bring_up() and node.state == "active"
    node.shut_down()
    assert node.order == ["configure", "activate", "deactivate", "worker ended", "cleanup"]
    assert not [thread for thread in threading.enumerate() if thread.name == "work"]


def test_the_safe_action_is_heard_and_nothing_after_it(context, node):
    heard: list[str] = []
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    node.create_subscription(String, "words", lambda message: heard.append(message.data), qos.EVENTS)
    node.bring_up()
    node.trigger_deactivate()
    node.publisher.publish(String(data="too late"))
    deadline = time.monotonic() + 2.0
    while not heard and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.05)
    executor.spin_once(timeout_sec=0.05)
    assert heard == ["rest"]


def test_a_failed_configure_keeps_the_one_message_and_can_be_tried_again(node):
    node.refuse = "configure"
    assert not node.bring_up()
    assert node.failure == "camera 'wrist': got nothing, expected images"
    assert node.state == "failed" and "activate" not in node.order
    node.refuse = ""
    assert node.bring_up() and node.failure is None


def test_an_unforeseen_error_in_configure_is_not_swallowed(node):
    node.refuse = "bug"
    assert not node.bring_up()
    assert node.failure == "KeyError: 'x'"


@pytest.mark.parametrize("state", ["configuring", "inactive", "active"])
def test_an_error_in_describe_is_the_node_s_failure_and_not_swallowed(node, monkeypatch, state):
    def describe():
        if node._state == state:
            raise ZeroDivisionError("no rate yet")

    monkeypatch.setattr(node, "describe", describe)
    assert not node.bring_up()
    assert node.failure == "ZeroDivisionError: no rate yet"
    assert not [thread for thread in threading.enumerate() if thread.name == "work"]
    assert ("deactivate" in node.order) == (state == "active")


def test_a_refused_activation_ends_the_thread_and_leaves_the_node_silent(node):
    node.refuse = "activate"
    assert not node.bring_up()
    assert node.failure == "another publisher"
    assert node.order[-1] == "worker ended"
    assert not node.publisher.is_activated


def test_a_thread_that_fails_stops_the_node_with_its_reason(node):
    node.refuse = "work"
    node.bring_up()
    node._workers[0].stop(1.0)
    assert node.stopping.is_set()
    assert node.failure == "probe: its thread 'work' failed: ValueError: broken"


def test_waiting_to_hear_returns_the_latched_message(node):
    node.create_publisher(String, "robot_description", qos.LATCHED).publish(String(data="urdf"))
    message = node.wait_to_hear("robot_description", String, qos.LATCHED, timeout_s=5.0)
    assert message is not None and message.data == "urdf"


def test_waiting_to_hear_gives_up_in_time(node):
    started = time.monotonic()
    assert node.wait_to_hear("nothing", String, qos.EVENTS, timeout_s=0.2) is None
    assert 0.2 <= time.monotonic() - started < 1.0


def test_waiting_to_hear_ends_when_the_node_is_asked_to_stop(node):
    node.stopping.set()
    started = time.monotonic()
    assert node.wait_to_hear("nothing", String, qos.EVENTS, timeout_s=10.0) is None
    assert time.monotonic() - started < 1.0


def test_diagnostics_tell_rate_latency_mode_and_trouble(context, node):
    heard: list[DiagnosticArray] = []
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    node.create_subscription(DiagnosticArray, "/diagnostics", heard.append, qos.EVENTS)
    node.bring_up()
    for _ in range(10):
        node.health.count(4.0)
    node.health.trouble("cameras", "camera 'wrist' has sent nothing for 2.1 s on camera/wrist/image_raw")
    node.health.set(mode="imagining")
    node.publish_diagnostics()
    deadline = time.monotonic() + 5.0
    mine: list[DiagnosticStatus] = []
    while not mine and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.05)
        mine = [s for m in heard for s in m.status if s.name == "probe" and s.level == DiagnosticStatus.WARN]
    values = {value.key: value.value for value in mine[-1].values}
    assert mine[-1].message.startswith("camera 'wrist' has sent nothing")
    assert values["mode"] == "imagining" and values["latency_ms_p50"] == "4.0" and values["rate_hz"] == "5.0"


def test_troubles_are_news_when_they_begin_and_end_and_never_between(node):
    for age in (1.0, 2.0, 3.0):
        node.health.trouble("cameras", f"silent for {age} s")
    node.health.trouble("cameras", None)
    node.health.trouble("cameras", None)
    assert node.health.take_news() == [(True, "silent for 1.0 s"), (False, "cameras: well again")]
    assert node.health.take_news() == []


PROGRAM = textwrap.dedent(
    """
    import sys, threading, time
    from std_msgs.msg import String
    from defi_models.contract import DefiError
    from defi_ros.bridge import qos
    from defi_ros.bridge.lifecycle import DefiNode, run

    class Node(DefiNode):
        NAME = "child"
        def configure(self):
            self.publisher = self.say("words", String, qos.EVENTS)
            if sys.argv[1] == "refuse":
                raise DefiError("robot: got 'frnka', expected one of franka")
        def activate(self):
            self.start_worker("work", self.work)
            sys.stdout.write("ready\\n")
            sys.stdout.flush()
        def work(self, stop):
            if sys.argv[1] == "break":
                raise RuntimeError("cable")
            if sys.argv[1] == "stuck":
                time.sleep(60)
            stop.wait(60)
        def deactivate(self):
            sys.stdout.write("safe\\n")

    sys.exit(run(Node, ["child"]))
    """
)


def child(how: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", PROGRAM, how], stdout=pipe, stderr=pipe, text=True, env=os.environ)


def test_a_process_that_cannot_configure_exits_2_with_the_message_last():
    process = child("refuse")
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert errors.strip().splitlines()[-1] == "robot: got 'frnka', expected one of franka"


def test_a_process_whose_thread_fails_acts_safely_and_exits_1():
    process = child("break")
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert output.splitlines()[-1] == "safe"
    assert errors.strip().splitlines()[-1] == "child: its thread 'work' failed: RuntimeError: cable"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("how", ["work", "stuck"])
def test_a_signal_ends_a_process_safely_and_in_time(number, how):
    process = child(how)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    started = time.monotonic()
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert output == "safe\n"
    assert time.monotonic() - started < 3.0  # 0.5 s when nothing else runs; the bound is that of `defi up`


def test_a_node_that_hangs_after_a_signal_is_ended():
    code = (
        "import signal, threading, types; from defi_ros.bridge import process\n"
        "node = types.SimpleNamespace(stopping=threading.Event(), state='active')\n"
        "signal.signal(signal.SIGTERM, lambda *_: process._end(node))\n"
        "print('up', flush=True)\n"
        "while True: threading.Event().wait(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "up\n"
    child.terminate()
    assert child.wait(30) == -signal.SIGALRM
