"""From joints to those for a pose, step by step, by damped least squares; knows an arm by its Jacobian and limits alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from defi_models.contract import FloatArray
from defi_ros.control.pose import rotation

POSITION_TOLERANCE_M = 1e-5
ANGLE_TOLERANCE_RAD = 1e-4
# One iteration moves at most this far, so that the linearisation holds (tried on the Panda: 0.2 m still converges
# from any seed of the workspace, 0.5 m does not).
MAX_STEP_M = 0.2
MAX_STEP_RAD = 0.5
# Damping grows with the error (Sugihara 2011, "Solvability-unconcerned inverse kinematics"); the floor keeps the
# solution bounded in a singular posture.
DAMPING_FLOOR = 1e-7
DAMPING_GAIN = 1e-2
STALLED_ITERATIONS = 6

# From joints, a place and a rotation to the Jacobian, shape (6, joints), and the twist that leads there, shape (6,).
Linearised = Callable[[FloatArray, FloatArray, FloatArray], tuple[FloatArray, FloatArray]]


@dataclass(frozen=True, slots=True)
class Solution:
    """Joints for a pose.

    Attributes:
        q: Joint positions, shape (joints,) [rad]; the best found, always within the joint limits.
        reached: Whether the pose is reached within 0.01 mm and 0.1 mrad. With fewer than six joints: whether the place
            is, and the turn from the seed to the pose, if any; a pose turned as the seed is asks for none.
        reason: Why not; empty when reached.
    """

    q: FloatArray
    reached: bool
    reason: str


class Descent:
    """To a pose as a whole: for arms with six joints or more. Not thread-safe."""

    def __init__(
        self, linearised: Linearised, joint_names: Sequence[str], lower: FloatArray, upper: FloatArray
    ) -> None:
        """For joints within limits, each of shape (joints,) [rad]."""
        self._linearised, self._names = linearised, joint_names
        self._lower, self._upper = lower, upper

    def descend(
        self, target: FloatArray, q: FloatArray, posture: npt.ArrayLike | None, posture_gain: float, max_iterations: int
    ) -> Solution:
        """The solution for a pose, shape (7,), from joints q within the limits; see `Kinematics.inverse`."""
        position, turned = target[:3], rotation(target)
        if posture is not None:
            jacobian, error = self._linearised(q, position, turned)
            q = self._step(jacobian, error, q, posture_gain * (np.asarray(posture) - q))
        best_q, best_error, best_norm, stalled = q, np.zeros(6), np.inf, 0
        for iteration in range(max_iterations):
            jacobian, error = self._linearised(q, position, turned)
            norm = float(error @ error)
            stalled = 0 if norm < 0.99 * best_norm else stalled + 1
            if norm < best_norm:
                best_q, best_error, best_norm = q, error, norm
            if _within(error) or stalled >= STALLED_ITERATIONS or iteration == max_iterations - 1:
                break
            q = self._step(jacobian, error, q)
        if _within(best_error):
            return Solution(best_q, True, "")
        return Solution(best_q, False, self._why(target, best_q, best_error))

    def _step(
        self, jacobian: FloatArray, error: FloatArray, q: FloatArray, pull: FloatArray | None = None
    ) -> FloatArray:
        """One damped step, shape (joints,); joints that would leave their range are frozen and the rest solve again."""
        wanted = clipped(error)
        damping = damping_of(wanted)
        free = np.ones(len(q), dtype=bool)
        following = q
        for _ in range(3):
            columns = jacobian * free
            own = np.zeros(len(q)) if pull is None else pull * free
            square = columns @ columns.T
            square.flat[::7] += damping
            step = own + columns.T @ np.linalg.solve(square, wanted - columns @ own)
            following = q + step
            outside = free & ((following < self._lower) | (following > self._upper))
            if not outside.any():
                break
            free &= ~outside
        return self._in_range(following)

    def _in_range(self, q: FloatArray) -> FloatArray:
        return np.minimum(np.maximum(q, self._lower), self._upper)

    def _why(self, target: FloatArray, q: FloatArray, error: FloatArray) -> str:
        where = ", ".join(f"{value:.3f}" for value in target[:3])
        return (
            f"pose at ({where}) m not reached: {np.linalg.norm(error[:3]) * 1e3:.1f} mm "
            f"and {np.linalg.norm(error[3:]):.3f} rad away ({self._at_limit(q) or 'out of reach or singular'})"
        )

    def _at_limit(self, q: FloatArray, frozen: npt.NDArray[np.bool_] | bool = False) -> str:
        """Names the joints at a limit, and those that a step froze because it would have gone beyond."""
        stuck = (q <= self._lower + 1e-6) | (q >= self._upper - 1e-6) | frozen
        names = [name for name, at in zip(self._names, stuck, strict=True) if at]
        return f"{', '.join(names)} at the limit" if names else ""


def clipped(error: FloatArray) -> FloatArray:
    """A twist no longer than one iteration may be, shape (6,)."""
    linear, angular = float(np.sqrt(error[:3] @ error[:3])), float(np.sqrt(error[3:] @ error[3:]))
    clipped = error.copy()
    if linear > MAX_STEP_M:
        clipped[:3] *= MAX_STEP_M / linear
    if angular > MAX_STEP_RAD:
        clipped[3:] *= MAX_STEP_RAD / angular
    return clipped


def damping_of(wanted: FloatArray) -> float:
    """The damping of a step that is wanted."""
    return DAMPING_FLOOR + DAMPING_GAIN * float(wanted @ wanted)


def _within(error: FloatArray) -> bool:
    return bool(error[:3] @ error[:3] <= POSITION_TOLERANCE_M**2 and error[3:] @ error[3:] <= ANGLE_TOLERANCE_RAD**2)
