"""rclpy's action client, safe to make on a node that another thread spins."""

from __future__ import annotations

import threading
from typing import Any

from rclpy.action import client


class ActionClient(client.ActionClient[Any, Any, Any]):
    """As rclpy's, but ready before the executor can see it.

    rclpy gives itself to the node first and makes its lock last: an executor that looked in between ended with an
    AttributeError, and the node with it (https://github.com/ros2/rclpy/issues/1589).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Takes what rclpy's takes."""
        self._lock = threading.Lock()
        super().__init__(*args, **kwargs)
