"""Poses that the tool centre point can go through: within its velocity, acceleration and jerk, in place and in turning.

What is asked of the tip as poses or as a twist passes here before it becomes joints. Targets that keep the limits go
through unchanged. A stop does not pass: it is as short as the joints can make it.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pinocchio as pin
import ruckig

from defi_models.contract import FloatArray, JointLimits, Workspace
from defi_ros.control.follower import CATCH_UP, Follower
from defi_ros.control.motion import JointState, Motion
from defi_ros.control.pose import rotation
from defi_ros.control.safety import TARGET_MARGIN

# Three axes that each keep a limit over the root of three keep it together, whatever the direction.
EACH = 1.0 / math.sqrt(3.0)
# Places and turns are counted from where a motion began; no arm gets so far.
FAR = 1e3
# What stays below this part of a limit goes through without more ado.
CLEARLY = 0.95
# An axis that is not in the direction of the target may have this part of the speed of the one that is most.
LEAST_SHARE = 0.05
# A pose this near its target counts as the target itself: metres and radians.
REACHED = 1e-5


def _limits(workspace: Workspace) -> JointLimits:
    """Of six axes, three of place [m] and three of turning [rad], for catching up with a target that broke a limit.

    Accelerations and jerks keep their limit together. Speeds do so axis by axis; `_speeds` shares them out on the way.
    """

    def axes(place: float, turning: float) -> FloatArray:
        return np.repeat([place, turning], 3)

    return JointLimits(
        lower=axes(-FAR, -FAR),
        upper=axes(FAR, FAR),
        velocity=axes(workspace.velocity_m_s, workspace.velocity_rad_s),
        acceleration=EACH * axes(workspace.acceleration_m_s2, workspace.acceleration_rad_s2),
        jerk=EACH * axes(workspace.jerk_m_s3, workspace.jerk_rad_s3),
    )


class TipFollower:
    """Follows poses, one call a command period. Called by the thread of the arm core.

    A turn is counted as the sum of its rotation vectors from period to period, in axes of the base frame.
    """

    def __init__(self, workspace: Workspace, period_s: float) -> None:
        """For poses that come every `period_s`."""
        limits = _limits(workspace)
        self._workspace, self._period_s = workspace, period_s
        self._motion, self._follower = Motion(limits, period_s), Follower(limits, period_s)
        t, box = period_s, workspace
        place = (box.velocity_m_s * t, box.acceleration_m_s2 * t**2, box.jerk_m_s3 * t**3)
        turn = (box.velocity_rad_s * t, box.acceleration_rad_s2 * t**2, box.jerk_rad_s3 * t**3)
        # Catching up is no faster than targets may be, or the safety filter would slow it down as abruptly as it can.
        self._top = [(slice(0, 3), TARGET_MARGIN * box.velocity_m_s), (slice(3, 6), box.velocity_rad_s)]
        self._most = [(CLEARLY * most) ** 2 for most in (*place, *turn)]
        self.begin(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]), np.zeros(6))

    def begin(self, pose: FloatArray, twist: FloatArray) -> None:
        """Goes on from a pose, shape (7,), at a twist, shape (6,) [m/s, rad/s] in axes of the base frame."""
        self._pose = pose.copy()
        # The last steps from period to period, and what they differed by; six numbers each.
        self._step, self._bend = (twist * self._period_s).tolist(), [0.0] * 6
        self._behind: JointState | None = None  # where the tip is, while that is not where it should be

    def step(self, pose: FloatArray) -> tuple[FloatArray, str]:
        """The pose one period further on the way to a target pose, both of shape (7,), and why it falls short of it."""
        if self._behind is None:
            step = _step_between(self._pose.tolist(), pose.tolist())
            bend = [now - before for now, before in zip(step, self._step, strict=True)]
            if self._keeps_limits(step, bend):
                self._pose, self._step, self._bend = pose.copy(), step, bend
                return pose, ""
        return self._catch_up(pose)

    def _keeps_limits(self, step: list[float], bend: list[float]) -> bool:
        """Whether the next step is clearly within the limits, so that nothing need be solved."""
        twist = [now - before for now, before in zip(bend, self._bend, strict=True)]
        squares = [x * x + y * y + z * z for six in (step, bend, twist) for x, y, z in (six[:3], six[3:])]
        return all(got <= most for got, most in zip(squares[::2] + squares[1::2], self._most, strict=True))

    def _catch_up(self, pose: FloatArray) -> tuple[FloatArray, str]:
        t, turned = self._period_s, rotation(self._pose)
        start = self._behind
        if start is None:
            step, bend = np.array(self._step), np.array(self._bend)
            start = JointState(np.concatenate([self._pose[:3], np.zeros(3)]), (step + 0.5 * bend) / t, bend / (t * t))
            self._follower.forget(start.p, step / t)
        target = np.concatenate([pose[:3], start.p[3:] + pin.log3(rotation(pose) @ turned.T)])
        wanted = self._follower.estimated(target)
        self._follower.note(target)
        fits = self._motion.reaches(start, wanted) & self._motion.safe(wanted, self._motion.brakes(wanted))
        if fits.all():
            now, self._behind = wanted, None
            self._step, self._bend = (t * (now.v - 0.5 * t * now.a)).tolist(), (t * t * now.a).tolist()
            self._pose = pose.copy()
            return pose, ""
        caught_up = self._follower.catching_up(start, *self._slowed(start, wanted)) or self._motion.along(
            self._motion.brakes(start), start, t
        )
        now = self._behind = wanted.choose(fits, caught_up)
        quaternion = pin.Quaternion(pin.exp3(now.p[3:] - start.p[3:]) @ turned)
        self._pose = np.concatenate([now.p[:3], quaternion.coeffs()])
        late = target - now.p
        if np.abs(late).max() <= REACHED:
            return self._pose, ""
        box = self._workspace
        return self._pose, (
            f"tip: {np.linalg.norm(late[:3]) * 1e3:.1f} mm and {np.linalg.norm(late[3:]):.3f} rad to its target, limits "
            f"{box.acceleration_m_s2:g} m/s^2, {box.jerk_m_s3:g} m/s^3, {box.velocity_rad_s:g} rad/s, "
            f"{box.acceleration_rad_s2:g} rad/s^2, {box.jerk_rad_s3:g} rad/s^3"
        )

    def _slowed(self, start: JointState, wanted: JointState) -> tuple[JointState, FloatArray]:
        """The target, no faster than it can be caught up with, and the speed that each axis may have on the way to it."""
        velocity, most, gap = wanted.v.copy(), np.empty(6), wanted.p - start.p
        for axes, limit in self._top:
            speed = float(np.linalg.norm(velocity[axes]))
            velocity[axes] *= min(1.0, CATCH_UP * limit / speed) if speed > 0.0 else 1.0
            most[axes] = _speeds(velocity[axes], gap[axes], limit)
        return JointState(wanted.p, velocity, wanted.a), most


class TwistRamp:
    """Twists that the tip can go through, one call a command period: what a person's device wants, within acceleration."""

    def __init__(self, workspace: Workspace, period_s: float) -> None:
        """For twists every `period_s`."""
        limits = _limits(workspace)
        self._otg, self._problem = ruckig.Ruckig(6, period_s), ruckig.InputParameter(6)
        self._result = ruckig.OutputParameter(6)
        self._problem.control_interface = ruckig.ControlInterface.Velocity
        self._problem.synchronization = ruckig.Synchronization.Phase  # on a straight way to a new direction
        self._problem.max_acceleration, self._problem.max_jerk = limits.acceleration, limits.jerk
        self.begin()

    @property
    def twist(self) -> FloatArray:
        """The twist now, shape (6,) [m/s, rad/s]."""
        return np.array(self._problem.current_velocity)

    def begin(self) -> None:
        """Goes on from rest."""
        self._problem.current_velocity = self._problem.current_acceleration = np.zeros(6)

    def step(self, twist: FloatArray) -> FloatArray:
        """The twist one period further on the way to the wanted one, each of shape (6,) [m/s, rad/s]."""
        self._problem.target_velocity = twist
        self._otg.update(self._problem, self._result)
        self._result.pass_to_input(self._problem)
        return np.array(self._result.new_velocity)

    def stop(self, axes: npt.NDArray[np.bool_]) -> None:
        """Goes on from rest along the axes in which something is in the way, shape (6,) of bool."""
        self._problem.current_velocity = np.where(axes, 0.0, self._problem.current_velocity)
        self._problem.current_acceleration = np.where(axes, 0.0, self._problem.current_acceleration)


def _speeds(velocity: FloatArray, gap: FloatArray, limit: float) -> FloatArray:
    """What each of three axes may have of a speed: as the target has it, and the rest as its gap to the target has it.

    Together they are `limit`: a box of speeds inside the ball of those that are permitted, which touches it where the
    tip should go. So a target is caught up with on a way that is straight where it can be, at all of the speed.
    """
    along = np.abs(velocity)
    toward = np.maximum(np.abs(gap), LEAST_SHARE * np.abs(gap).max(initial=REACHED))
    toward /= np.linalg.norm(toward)
    over = float(along @ toward)
    return along + (math.sqrt(over * over + limit * limit - float(along @ along)) - over) * toward


def _step_between(first: list[float], second: list[float]) -> list[float]:
    """From one pose to the next: how far [m] and the rotation vector [rad], six numbers; exact for small turns only."""
    ax, ay, az, aw = first[3:]
    bx, by, bz, bw = second[3:]
    side = 2.0 if ax * bx + ay * by + az * bz + aw * bw >= 0.0 else -2.0
    return [
        second[0] - first[0],
        second[1] - first[1],
        second[2] - first[2],
        side * (aw * bx - ax * bw + ay * bz - az * by),
        side * (aw * by - ax * bz - ay * bw + az * bx),
        side * (aw * bz + ax * by - ay * bx - az * bw),
    ]
