"""A gripper that is one more joint of a forward_command_controller, as the jaw of an SO-101: a number for a position."""

from __future__ import annotations

import array

from std_msgs.msg import Float64MultiArray

from defi_ros.bridge import qos
from defi_ros.drivers.interface import Speaker
from defi_ros.sections import Gripper


class ForwardPositionGripperDriver:
    """Publishes std_msgs/Float64MultiArray with the position of the gripper's joint [m or rad], on transitions only."""

    def __init__(self, node: Speaker, settings: Gripper) -> None:
        """Makes the publisher on the topic that `gripper.action` names."""
        self._settings = settings
        self._publisher = node.say(settings.action, Float64MultiArray, qos.COMMANDS)
        self._wanted: float | None = None

    @property
    def topics(self) -> tuple[str, ...]:
        """See `GripperDriver.topics`."""
        return (self._publisher.topic_name,)

    def destroy(self) -> None:
        """The publisher is the node's."""

    def command(self, opening: float) -> None:
        """See `GripperDriver.command`."""
        self._wanted = opening
        self.poll()

    def poll(self) -> str | None:
        """See `GripperDriver.poll`; sends once there is a controller to hear it."""
        if self._wanted is None:
            return None
        if self._publisher.get_subscription_count() == 0:
            return (
                f"gripper: got nobody who hears {self._publisher.topic_name}, expected the gripper's controller. "
                "Start it, or correct `gripper.action` in the robot file."
            )
        position, self._wanted = self._settings.position(self._wanted), None
        self._publisher.publish(Float64MultiArray(data=array.array("d", [position])))
        return None
