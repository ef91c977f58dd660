"""The action client that may be made while another thread spins its node."""

from __future__ import annotations

import pytest

rclpy = pytest.importorskip("rclpy")

from rclpy.context import Context  # noqa: E402
from rclpy.node import Node  # noqa: E402

from defi_msgs.action import RunTask  # noqa: E402
from defi_ros.bridge.action_client import ActionClient  # noqa: E402

pytestmark = pytest.mark.ros


class WatchedNode(Node):
    """Looks at what it is given at once, as an executor in another thread may."""

    def add_waitable(self, waitable):
        waitable.get_num_entities()
        super().add_waitable(waitable)


def test_it_is_ready_as_soon_as_the_executor_can_see_it():
    context = Context()
    rclpy.init(args=[], context=context)
    node = WatchedNode("watched", context=context)
    try:
        ActionClient(node, RunTask, "run_task").destroy()
    finally:
        node.destroy_node()
        context.try_shutdown()
