"""Sends zero velocities when the arm bridge falls silent or dies: a velocity controller would go on with the last ones.

A process of its own, as small as can be, so that whatever ends the bridge leaves it alone. It hears the command topic
as the controller does and speaks on it only while the bridge does not.
"""

from __future__ import annotations

import array
import time

from std_msgs.msg import Float64MultiArray

from defi_ros.bridge import qos
from defi_ros.bridge.lifecycle import DefiNode, run
from defi_ros.drivers.forward_velocity import DEFAULT_TOPIC
from defi_ros.drivers.interface import STOP_GUARD

LOOK_PERIOD_S = 0.01
REPEATS_AT_END = 5
REPEATS = 50  # zeros in a row, half a second of them: one may be lost on the way


class StopGuardNode(DefiNode):
    """One subscription, one publisher, one timer."""

    NAME = STOP_GUARD
    SECTIONS = ("driver",)

    def configure(self) -> None:
        """Begins to hear what the bridge commands."""
        robot = self.robot_file()
        self._timeout_s = robot.driver.guard_timeout_s
        self._zeros = array.array("d", [0.0] * len(robot.joints.names))
        self._heard_s = 0.0
        self._moving = False
        self._left = 0
        topic = robot.driver.topic or DEFAULT_TOPIC
        self._commands = self.say(topic, Float64MultiArray, qos.COMMANDS)
        self.hear(topic, Float64MultiArray, self._on_command, qos.COMMANDS)
        self.every(LOOK_PERIOD_S, self._look)

    def activate(self) -> None:
        """Guards from now on, and says so: a bridge commands nothing without."""
        self._fall_silent = self.keep_alive(self.NAME)

    def deactivate(self) -> None:
        """Guards no more; an arm that moves is stopped before."""
        for _ in range(REPEATS_AT_END if self._moving or self._left else 0):
            self._commands.publish(Float64MultiArray(data=self._zeros))
            time.sleep(LOOK_PERIOD_S)
        self._fall_silent()

    def _on_command(self, message: Float64MultiArray) -> None:
        if self._left and not any(message.data):
            return  # its own zeros come back to it
        self._heard_s = time.monotonic()
        self._moving = any(message.data)
        self._left = 0
        self.health.trouble("silence", None)

    def _look(self) -> None:
        if self.state != "active":
            return
        silent_s = time.monotonic() - self._heard_s
        if self._moving and silent_s > self._timeout_s:
            self._moving, self._left = False, REPEATS
            self.health.trouble(
                "silence",
                f"got no velocities for {silent_s:.2f} s while the arm moved, limit {self._timeout_s:g} s: sent zero",
            )
        if self._left:
            self._left -= 1
            self._commands.publish(Float64MultiArray(data=self._zeros))


def main() -> None:
    """Runs the node."""
    raise SystemExit(run(StopGuardNode))


if __name__ == "__main__":
    main()
