"""To a place first, and of a turn what joints can do without moving the tip: for arms with fewer than six."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from defi_models.contract import FloatArray
from defi_ros.control.descent import (
    ANGLE_TOLERANCE_RAD,
    DAMPING_FLOOR,
    MAX_STEP_RAD,
    POSITION_TOLERANCE_M,
    STALLED_ITERATIONS,
    Descent,
    Solution,
    clipped,
    damping_of,
)
from defi_ros.control.pose import rotation

# Turning comes to an end where a posture cannot be bent further with the tip in its place. There the damping of a turn
# must grow with what is left of it, not with its square, or the joints jump to and fro (tried on the SO-101: by 0.1 rad).
TURN_DAMPING_GAIN = 1.0
# What could be turned at all is told with this one.
TURN_DAMPING_FLOOR = 1e-5
# A turn smaller than this is rounding and asks for nothing; of a larger one, less than this part may be left undone.
NO_TURN_RAD = 1e-9
LEFT_UNDONE = 0.01
# So near a place, how it is turned decides which posture is the better one; the last iterations are the place's alone.
NEARLY_THERE_M = 1e-3
FINISHING_ITERATIONS = 4


@dataclass(frozen=True, slots=True)
class SpareTurn:
    """What joints can do of a turn on the way to a place.

    Attributes:
        keeping: Joint motion to the place, turned as before as far as that can be, shape (joints,) [rad].
        turning: Joint motion that turns besides and leaves the tip in its place, shape (joints,) [rad].
        turn: The turn that comes of it, shape (3,) [rad].
        reason: Why the turn cannot be had in full; empty when it can.
    """

    keeping: FloatArray
    turning: FloatArray
    turn: FloatArray
    reason: str


class PlaceFirst(Descent):
    """To the place of a pose, and to its turn with what that leaves free (Siciliano and Slotine 1991). Not thread-safe."""

    def descend(
        self, target: FloatArray, q: FloatArray, posture: npt.ArrayLike | None, posture_gain: float, max_iterations: int
    ) -> Solution:
        """The solution for a pose, shape (7,), from joints q within the limits; see `Kinematics.inverse`."""
        position, turned = target[:3], rotation(target)
        pull = np.zeros(len(q)) if posture is None else posture_gain * (np.asarray(posture) - q)
        jacobian, error = self._linearised(q, position, turned)
        asked, best_q, best_rank, stalled = error[3:], q, (np.inf, np.inf), 0
        for iteration in range(max_iterations):
            following, possible, left = self._followed(jacobian, error, q, pull)
            far, turn = float(np.linalg.norm(error[:3])), float(np.linalg.norm(error[3:]))
            if far <= POSITION_TOLERANCE_M and possible <= ANGLE_TOLERANCE_RAD and not pull.any():
                return self._judged(following, asked, left)  # the step is made: small turns add up
            rank = (max(far - NEARLY_THERE_M, 0.0), turn)
            stalled = 0 if rank < (0.99 * best_rank[0], 0.99 * best_rank[1]) else stalled + 1
            if rank < best_rank:
                best_q, best_rank = q, rank
            if stalled >= STALLED_ITERATIONS or iteration == max_iterations - 1:
                break
            q, pull = following, np.zeros(len(q))
            jacobian, error = self._linearised(q, position, turned)
        for _ in range(FINISHING_ITERATIONS):
            jacobian, error = self._linearised(best_q, position, turned)
            if float(np.linalg.norm(error[:3])) <= POSITION_TOLERANCE_M:
                return self._judged(best_q, asked, error[3:])
            best_q = self._in_range(best_q + self._to_place(jacobian, error, best_q)[0])
        return Solution(best_q, False, self._why(target, best_q, error))

    def spare_turn(self, pose: FloatArray, q: FloatArray) -> SpareTurn:
        """What can be had of the turn from joints q, shape (joints,), to a pose, shape (7,), on the way to its place."""
        q = np.clip(q, self._lower, self._upper)
        jacobian, error = self._linearised(q, pose[:3], rotation(pose))
        asked, to_turn = error[3:], jacobian[3:]
        step, free = self._to_place(jacobian, error, q)
        undone = -to_turn @ step
        keeping = step + self._to_turn(jacobian, undone, _turn_damping(undone), q + step, free)[0]
        turning, _ = self._to_turn(jacobian, asked, _turn_damping(asked), q, free)
        possible, free = self._to_turn(jacobian, asked, TURN_DAMPING_FLOOR, q, free)
        reason = self._why_not_turned(q, asked, asked - to_turn @ possible, free == 0)
        return SpareTurn(keeping, turning, to_turn @ turning, reason)

    def _judged(self, q: FloatArray, asked: FloatArray, left: FloatArray) -> Solution:
        """The solution where the place is reached, by what was asked of the turn and what is left of it [rad]."""
        reason = self._why_not_turned(q, asked, left)
        return Solution(q, not reason, reason)

    def _why_not_turned(
        self, q: FloatArray, asked: FloatArray, left: FloatArray, frozen: npt.NDArray[np.bool_] | bool = False
    ) -> str:
        wish = float(np.linalg.norm(asked))
        if wish <= NO_TURN_RAD or float(np.linalg.norm(left)) <= min(ANGLE_TOLERANCE_RAD, LEFT_UNDONE * wish):
            return ""
        about = ", ".join(f"{value + 0.0:.2f}" for value in np.round(asked / wish, 2))
        part = max(float((asked - left) @ asked) / wish**2, 0.0)
        cause = self._at_limit(q, frozen) or f"it has {len(q)} joints"
        return f"turn about ({about}) not reached: the arm can do {part:.0%} of it where its tip is ({cause})"

    def _followed(
        self, jacobian: FloatArray, error: FloatArray, q: FloatArray, pull: FloatArray
    ) -> tuple[FloatArray, float, FloatArray]:
        """One damped step: the joints, shape (joints,), how far they turned besides [rad], and what is left, shape (3,)."""
        step, free = self._to_place(jacobian, error, q, pull)
        left = error[3:] - jacobian[3:] @ step
        extra, _ = self._to_turn(jacobian, left, _turn_damping(left), q + step, free)
        extra *= MAX_STEP_RAD / max(float(np.linalg.norm(jacobian[3:] @ extra)), MAX_STEP_RAD)
        turned = jacobian[3:] @ extra
        return self._in_range(q + step + extra), float(np.linalg.norm(turned)), left - turned

    def _to_place(
        self, jacobian: FloatArray, error: FloatArray, q: FloatArray, pull: FloatArray | float = 0.0
    ) -> tuple[FloatArray, FloatArray]:
        """The damped step to a place, and which joints are free to make it, each of shape (joints,)."""
        wanted = clipped(error)[:3]
        damping = damping_of(wanted)

        def place(free: FloatArray) -> FloatArray:
            columns, own = jacobian[:3] * free, pull * free
            return own + columns.T @ np.linalg.solve(_damped(columns, damping), wanted - columns @ own)

        return self._frozen(q, place, np.ones(len(q)))

    def _to_turn(
        self, jacobian: FloatArray, wanted: FloatArray, damping: float, q: FloatArray, free: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """The damped step that turns as far as it can without moving the tip, and which joints are free to make it."""

        def turn(free: FloatArray) -> FloatArray:
            to_place, to_turn = jacobian[:3] * free, jacobian[3:] * free
            lost = np.linalg.solve(_damped(to_place, DAMPING_FLOOR), to_place)
            spare = to_turn - (to_turn @ to_place.T) @ lost
            return spare.T @ np.linalg.solve(_damped(spare, damping), wanted)

        return self._frozen(q, turn, free)

    def _frozen(
        self, q: FloatArray, solve: Callable[[FloatArray], FloatArray], free: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """A step from q by the joints that are free (1, else 0); those that would leave their range are frozen for it."""
        while free.any():
            step = solve(free)
            following = q + step
            outside = (free > 0) & ((following < self._lower) | (following > self._upper))
            if not outside.any():
                return step, free
            free = free * ~outside
        return np.zeros(len(q)), free


def _damped(columns: FloatArray, damping: float) -> FloatArray:
    square: FloatArray = columns @ columns.T
    square.flat[:: len(square) + 1] += damping
    return square


def _turn_damping(turn: FloatArray) -> float:
    return DAMPING_FLOOR + TURN_DAMPING_GAIN * min(float(np.linalg.norm(turn)), MAX_STEP_RAD)
