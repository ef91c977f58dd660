"""ros2_control's joint_trajectory_controller, fed through its topic with trajectories that end at rest.

Every message replaces the one before at once, and a stream that breaks off ends in a stop that the controller performs
alone. The controller needs `interpolate_from_desired_state: true` and all joints.

| sending   | each message                                                         | lag           |
|-----------|----------------------------------------------------------------------|---------------|
| streaming | two points ahead on the present motion, then a stop; every 20 ms     | none          |
| batches   | the set points of the last `batch_s`, then a stop; every `batch_s` / 2 | `batch_s`   |

Batches are for a network or a robot that is better served with few, long trajectories. What they run late is made up
for by `control.lookahead_s`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Duration
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from defi_models.contract import NS_PER_S, FloatArray, JointLimits
from defi_ros.bridge import qos
from defi_ros.bridge.convert import float_array, to_stamp
from defi_ros.control.command import Alone
from defi_ros.drivers.interface import Speaker, TopicDriver

DEFAULT_TOPIC = "joint_trajectory_controller/joint_trajectory"
# Between two messages. A replaced trajectory costs the controller one of its own periods of standing still (it sets out
# from its last set point), so more messages are not smoother; fewer extrapolate further. Also the spacing in a batch.
PERIOD_S = 0.02
EARLY_S = 0.002  # a tick that comes this much early counts as on time


class JointTrajectoryDriver(TopicDriver):
    """Publishes trajectory_msgs/JointTrajectory, stamped with the time of the set point."""

    def __init__(
        self, node: Speaker, joint_names: Sequence[str], limits: JointLimits, horizon_s: float, topic: str = ""
    ) -> None:
        """Makes the publisher; `horizon_s` is the least that the stop at the end of each message takes [s]."""
        self._publisher = node.say(topic or DEFAULT_TOPIC, JointTrajectory, qos.COMMANDS)
        super().__init__(self._publisher)
        self._names = list(joint_names)
        self._limits = limits
        self._horizon_s = horizon_s
        self._last_sent_ns: int | None = None
        self._was_moving = True

    def send(self, positions: FloatArray, velocities: FloatArray, measured: FloatArray | None, time_ns: int) -> None:
        """See `ArmDriver.send`; sends at most every 20 ms, but always the first set point at rest."""
        del measured
        moving = bool(np.any(velocities))
        if not self._is_due(time_ns, PERIOD_S) and moving == self._was_moving:
            return
        self._last_sent_ns, self._was_moving = time_ns, moving
        rest = np.zeros_like(velocities)
        if not moving:
            self._say([self._point(positions, rest, 2 * PERIOD_S)], time_ns)
            return
        first, second = positions + velocities * PERIOD_S, positions + velocities * 2 * PERIOD_S
        points = [self._point(first, velocities, PERIOD_S), self._point(second, velocities, 2 * PERIOD_S)]
        self._say([*points, self._stop_from(second, velocities, 2 * PERIOD_S)], time_ns)

    def alone(self, time_ns: int) -> Alone:
        """See `ArmDriver.alone`: it goes on evenly for two periods, then brakes as it was told to."""
        return Alone.GOES_ON if self._was_sent_within(2 * PERIOD_S, time_ns) else Alone.STOPS

    def _was_sent_within(self, seconds: float, time_ns: int) -> bool:
        return self._last_sent_ns is not None and 0 <= time_ns - self._last_sent_ns <= seconds * NS_PER_S

    def _is_due(self, time_ns: int, period_s: float) -> bool:
        if self._last_sent_ns is None:
            return True
        return not 0 <= time_ns - self._last_sent_ns < (period_s - EARLY_S) * NS_PER_S

    def _stop_from(self, positions: FloatArray, velocities: FloatArray, after_s: float) -> JointTrajectoryPoint:
        """Where the arm rests when it brakes evenly from this motion, which it leaves `after_s` from the start.

        It takes `horizon_s`, or as long as the acceleration limits ask for.
        """
        takes_s = max(self._horizon_s, float((np.abs(velocities) / self._limits.acceleration).max()))
        return self._point(positions + velocities * takes_s / 2, np.zeros_like(velocities), after_s + takes_s)

    def _point(self, positions: FloatArray, velocities: FloatArray, after_s: float) -> JointTrajectoryPoint:
        point = JointTrajectoryPoint()
        point.positions = float_array(np.clip(positions, self._limits.lower, self._limits.upper))
        point.velocities = float_array(velocities)
        seconds, nanoseconds = divmod(round(after_s * NS_PER_S), NS_PER_S)
        point.time_from_start = Duration(sec=seconds, nanosec=nanoseconds)
        return point

    def _say(self, points: list[JointTrajectoryPoint], start_ns: int) -> None:
        message = JointTrajectory(joint_names=self._names, points=points)
        message.header.stamp = to_stamp(start_ns)
        self._publisher.publish(message)


class BatchedTrajectoryDriver(JointTrajectoryDriver):
    """Publishes the set points of the last `batch_s` as one trajectory that runs `batch_s` later."""

    def __init__(
        self,
        node: Speaker,
        joint_names: Sequence[str],
        limits: JointLimits,
        horizon_s: float,
        batch_s: float,
        topic: str = "",
    ) -> None:
        """As `JointTrajectoryDriver`; `batch_s` is the time that a message covers [s]."""
        super().__init__(node, joint_names, limits, horizon_s, topic)
        self._batch_s = batch_s
        self._recent: deque[tuple[int, FloatArray, FloatArray]] = deque()  # time, positions, velocities

    def send(self, positions: FloatArray, velocities: FloatArray, measured: FloatArray | None, time_ns: int) -> None:
        """See `ArmDriver.send`; keeps a set point every 20 ms and the first at rest, and sends twice a batch."""
        del measured
        moving = bool(np.any(velocities))
        comes_to_rest = self._was_moving and not moving
        if self._recent and time_ns < self._recent[-1][0]:  # the clock was set back
            self._recent.clear()
        spaced = not self._recent or time_ns - self._recent[-1][0] >= (PERIOD_S - EARLY_S) * NS_PER_S
        if spaced or comes_to_rest:
            self._recent.append((time_ns, positions.copy(), velocities.copy()))
        self._was_moving = moving
        if self._is_due(time_ns, self._batch_s / 2) or comes_to_rest:
            self._last_sent_ns = time_ns
            self._say_batch(time_ns)

    def alone(self, time_ns: int) -> Alone:
        """See `ArmDriver.alone`: what is told `batch_s` ahead can be told later."""
        return Alone.LAGS if self._was_sent_within(self._batch_s - PERIOD_S, time_ns) else Alone.STOPS

    def let_go(self, time_ns: int) -> None:
        """See `ArmDriver.let_go`; what was not sent yet never is."""
        self._recent.clear()

    def stop(self, positions: FloatArray, time_ns: int) -> None:
        """See `ArmDriver.stop`."""
        self._recent.append((time_ns, positions.copy(), 0.0 * positions))
        self._say_batch(time_ns)

    def _say_batch(self, now_ns: int) -> None:
        delay_ns = round(self._batch_s * NS_PER_S)
        soonest_ns = now_ns + round((PERIOD_S - EARLY_S) * NS_PER_S)  # a nearer first point would be hurried to
        while len(self._recent) > 1 and self._recent[0][0] + delay_ns < soonest_ns:
            self._recent.popleft()
        points: list[JointTrajectoryPoint] = []
        for time_ns, positions, velocities in self._recent:
            points.append(self._point(positions, velocities, (time_ns + delay_ns - now_ns) / NS_PER_S))
        last_ns, positions, velocities = self._recent[-1]
        if velocities.any():
            points.append(self._stop_from(positions, velocities, (last_ns + delay_ns - now_ns) / NS_PER_S))
        self._say(points, now_ns)
