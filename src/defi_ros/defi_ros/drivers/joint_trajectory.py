"""ros2_control's joint_trajectory_controller, fed through its topic with short trajectories that end at rest.

Every message replaces the one before: two points ahead on the present motion, so that a late successor finds the arm
still moving, and one where it would come to rest. A stream that breaks off therefore ends in a stop that the
controller performs alone. The controller needs `interpolate_from_desired_state: true` and all joints.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Duration
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from defi_models.contract import NS_PER_S, FloatArray, JointLimits
from defi_ros.bridge import qos
from defi_ros.bridge.convert import float_array, to_stamp
from defi_ros.drivers.interface import Speaker

DEFAULT_TOPIC = "joint_trajectory_controller/joint_trajectory"
# Between two messages. A replaced trajectory costs the controller one of its own periods of standing still (it sets out
# from its last set point), so more messages are not smoother; fewer extrapolate further.
PERIOD_S = 0.02


class JointTrajectoryDriver:
    """Publishes trajectory_msgs/JointTrajectory, stamped with the time of the set point."""

    def __init__(
        self, node: Speaker, joint_names: Sequence[str], limits: JointLimits, horizon_s: float, topic: str = ""
    ) -> None:
        """Makes the publisher; `horizon_s` is how long the stop at the end of each message takes [s]."""
        self._publisher = node.say(topic or DEFAULT_TOPIC, JointTrajectory, qos.COMMANDS)
        self._names = list(joint_names)
        self._limits = limits
        self._horizon_s = horizon_s
        self._last_sent_ns: int | None = None
        self._was_moving = True

    @property
    def topic(self) -> str:
        """See `ArmDriver.topic`."""
        return self._publisher.topic_name

    def send(self, positions: FloatArray, velocities: FloatArray, time_ns: int) -> None:
        """See `ArmDriver.send`; sends at most every 20 ms, but always the first set point at rest."""
        moving = bool(np.any(velocities))
        due = self._last_sent_ns is None or time_ns - self._last_sent_ns >= PERIOD_S * NS_PER_S * 0.9
        if not due and moving == self._was_moving:
            return
        self._last_sent_ns, self._was_moving = time_ns, moving
        self._publisher.publish(self._trajectory(positions, velocities, time_ns, moving))

    def _trajectory(self, positions: FloatArray, velocities: FloatArray, time_ns: int, moving: bool) -> JointTrajectory:
        message = JointTrajectory(joint_names=self._names)
        message.header.stamp = to_stamp(time_ns)
        rest = np.zeros_like(velocities)
        if not moving:
            message.points = [self._point(positions, rest, 2 * PERIOD_S)]
            return message
        first, second = positions + velocities * PERIOD_S, positions + velocities * 2 * PERIOD_S
        stop = second + velocities * self._horizon_s / 2  # braking evenly from this velocity to zero
        message.points = [
            self._point(first, velocities, PERIOD_S),
            self._point(second, velocities, 2 * PERIOD_S),
            self._point(stop, rest, 2 * PERIOD_S + self._horizon_s),
        ]
        return message

    def _point(self, positions: FloatArray, velocities: FloatArray, after_s: float) -> JointTrajectoryPoint:
        point = JointTrajectoryPoint()
        point.positions = float_array(np.clip(positions, self._limits.lower, self._limits.upper))
        point.velocities = float_array(velocities)
        seconds, nanoseconds = divmod(round(after_s * NS_PER_S), NS_PER_S)
        point.time_from_start = Duration(sec=seconds, nanosec=nanoseconds)
        return point
