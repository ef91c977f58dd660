"""A joint trajectory as controllers understand it, and where it is at a time; it knows no tolerances and no goals."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from defi_models.contract import NS_PER_S, FloatArray


@dataclass(frozen=True, slots=True)
class JointState:
    """Set points or measured values of all joints.

    Attributes:
        positions: Shape (joints,) [rad].
        velocities: Shape (joints,) [rad/s], or None when not given; interpolation then is linear.
        accelerations: Shape (joints,) [rad/s^2], or None when not given.
    """

    positions: FloatArray
    velocities: FloatArray | None = None
    accelerations: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class TrajectoryPoint:
    """A state and when it is due, counted from the start of its trajectory [ns]."""

    time_from_start_ns: int
    state: JointState


@dataclass(frozen=True, slots=True)
class Trajectory:
    """What a trajectory message says.

    Attributes:
        joint_names: Order of the numbers in each point.
        points: The points, in the order of their times.
        start_ns: When it starts [ns]; 0 is "as soon as it is received".
    """

    joint_names: tuple[str, ...]
    points: tuple[TrajectoryPoint, ...]
    start_ns: int = 0

    @property
    def duration_ns(self) -> int:
        """Time of the last point, counted from the start [ns]."""
        return self.points[-1].time_from_start_ns

    def reordered(self, joint_names: Sequence[str]) -> Trajectory:
        """The same trajectory with its numbers in the order of `joint_names`, a permutation of its own names."""
        if self.joint_names == tuple(joint_names):
            return self
        order = [self.joint_names.index(name) for name in joint_names]

        def pick(values: FloatArray | None) -> FloatArray | None:
            return None if values is None else values[order]

        points = tuple(
            TrajectoryPoint(
                point.time_from_start_ns,
                JointState(point.state.positions[order], pick(point.state.velocities), pick(point.state.accelerations)),
            )
            for point in self.points
        )
        return Trajectory(tuple(joint_names), points, self.start_ns)


class RunningTrajectory:
    """A trajectory that has begun: absolute times, and the state it sets out from.

    Attributes:
        start_ns: Time its points count from [ns].
        end_ns: Time of its last point [ns].
    """

    def __init__(self, trajectory: Trajectory, before: JointState, now_ns: int) -> None:
        self.start_ns = trajectory.start_ns or now_ns
        self.end_ns = self.start_ns + trajectory.duration_ns
        self._states = [before, *(point.state for point in trajectory.points)]
        self._times_ns = [now_ns, *(self.start_ns + point.time_from_start_ns for point in trajectory.points)]

    def sample(self, now_ns: int) -> JointState:
        """Where it is at `now_ns`: on the way from the state before to the first point, between two, or at the last."""
        if now_ns >= self.end_ns:
            last = self._states[-1].positions
            return JointState(last, np.zeros_like(last), np.zeros_like(last))
        after = bisect_right(self._times_ns, now_ns, lo=1)
        return interpolate(
            self._times_ns[after - 1], self._states[after - 1], self._times_ns[after], self._states[after], now_ns
        )


class StoppingTrajectory:
    """Every joint brakes evenly to rest, each as fast as it may.

    Attributes:
        start_ns: When it begins [ns].
        end_ns: When the last joint rests [ns].
    """

    def __init__(self, before: JointState, deceleration: FloatArray, now_ns: int) -> None:
        """From the state `before` on, with `deceleration`, shape (joints,) [rad/s^2]."""
        self._before = before.positions
        self._velocity = np.zeros_like(before.positions) if before.velocities is None else before.velocities
        self._deceleration = deceleration
        self._rest_s = np.abs(self._velocity) / deceleration
        self.start_ns = now_ns
        self.end_ns = now_ns + round(float(self._rest_s.max()) * NS_PER_S)

    def sample(self, now_ns: int) -> JointState:
        """Where it is at `now_ns`."""
        t = np.minimum((now_ns - self.start_ns) / NS_PER_S, self._rest_s)
        slowing = -np.sign(self._velocity) * self._deceleration
        positions = self._before + self._velocity * t + 0.5 * slowing * t**2
        moving = t < self._rest_s
        return JointState(
            positions, np.where(moving, self._velocity + slowing * t, 0.0), np.where(moving, slowing, 0.0)
        )


def interpolate(start_ns: int, start: JointState, end_ns: int, end: JointState, now_ns: int) -> JointState:
    """The state at `now_ns` on the lowest polynomial that meets what both ends give.

    Positions alone: linear. Velocities at both ends: cubic. Accelerations at both ends too: quintic.
    """
    duration_s = (end_ns - start_ns) / NS_PER_S
    if duration_s <= 0.0:
        return end
    t = min(max((now_ns - start_ns) / NS_PER_S, 0.0), duration_s)
    if start.velocities is None or end.velocities is None:
        slope = (end.positions - start.positions) / duration_s
        return JointState(start.positions + slope * t, slope, np.zeros_like(slope))
    if start.accelerations is None or end.accelerations is None:
        return _on_cubic(start.positions, start.velocities, end.positions, end.velocities, duration_s, t)
    return _on_quintic(start, end, duration_s, t)


def _on_cubic(
    p0: FloatArray, v0: FloatArray, p1: FloatArray, v1: FloatArray, duration_s: float, t: float
) -> JointState:
    """Hermite cubic from position p0, velocity v0 to p1, v1 in `duration_s`, at `t` seconds."""
    mean = (p1 - p0) / duration_s
    c2 = (3.0 * mean - 2.0 * v0 - v1) / duration_s
    c3 = (v0 + v1 - 2.0 * mean) / duration_s**2
    return JointState(p0 + t * (v0 + t * (c2 + t * c3)), v0 + t * (2.0 * c2 + 3.0 * t * c3), 2.0 * c2 + 6.0 * t * c3)


def _on_quintic(start: JointState, end: JointState, duration_s: float, t: float) -> JointState:
    """Quintic that meets position, velocity and acceleration at both ends, at `t` seconds.

    With normalised time s = t / T the start fixes c0..c2; what is left at the end in position, velocity and
    acceleration (dp, dv, da, all scaled to s) fixes c3..c5.
    """
    assert start.velocities is not None and start.accelerations is not None
    assert end.velocities is not None and end.accelerations is not None
    s = t / duration_s
    c1 = start.velocities * duration_s
    c2 = 0.5 * start.accelerations * duration_s**2
    dp = end.positions - start.positions - c1 - c2
    dv = end.velocities * duration_s - c1 - 2.0 * c2
    da = end.accelerations * duration_s**2 - 2.0 * c2
    c3 = 10.0 * dp - 4.0 * dv + 0.5 * da
    c4 = -15.0 * dp + 7.0 * dv - da
    c5 = 6.0 * dp - 3.0 * dv + 0.5 * da
    positions = start.positions + s * (c1 + s * (c2 + s * (c3 + s * (c4 + s * c5))))
    velocities = (c1 + s * (2.0 * c2 + s * (3.0 * c3 + s * (4.0 * c4 + s * 5.0 * c5)))) / duration_s
    accelerations = (2.0 * c2 + s * (6.0 * c3 + s * (12.0 * c4 + s * 20.0 * c5))) / duration_s**2
    return JointState(positions, velocities, accelerations)
