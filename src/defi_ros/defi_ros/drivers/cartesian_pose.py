"""Cartesian impedance controllers, such as crisp_controllers: every tick, the pose of the tool centre point.

The arm bridge filters joint set points; this driver sends the pose they stand for, so the same limits hold.
The controller keeps the last target for ever and ignores everybody when two nodes publish.
"""

from __future__ import annotations

from collections.abc import Callable

from geometry_msgs.msg import PoseStamped

from defi_models.contract import FloatArray
from defi_ros.bridge import qos
from defi_ros.bridge.convert import to_stamp
from defi_ros.drivers.interface import Speaker

DEFAULT_TOPIC = "target_pose"


class CartesianPoseDriver:
    """Publishes geometry_msgs/PoseStamped in the base frame [m, unit quaternion]."""

    def __init__(
        self, node: Speaker, forward: Callable[[FloatArray], FloatArray], base_frame: str, topic: str = ""
    ) -> None:
        """Makes the publisher; `forward` gives the pose, shape (7,), for joints, shape (joints,) [rad]."""
        self._publisher = node.say(topic or DEFAULT_TOPIC, PoseStamped, qos.COMMANDS)
        self._forward = forward
        self._message = PoseStamped()
        self._message.header.frame_id = base_frame

    @property
    def topic(self) -> str:
        """See `ArmDriver.topic`."""
        return self._publisher.topic_name

    def send(self, positions: FloatArray, velocities: FloatArray, time_ns: int) -> None:
        """See `ArmDriver.send`; the controller knows no velocity."""
        del velocities
        x, y, z, qx, qy, qz, qw = self._forward(positions).tolist()
        pose = self._message.pose
        pose.position.x, pose.position.y, pose.position.z = x, y, z
        orientation = pose.orientation
        orientation.x, orientation.y, orientation.z, orientation.w = qx, qy, qz, qw
        self._message.header.stamp = to_stamp(time_ns)
        self._publisher.publish(self._message)
