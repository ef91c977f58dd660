"""A gripper that is one more joint of a forward_command_controller, as the jaw of an SO-101: a number for a position."""

from __future__ import annotations

import array
import math
import time
from collections import deque
from typing import Any

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from defi_ros.bridge import qos
from defi_ros.drivers.interface import Speaker
from defi_ros.sections import Gripper

READ_PERIOD_S = 0.02  # joint states come up to every 2 ms; where the jaw is matters at a stop only
# A jaw that went less than this part of its stroke in that time stands: noise is 0.002, a moving one goes 0.1.
STILL, STILL_S = 0.01, 0.1
BEGINS_S = 0.3  # a jaw told to move this short a time ago may not have begun
OLD_S = 0.5  # where it was before this is not where it is


class ForwardPositionGripperDriver:
    """Publishes std_msgs/Float64MultiArray with the position of the gripper's joint [m or rad], on transitions only."""

    def __init__(self, node: Speaker, settings: Gripper) -> None:
        """Makes the publisher on the topic that `gripper.action` names, and hears where the jaw is."""
        self._settings = settings
        self._publisher = node.say(settings.action, Float64MultiArray, qos.COMMANDS)
        self._wanted: float | None = None
        self._commanded_s = -math.inf
        self._measured: deque[tuple[float, float]] = deque()  # (time [s], opening) of the last STILL_S, oldest first
        node.hear("joint_states", JointState, self._on_bytes, qos.STATES, raw=True)

    @property
    def topics(self) -> tuple[str, ...]:
        """See `GripperDriver.topics`."""
        return (self._publisher.topic_name,)

    def destroy(self) -> None:
        """Publisher and subscription are the node's."""

    def command(self, opening: float) -> None:
        """See `GripperDriver.command`."""
        self._wanted = opening
        self.poll()

    def stop(self) -> None:
        """See `GripperDriver.stop`; commands the opening last measured, if the jaw moves or was told to just now.

        A jaw that stands is left with its command, which is what presses on what it holds. So is one that joint states
        do not tell of: then a motion under way goes on to its end.
        """
        self._wanted = None
        now_s = time.monotonic()
        if not self._measured or now_s - self._measured[-1][0] > OLD_S:
            return
        (_, before), (_, opening) = self._measured[0], self._measured[-1]
        if abs(opening - before) > STILL or now_s - self._commanded_s < BEGINS_S:
            self._commanded_s = -math.inf  # a second stop does not follow the jaw as it comes to rest
            self._publish(opening)

    def poll(self) -> str | None:
        """See `GripperDriver.poll`; sends once there is a controller to hear it."""
        if self._wanted is None:
            return None
        if self._publisher.get_subscription_count() == 0:
            return (
                f"gripper: got nobody who hears {self._publisher.topic_name}, expected the gripper's controller. "
                "Start it, or correct `gripper.action` in the robot file."
            )
        opening, self._wanted = self._wanted, None
        self._commanded_s = time.monotonic()
        self._publish(opening)
        return None

    def _publish(self, opening: float) -> None:
        self._publisher.publish(Float64MultiArray(data=array.array("d", [self._settings.position(opening)])))

    def _on_bytes(self, data: Any) -> None:
        now_s = time.monotonic()
        if self._measured and now_s - self._measured[-1][0] < READ_PERIOD_S:
            return
        message = deserialize_message(data, JointState)
        if self._settings.joint not in message.name:
            return
        at = list(message.name).index(self._settings.joint)
        if at < len(message.position) and math.isfinite(message.position[at]):
            self._measured.append((now_s, self._settings.opening(message.position[at])))
        while self._measured and now_s - self._measured[0][0] > STILL_S:
            self._measured.popleft()
