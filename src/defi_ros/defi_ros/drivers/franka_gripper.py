"""The Franka hand through franka_gripper's own actions: `move` opens, `grasp` closes and holds with a force.

A goal is a blocking call of the hand of about a second; a second goal beside it would run in a thread of its own there.
So one goal runs at a time; a wish that comes meanwhile calls `stop`, which is the only interrupt, and waits for the end.
"""

from __future__ import annotations

import time
from typing import Any

from franka_msgs.action import Grasp, Move
from rclpy.node import Node
from std_srvs.srv import Trigger

from defi_ros.bridge.action_client import ActionClient
from defi_ros.sections import Gripper

STOP_AGAIN_S = 0.2  # a stop that came before the hand had begun stops nothing; the hand takes 0.8 s for its whole way
STOP_TIMEOUT_S = 2.0  # twice what the longest goal takes: one that was stopped and has not ended by then is lost


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
        self._sent = 0  # goals are numbered, so that late answers to an earlier one do not count
        self._running: str | None = None  # "move" or "grasp", from its sending to its end
        self._accepted = False
        self._stopping_s: float | None = None  # since when the running goal shall end
        self._called_s: float | None = None  # when `stop` was called last for it
        self._stopped = False  # whether `stop` was answered with success
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

    def stop(self) -> None:
        """See `GripperDriver.stop`; a grasp that has ended is left alone, `stop` would let go of what it holds."""
        self._wanted = None
        if self._running is not None and self._stopping_s is None:
            self._stopping_s = time.monotonic()
        self.poll()

    def poll(self) -> str | None:
        """See `GripperDriver.poll`."""
        if self._wanted is None and self._running is None:
            return self._trouble
        if not (self._move.server_is_ready() and self._grasp.server_is_ready()):
            self._lose_goal("franka_gripper's node ended during it")
            if self._wanted is None:
                return self._trouble
            return (
                f"gripper: got no actions {self._name}/move and {self._name}/grasp, expected franka_gripper's node. "
                "Start it, or correct `gripper.action` in the robot file."
            )
        if self._running is not None:
            why = self._interrupt(self._running)
            if self._running is not None:
                return why or self._trouble
        if self._wanted is not None:
            self._begin(self._wanted)
        return self._trouble

    def grasp(self) -> Grasp.Goal:
        """Closes on whatever is between the fingers, also on nothing: any width counts as held."""
        goal = Grasp.Goal(width=0.0, speed=self._settings.speed_m_s, force=self._settings.max_effort_n)
        goal.epsilon.inner = goal.epsilon.outer = self._settings.width_m
        return goal

    # The one goal ----------------------------------------------------------------------------------------------------

    def _begin(self, opening: float) -> None:
        self._wanted = None
        if opening >= 0.5:
            width_m = opening * self._settings.width_m
            self._send(self._move, Move.Goal(width=width_m, speed=self._settings.speed_m_s), "move")
        else:
            self._send(self._grasp, self.grasp(), "grasp")

    def _send(self, client: Any, goal: Any, what: str) -> None:
        self._forget_goal()
        self._running = what
        number = self._sent
        client.send_goal_async(goal).add_done_callback(lambda future: self._answered(number, what, future))

    def _forget_goal(self) -> None:
        self._sent += 1
        self._running, self._accepted = None, False
        self._stopping_s = self._called_s = None
        self._stopped = False

    def _lose_goal(self, why: str) -> None:
        if self._running is not None:
            self._trouble = f"gripper: the goal to {self._running} of {self._name} is lost, expected its result; {why}"
            self._forget_goal()

    def _answered(self, number: int, what: str, future: Any) -> None:
        handle = future.result()
        if number != self._sent:
            return
        if handle is None or not handle.accepted:
            self._forget_goal()
            self._trouble = f"gripper: {self._name} rejected the goal to {what}, expected it to be accepted"
            return
        self._accepted = True
        handle.get_result_async().add_done_callback(lambda result: self._ended(number, what, result))
        self._interrupt(what)

    def _ended(self, number: int, what: str, future: Any) -> None:
        outcome = future.result()
        if number != self._sent:
            return
        interrupted = self._stopping_s is not None
        self._forget_goal()
        self._trouble = None
        if not interrupted and (outcome is None or not outcome.result.success):
            why = "" if outcome is None else outcome.result.error
            self._trouble = f"gripper: {self._name} could not {what}: {why or 'no reason given'}"
        if self._wanted is not None:
            self.poll()

    # Its interrupt ---------------------------------------------------------------------------------------------------

    def _interrupt(self, what: str) -> str | None:
        """Calls `stop` until the goal ends, if it shall; returns why it does not. One that is lost is given up."""
        now_s = time.monotonic()
        if self._stopping_s is None:
            if self._wanted is None:
                return None
            self._stopping_s = now_s
        if not self._stop.service_is_ready():
            return f"gripper: got no service {self._name}/stop, expected it to end the goal to {what}"
        waited_s = now_s - (self._called_s or self._stopping_s)
        if waited_s >= STOP_AGAIN_S or (self._accepted and self._called_s is None):
            self._called_s, number = now_s, self._sent
            called = self._stop.call_async(Trigger.Request())
            called.add_done_callback(lambda future: self._stop_answered(number, future))
        if now_s - self._stopping_s < STOP_TIMEOUT_S:
            return None
        if self._stopped:
            self._lose_goal(f"it did not end within {STOP_TIMEOUT_S:g} s of {self._name}/stop")
            return self._trouble
        return f"gripper: {self._name} still runs the goal to {what} {STOP_TIMEOUT_S:g} s after {self._name}/stop was called"

    def _stop_answered(self, number: int, future: Any) -> None:
        answer = future.result()
        if number == self._sent and answer is not None:
            self._stopped = bool(answer.success)
