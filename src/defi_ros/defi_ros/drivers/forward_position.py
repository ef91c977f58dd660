"""ros2_control's forward_command_controller and its kin: every tick, the positions of all joints, as plain numbers.

The controller keeps the last command for ever, so the stream must end at rest; the arm bridge sees to that.
"""

from __future__ import annotations

import array

from std_msgs.msg import Float64MultiArray

from defi_models.contract import FloatArray
from defi_ros.bridge import qos
from defi_ros.bridge.convert import float_array
from defi_ros.drivers.interface import Speaker, TopicDriver

DEFAULT_TOPIC = "forward_position_controller/commands"


class ForwardPositionDriver(TopicDriver):
    """Publishes std_msgs/Float64MultiArray, joints in the order of the robot file [rad]."""

    def __init__(self, node: Speaker, topic: str = "") -> None:
        """Makes the publisher; `topic` is relative to the node's namespace."""
        self._publisher = node.say(topic or DEFAULT_TOPIC, Float64MultiArray, qos.COMMANDS)
        super().__init__(self._publisher)
        self._message = Float64MultiArray(data=array.array("d"))

    def send(self, positions: FloatArray, velocities: FloatArray, measured: FloatArray | None, time_ns: int) -> None:
        """See `ArmDriver.send`; the controller knows neither velocity nor time."""
        del velocities, measured, time_ns
        self._message.data = float_array(positions)
        self._publisher.publish(self._message)
