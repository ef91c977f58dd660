"""Sends one goal at a time to a gripper's action server and remembers what became of it; knows no message type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from action_msgs.msg import GoalStatus
from action_msgs.srv import CancelGoal
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
        # Goals are numbered as they are sent, so that late answers to an earlier one do not count.
        self._sent, self._stopped = 0, 0  # the newest goal, and the newest of those that shall not go on
        self._under_way = False  # whether the newest goal has not ended, as far as is known
        self._handle: Any = None  # of the goal accepted last, until it ends
        self._trouble: str | None = None

    def destroy(self) -> None:
        """Lets go of the client."""
        self._client.destroy()

    def command(self, opening: float) -> None:
        """See `GripperDriver.command`."""
        self._wanted = opening
        self.poll()

    def stop(self) -> None:
        """See `GripperDriver.stop`; cancels the goal, at which these controllers hold their position.

        A goal that has ended is not there to be canceled: fingers nearer to it than the controller's `goal_tolerance`
        still go there.
        """
        self._wanted = None
        self._stopped = self._sent
        if self._handle is not None:
            self._cancel(self._sent, self._handle)

    def poll(self) -> str | None:
        """See `GripperDriver.poll`."""
        if self._wanted is None and not self._under_way:
            return self._trouble
        if not self._client.server_is_ready():
            self._lose_goal()
            if self._wanted is None:
                return self._trouble
            return (
                f"gripper: got no action server on {self._action!r}, expected the gripper's controller. "
                "Start it, or correct `gripper.action` in the robot file."
            )
        if self._wanted is not None:
            self._send(self._make_goal(self._wanted))
        return self._trouble

    def _send(self, goal: Any) -> None:
        self._wanted, self._under_way = None, True
        self._sent += 1
        number = self._sent
        self._client.send_goal_async(goal).add_done_callback(lambda future: self._answered(number, future))

    def _lose_goal(self) -> None:
        """The server has ended, and its goal with it."""
        if self._under_way:
            self._sent += 1  # no answer to the goal counts any more
            self._under_way = False
            self._trouble = (
                f"gripper: the action server on {self._action!r} ended during a goal, expected the goal's result. "
                "Start the gripper's controller again."
            )

    def _answered(self, number: int, future: Any) -> None:
        handle = future.result()
        if handle is None or not handle.accepted:
            if number == self._sent:
                self._under_way = False
                self._trouble = (
                    f"gripper: its controller on {self._action!r} rejected the goal, expected it to be accepted"
                )
            return
        if number <= self._stopped:
            self._cancel(number, handle)  # it was sent before the stop, and begins only now
        if number != self._sent:
            return
        self._handle, self._trouble = handle, None
        handle.get_result_async().add_done_callback(lambda result: self._ended(number, handle, result))

    def _cancel(self, number: int, handle: Any) -> None:
        handle.cancel_goal_async().add_done_callback(lambda future: self._canceled(number, future))

    def _canceled(self, number: int, future: Any) -> None:
        answer = future.result()
        refused = answer is not None and answer.return_code == CancelGoal.Response.ERROR_REJECTED
        if refused and number == self._sent and self._under_way:
            self._trouble = (
                f"gripper: its controller on {self._action!r} refused to cancel the goal, expected the fingers to stop"
            )

    def _ended(self, number: int, handle: Any, future: Any) -> None:
        outcome = future.result()
        if handle is self._handle:
            self._handle = None
        if number != self._sent:
            return
        self._under_way = False
        if outcome is None:
            return
        if outcome.status == GoalStatus.STATUS_ABORTED and not outcome.result.stalled:
            self._trouble = f"gripper: its controller on {self._action!r} aborted the goal without holding anything"
