"""Axes that follow a target that moves, each within its velocity, acceleration and jerk; joints or the tip, all the same."""

from __future__ import annotations

import numpy as np
import ruckig

from defi_models.contract import FloatArray, JointLimits
from defi_ros.control.motion import JointState

# Targets follow their own estimated velocity up to this part of the limit, so that a lag can still be made up for.
CATCH_UP = 0.95


class Follower:
    """Where a target is going, from its last three places, and the time-optimal way to catch up with it."""

    def __init__(self, limits: JointLimits, period_s: float) -> None:
        """For targets that come every `period_s`."""
        self._limits, self._period_s = limits, period_s
        axes = len(limits.lower)
        self._otg, self._trajectory = ruckig.Ruckig(axes), ruckig.Trajectory(axes)
        self.forget(np.zeros(axes), np.zeros(axes))

    @property
    def last(self) -> FloatArray:
        """The target before, shape (axes,)."""
        return self._last

    def forget(self, place: FloatArray, velocity: FloatArray) -> None:
        """Takes the targets until now for ones that went through `place` at `velocity`, each of shape (axes,)."""
        self._last, self._before = place, place - self._period_s * velocity

    def note(self, target: FloatArray) -> None:
        """Notes the target of this period, shape (axes,)."""
        self._last, self._before = target, self._last

    def estimated(self, target: FloatArray) -> JointState:
        """A target with its velocity and acceleration, from the last three; a jump counts as standing still."""
        t, limits = self._period_s, self._limits
        last, before = self._last, self._before
        velocity = (3 * target - 4 * last + before) / (2 * t)
        acceleration = (target - 2 * last + before) / (t * t)
        jumped = (np.abs(target - last) > 1.5 * t * limits.velocity) | (np.abs(velocity) > 1.5 * limits.velocity)
        top = CATCH_UP * limits.velocity
        velocity = np.where(jumped, 0.0, np.minimum(np.maximum(velocity, -top), top))
        # An acceleration that could not be taken back before the velocity limit is no state to arrive in.
        most = np.minimum(limits.acceleration, np.sqrt(2 * limits.jerk * (limits.velocity - np.abs(velocity))))
        acceleration = np.minimum(np.maximum(acceleration, -0.99 * most), 0.99 * most)
        return JointState(target, velocity, np.where(jumped, 0.0, acceleration))

    def catching_up(
        self, start: JointState, wanted: JointState, velocity: FloatArray | None = None
    ) -> JointState | None:
        """One period of the time-optimal way to catch up with a target that goes on at its velocity; None if none is found.

        Seen from the target, so that an axis never backs off to take a run-up for the target's velocity. No axis is
        faster than `velocity`, shape (axes,), or than its limit.
        """
        limits, t = self._limits, self._period_s
        velocity = limits.velocity if velocity is None else velocity
        problem = ruckig.InputParameter(len(start.p))
        problem.synchronization = ruckig.Synchronization.No
        problem.current_position = start.p - wanted.p + wanted.v * t
        problem.current_velocity = start.v - wanted.v
        problem.current_acceleration = start.a
        problem.target_acceleration = wanted.a
        problem.max_velocity = velocity - wanted.v
        problem.min_velocity = -velocity - wanted.v
        problem.max_acceleration = limits.acceleration
        problem.max_jerk = limits.jerk
        try:
            result = self._otg.calculate(problem, self._trajectory)
        except ruckig.RuckigError:
            return None
        if result not in (ruckig.Result.Working, ruckig.Result.Finished):
            return None
        p, v, a = (np.array(part) for part in self._trajectory.at_time(t)[:3])
        return JointState(p + wanted.p, v + wanted.v, a)
