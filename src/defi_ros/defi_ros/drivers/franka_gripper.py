"""The Franka hand through franka_gripper's own actions: `move` opens, `grasp` closes and holds with a force.

A goal is a blocking call of the hand of about a second; a second goal beside it would run in a thread of its own there.
So one goal runs at a time; a wish that comes meanwhile calls `stop`, which is the only interrupt, and waits for the end.
"""

from __future__ import annotations

from typing import Any

from franka_msgs.action import Grasp, Move
from rclpy.node import Node
from std_srvs.srv import Trigger

from defi_ros.bridge.action_client import ActionClient
from defi_ros.sections import Gripper


class FrankaGripperDriver:
    """Widths are those between both fingers [m]; `gripper.action` is the name of franka_gripper's node."""

    topics: tuple[str, ...] = ()

    def __init__(self, node: Node, settings: Gripper) -> None:
        """Makes the clients."""
        self._settings = settings
        self._name = settings.action
        self._move: Any = ActionClient(node, Move, f"{self._name}/move")
        self._grasp: Any = ActionClient(node, Grasp, f"{self._name}/grasp")
        self._stop = node.create_client(Trigger, f"{self._name}/stop")
        self._node = node
        self._wanted: float | None = None
        self._busy = False
        self._stopping = False
        self._trouble: str | None = None

    def destroy(self) -> None:
        """Lets go of the clients."""
        self._move.destroy()
        self._grasp.destroy()
        self._node.destroy_client(self._stop)

    def command(self, opening: float) -> None:
        """See `GripperDriver.command`."""
        self._wanted = opening
        self.poll()

    def poll(self) -> str | None:
        """See `GripperDriver.poll`."""
        if self._wanted is None:
            return self._trouble
        if not (self._move.server_is_ready() and self._grasp.server_is_ready()):
            return (
                f"gripper: got no actions {self._name}/move and {self._name}/grasp, expected franka_gripper's node. "
                "Start it, or correct `gripper.action` in the robot file."
            )
        if self._busy:
            self._interrupt()
            return self._trouble
        opening, self._wanted = self._wanted, None
        self._busy = True
        if opening >= 0.5:
            width_m = opening * self._settings.width_m
            self._send(self._move, Move.Goal(width=width_m, speed=self._settings.speed_m_s), "move")
        else:
            self._send(self._grasp, self.grasp(), "grasp")
        return self._trouble

    def grasp(self) -> Grasp.Goal:
        """Closes on whatever is between the fingers, also on nothing: any width counts as held."""
        goal = Grasp.Goal(width=0.0, speed=self._settings.speed_m_s, force=self._settings.max_effort_n)
        goal.epsilon.inner = goal.epsilon.outer = self._settings.width_m
        return goal

    def _interrupt(self) -> None:
        if not self._stopping and self._stop.service_is_ready():
            self._stopping = True
            self._stop.call_async(Trigger.Request())

    def _send(self, client: Any, goal: Any, what: str) -> None:
        client.send_goal_async(goal).add_done_callback(lambda future: self._answered(what, future))

    def _answered(self, what: str, future: Any) -> None:
        handle = future.result()
        if handle is None or not handle.accepted:
            self._busy = False
            self._trouble = f"gripper: {self._name} rejected the goal to {what}, expected it to be accepted"
            return
        handle.get_result_async().add_done_callback(lambda result: self._ended(what, result))

    def _ended(self, what: str, future: Any) -> None:
        outcome = future.result()
        interrupted, self._busy, self._stopping = self._stopping, False, False
        self._trouble = None
        if not interrupted and (outcome is None or not outcome.result.success):
            why = "" if outcome is None else outcome.result.error
            self._trouble = f"gripper: {self._name} could not {what}: {why or 'no reason given'}"
        if self._wanted is not None:
            self.poll()
