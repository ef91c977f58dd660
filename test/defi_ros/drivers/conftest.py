"""A node that holds a driver, and a peer that plays what it drives, spun together by the test's own thread."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest


class Wire:
    """Both in a ROS context and a namespace of their own."""

    def __init__(self) -> None:
        import rclpy
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.node import Node

        from defi_ros.bridge.lifecycle import DefiNode

        self.context = Context()
        rclpy.init(args=[], context=self.context)
        self.namespace = f"/wire_{uuid.uuid4().hex[:8]}"
        self.node = DefiNode(context=self.context, namespace=self.namespace)
        self.peer = Node("peer", context=self.context, namespace=self.namespace, enable_rosout=False)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.peer)
        self.executor.add_node(self.node)
        self.heard: list[Any] = []

    def listen(self, topic: str, message_type: type) -> None:
        """Begins to hear a topic, and waits until the driver's publisher sees it."""
        self.peer.create_subscription(message_type, topic, self.heard.append, 1000)
        self.until(lambda: self.node.count_subscribers(topic))

    def hear_all(self) -> None:
        """Spins until what was said has been heard: until a message that was said after it comes."""
        from std_msgs.msg import Bool

        from defi_ros.bridge import qos

        heard: list[Bool] = []
        self.peer.create_subscription(Bool, "sentinel", heard.append, qos.LATCHED)
        self.peer.create_publisher(Bool, "sentinel", qos.LATCHED).publish(Bool(data=True))
        self.until(lambda: heard)
        for _ in range(20):
            self.executor.spin_once(timeout_sec=0.0)

    def until(self, condition: Callable[[], Any], timeout_s: float = 5.0) -> Any:
        """Spins until the condition holds and returns its value."""
        deadline_s = time.monotonic() + timeout_s
        while not (value := condition()):
            assert time.monotonic() < deadline_s
            self.executor.spin_once(timeout_sec=0.02)
        return value

    def close(self) -> None:
        """Ends everything."""
        self.node.shut_down()
        self.node.destroy_node()
        self.peer.destroy_node()
        self.executor.shutdown()
        self.context.try_shutdown()


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()
