"""stop_guard_node as a process of its own, behind a velocity controller and a bridge that dies in motion."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("rclpy")

from std_msgs.msg import Float64MultiArray

from defi_sim.controllers import ForwardVelocityController

pytestmark = pytest.mark.ros

TOPIC = "forward_velocity_controller/commands"
BRIDGE = """
import sys, time, rclpy
from rclpy.context import Context
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
context = Context()
rclpy.init(args=[], context=context)
node = Node("arm_bridge_node", context=context, namespace=sys.argv[1])
publisher = node.create_publisher(Float64MultiArray, sys.argv[2], 1)
while publisher.get_subscription_count() < 2:  # the test and the guard
    time.sleep(0.005)
while True:
    publisher.publish(Float64MultiArray(data=[float(sys.argv[3])] * 7))
    time.sleep(0.005)
"""


@pytest.fixture
def processes(graph):
    """Starts processes in the graph's namespace and ends them."""
    started: list[subprocess.Popen] = []

    def start(*command):
        started.append(subprocess.Popen([sys.executable, *command], env=os.environ))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def guard(graph, processes):
    """The guard, seen alive."""
    process = processes(
        "-m", "defi_ros.nodes.stop_guard_node", "--ros-args", "-r", f"__ns:={graph.namespace}",
        "-p", "robot:=franka", "-p", "driver.kind:=forward_velocity", "-p", f"driver.topic:={TOPIC}",
    )  # fmt: skip
    graph.until(lambda: graph.peer.get_publishers_info_by_topic("stop_guard_node/alive"))
    return process


def bridge_that_says(velocity, graph, processes):
    """A bridge that the guard hears too, and what is said on its topic, which fills."""
    heard: list[float] = []
    graph.peer.create_subscription(Float64MultiArray, TOPIC, lambda message: heard.append(message.data[0]), 100)
    bridge = processes("-c", BRIDGE, graph.namespace, TOPIC, str(velocity))
    graph.until(lambda: len(heard) > 100)  # half a second
    return heard, bridge


def test_a_bridge_that_is_killed_in_motion_is_followed_by_zeros(graph, guard, processes):
    controller = ForwardVelocityController([f"panda_joint{number}" for number in range(1, 8)])
    controller.activate(time.monotonic_ns(), np.zeros(7))
    graph.peer.create_subscription(
        Float64MultiArray, TOPIC, lambda message: controller.command(message.data, time.monotonic_ns()), 100
    )
    heard, bridge = bridge_that_says(0.3, graph, processes)
    assert 0.0 not in heard
    bridge.kill()
    killed_s = time.monotonic()
    graph.until(lambda: heard[-1] == 0.0)
    assert time.monotonic() - killed_s < 3.0  # 0.1 s when nothing else runs
    graph.until(lambda: heard.count(0.0) > 10)  # one might be lost
    before = controller.update(time.monotonic_ns(), np.zeros(7))
    np.testing.assert_array_equal(controller.update(time.monotonic_ns() + 40_000_000, np.zeros(7)), before)


def test_a_guard_that_is_stopped_right_after_its_bridge_leaves_no_velocity_behind(graph, guard, processes):
    heard, bridge = bridge_that_says(0.3, graph, processes)
    bridge.kill()
    guard.send_signal(signal.SIGINT)
    graph.until(lambda: heard[-1] == 0.0)
    assert guard.wait(5.0) == 0


def test_a_bridge_at_rest_is_not_spoken_over(graph, guard, processes):
    speakers, bridge = bridge_that_says(0.0, graph, processes)
    bridge.kill()
    bridge.wait()
    graph.until(lambda: len(graph.peer.get_publishers_info_by_topic(TOPIC)) >= 1)
    sentinel = graph.speaker(TOPIC, Float64MultiArray)
    graph.until(sentinel.get_subscription_count)
    count = len(speakers)
    sentinel.publish(Float64MultiArray(data=[0.0] * 7))
    graph.until(lambda: len(speakers) > count)
    assert len(speakers) <= count + 2
