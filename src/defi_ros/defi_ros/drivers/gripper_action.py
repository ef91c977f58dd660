"""Sends one goal at a time to a gripper's action server and remembers what became of it; knows no message type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from action_msgs.msg import GoalStatus
from rclpy.node import Node

from defi_ros.bridge.action_client import ActionClient


class GripperAction:
    """The newest opening wins: it is sent as soon as there is a server, and pre-empts the goal before it.

    An aborted goal of a gripper that stalled on an object is no trouble: that is how a grasp ends.
    """

    topics: tuple[str, ...] = ()

    def __init__(self, node: Node, action_type: Any, action: str, make_goal: Callable[[float], Any]) -> None:
        """Makes the client; `make_goal` gives the action's goal for an opening, 0 closed .. 1 open."""
        self._client: Any = ActionClient(node, action_type, action)
        self._action = action
        self._make_goal = make_goal
        self._wanted: float | None = None
        self._sent = 0
        self._trouble: str | None = None

    def destroy(self) -> None:
        """Lets go of the client."""
        self._client.destroy()

    def command(self, opening: float) -> None:
        """See `GripperDriver.command`."""
        self._wanted = opening
        self.poll()

    def poll(self) -> str | None:
        """See `GripperDriver.poll`."""
        if self._wanted is None:
            return self._trouble
        if not self._client.server_is_ready():
            return (
                f"gripper: got no action server on {self._action!r}, expected the gripper's controller. "
                "Start it, or correct `gripper.action` in the robot file."
            )
        goal, self._wanted = self._make_goal(self._wanted), None
        self._sent += 1
        number = self._sent
        self._client.send_goal_async(goal).add_done_callback(lambda future: self._answered(number, future))
        return self._trouble

    def _answered(self, number: int, future: Any) -> None:
        handle = future.result()
        if number != self._sent:
            return
        if handle is None or not handle.accepted:
            self._trouble = f"gripper: its controller on {self._action!r} rejected the goal, expected it to be accepted"
            return
        self._trouble = None
        handle.get_result_async().add_done_callback(lambda result: self._ended(number, result))

    def _ended(self, number: int, future: Any) -> None:
        outcome = future.result()
        if number != self._sent or outcome is None:
            return
        if outcome.status == GoalStatus.STATUS_ABORTED and not outcome.result.stalled:
            self._trouble = f"gripper: its controller on {self._action!r} aborted the goal without holding anything"
