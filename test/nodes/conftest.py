"""A small world for node tests: a ROS context of its own, one executor, and peers that play robot, cameras and people."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.node import Node  # noqa: E402
from sensor_msgs.msg import Image, JointState  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from defi_ros.bridge import qos  # noqa: E402
from defi_ros.bridge.convert import scene_to, to_stamp  # noqa: E402
from defi_ros.bridge.images import image_to  # noqa: E402
from defi_ros.bridge.lifecycle import DefiNode, make_executor  # noqa: E402

JOINTS = [f"panda_joint{number}" for number in range(1, 8)]
HOME = [0.0, -0.7854, 0.0, -2.3562, 0.0, 1.5708, 0.7854]
FINGER = "panda_finger_joint1"


class Graph:
    """Nodes under test and one peer, spun together by the test's own thread."""

    def __init__(self) -> None:
        self.context = Context()
        rclpy.init(args=[], context=self.context)
        self.namespace = f"/test_{uuid.uuid4().hex[:8]}"
        self.executor = make_executor(self.context)
        self.peer = Node("peer", context=self.context, namespace=self.namespace, enable_rosout=False)
        self.executor.add_node(self.peer)
        self.nodes: list[DefiNode] = []

    def add(self, node_class: type[DefiNode], **parameters: Any) -> Any:
        """The node, spun but not configured."""
        parameters = {"robot": "franka", "start_timeout_s": 5.0, **parameters}
        node = node_class(context=self.context, namespace=self.namespace, parameters=parameters)
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def start(self, node_class: type[DefiNode], **parameters: Any) -> Any:
        """The node, active."""
        node = self.add(node_class, **parameters)
        assert node.bring_up(), node.failure
        return node

    def until(self, condition: Callable[[], Any], timeout_s: float = 15.0, what: str = "") -> Any:
        """Spins until the condition holds and returns its value; fails after `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        while not (value := condition()):
            assert time.monotonic() < deadline_s, f"not within {timeout_s} s: {what or condition}"
            self.executor.spin_once(timeout_sec=0.02)
        return value

    def listen(self, topic: str, message_type: type, profile: Any = qos.EVENTS) -> list[Any]:
        """A list that fills with what is said on a topic."""
        heard: list[Any] = []
        self.peer.create_subscription(message_type, topic, heard.append, profile)
        return heard

    def speaker(self, topic: str, message_type: type, profile: Any = qos.EVENTS) -> Any:
        """A publisher of the peer."""
        return self.peer.create_publisher(message_type, topic, profile)

    def diagnostics(self, node: DefiNode) -> dict[str, str]:
        """What the node says of itself now, with its message under "message"."""
        node.describe()
        status = node.health.status(node.state)
        return {value.key: value.value for value in status.values} | {"message": status.message}

    def close(self) -> None:
        """Ends every node and the context; first what still waits in the executor, which would else never let go of it.

        Goals under way are aborted for that: a coroutine that awaits its end would wait for ever.
        """
        for node in self.nodes:
            if node.is_active:
                node.trigger_deactivate()
        for _ in range(100):
            self.executor.spin_once(timeout_sec=0.002)
        for node in self.nodes:
            node.shut_down()
            node.destroy_node()
        self.peer.destroy_node()
        self.executor.shutdown()
        self.context.try_shutdown()


class FakeRobot:
    """Says robot_description, joint_states and camera images from a thread of its own, as a robot does."""

    def __init__(self, graph: Graph) -> None:
        self.node = Node("fake_robot", context=graph.context, namespace=graph.namespace, enable_rosout=False)
        self.joint_names = [*JOINTS, FINGER]
        self.positions = np.array([*HOME, 0.04])
        self.silent: set[str] = set()
        self.image = np.full((128, 128, 3), 60, dtype=np.uint8)  # black would be refused
        self.scene: dict[str, Any] | None = None
        self._joints = self.node.create_publisher(JointState, "joint_states", qos.STREAM)
        self._cameras = {
            name: self.node.create_publisher(Image, f"camera/{name}/image_raw", qos.IMAGES)
            for name in ("static", "wrist")
        }
        self._scene = self.node.create_publisher(JointState, "scene_state", qos.STREAM)
        self._description = self.node.create_publisher(String, "robot_description", qos.LATCHED)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake_robot", daemon=True)

    def start(self, description: str | None = None) -> FakeRobot:
        """Begins to speak; `description` None says nothing on robot_description."""
        if description is not None:
            self._description.publish(String(data=description))
        self._thread.start()
        return self

    def _run(self) -> None:
        tick = 0
        while not self._stop.wait(0.005):
            tick += 1
            stamp = to_stamp(self.node.get_clock().now().nanoseconds)
            if "joint_states" not in self.silent:
                message = JointState(name=self.joint_names, position=self.positions.tolist())
                message.velocity = [0.0] * len(self.joint_names)
                message.header.stamp = stamp
                self._joints.publish(message)
            if self.scene is not None and tick % 7 == 3:
                self._scene.publish(scene_to(self.scene, self.node.get_clock().now().nanoseconds))
            if tick % 7 == 0:
                now_ns = self.node.get_clock().now().nanoseconds
                for name, publisher in self._cameras.items():
                    if name not in self.silent:
                        publisher.publish(image_to(self.image, now_ns))

    def close(self) -> None:
        """Falls silent."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2.0)
        self.node.destroy_node()


@pytest.fixture
def graph() -> Iterator[Graph]:
    """A graph of this test's own."""
    made = Graph()
    yield made
    made.close()


@pytest.fixture
def robot(graph: Graph) -> Iterator[FakeRobot]:
    """A robot that does not speak yet."""
    made = FakeRobot(graph)
    yield made
    made.close()


@pytest.fixture(scope="session")
def panda_urdf() -> str:
    """The description of the simulated arm."""
    return pytest.importorskip("defi_sim").robot_description()


@pytest.fixture
def diagnostics(graph: Graph) -> list[DiagnosticArray]:
    """What is said on /diagnostics."""
    return graph.listen("/diagnostics", DiagnosticArray)
