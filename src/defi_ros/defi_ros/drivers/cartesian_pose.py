"""Cartesian impedance controllers: every tick, the pose of the tool centre point, and the posture for what is left free.

The arm bridge filters joint set points; this driver sends the pose they stand for, so the same limits hold.
crisp_controllers hears `target_pose` and `target_joint`; the Franka impedance controllers hear a pose alone
(`equilibrium_pose`), so their robot file gives that topic and leaves `nullspace_topic` empty. Both keep the last target
for ever as a spring; crisp ignores everybody when two nodes publish.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState

from defi_models.contract import NS_PER_S, FloatArray
from defi_ros.bridge import qos
from defi_ros.bridge.convert import float_array, to_stamp
from defi_ros.drivers.interface import Speaker, TopicDriver

DEFAULT_TOPIC = "target_pose"
POSTURE_PERIOD_S = 0.02  # the controller's own filter takes 10 ms to follow; more messages change nothing


class PoseStream:
    """One geometry_msgs/PoseStamped, filled again for every set point; knows where it is published."""

    def __init__(self, node: Speaker, topic: str, forward: Callable[[FloatArray], FloatArray], frame: str) -> None:
        """Makes the publisher; `forward` gives the pose, shape (7,), for joints, shape (joints,) [rad]."""
        self.publisher = node.say(topic, PoseStamped, qos.COMMANDS)
        self._forward = forward
        self._message = PoseStamped()
        self._message.header.frame_id = frame

    def send(self, positions: FloatArray, time_ns: int) -> None:
        """Publishes the pose of joints [rad], stamped `time_ns` [ns]."""
        x, y, z, qx, qy, qz, qw = self._forward(positions).tolist()
        pose = self._message.pose
        pose.position.x, pose.position.y, pose.position.z = x, y, z
        orientation = pose.orientation
        orientation.x, orientation.y, orientation.z, orientation.w = qx, qy, qz, qw
        self._message.header.stamp = to_stamp(time_ns)
        self.publisher.publish(self._message)


class CartesianPoseDriver(TopicDriver):
    """Publishes geometry_msgs/PoseStamped in the base frame [m, unit quaternion] and sensor_msgs/JointState [rad]."""

    def __init__(
        self,
        node: Speaker,
        forward: Callable[[FloatArray], FloatArray],
        joint_names: Sequence[str],
        base_frame: str,
        topic: str = "",
        nullspace_topic: str = "",
    ) -> None:
        """Makes the publishers.

        Args:
            node: Owns them.
            forward: Gives the pose, shape (7,), for joints, shape (joints,) [rad].
            joint_names: Order of the joints, which is also that of the controller: it reads the posture by position.
            base_frame: Frame of the poses.
            topic: Topic of the pose.
            nullspace_topic: Topic of the posture; empty for a controller that takes none.
        """
        self._pose = PoseStream(node, topic or DEFAULT_TOPIC, forward, base_frame)
        self._posture = node.say(nullspace_topic, JointState, qos.COMMANDS) if nullspace_topic else None
        self._joints = JointState(name=list(joint_names))
        self._posture_ns: int | None = None
        super().__init__(self._pose.publisher, *([] if self._posture is None else [self._posture]))

    def send(self, positions: FloatArray, velocities: FloatArray, measured: FloatArray | None, time_ns: int) -> None:
        """See `ArmDriver.send`; the controller knows no velocity."""
        del measured
        self._pose.send(positions, time_ns)
        since_ns = None if self._posture_ns is None else time_ns - self._posture_ns
        due = since_ns is None or not 0 <= since_ns < 0.9 * POSTURE_PERIOD_S * NS_PER_S or not velocities.any()
        if self._posture is not None and due:
            self._posture_ns = time_ns
            self._joints.header.stamp = to_stamp(time_ns)
            self._joints.position = float_array(positions)
            self._posture.publish(self._joints)
