"""The joints for a pose, no faster than joints can go. Knows neither who asks nor when.

Near a singular posture a small step of the tool is a large one of some joints. Left to the limits of each joint, the others
would run ahead and the tool would leave its way; so all of them wait for the slowest, and the tool slows down on its way.
"""

from __future__ import annotations

import math

import numpy as np
import pinocchio as pin

from defi_models.contract import FloatArray, RobotSpec
from defi_ros.control.follower import CATCH_UP
from defi_ros.control.kinematics import NO_TURN_RAD, POSITION_TOLERANCE_M, Kinematics
from defi_ros.sections import Control

ITERATIONS = 8
# Part of a step that must lead to the goal; at the edge of reach one of 2 mm leads 0.1 mm nearer, and the rest aside.
NEARER = 0.5
# Part of a joint's speed that is left for turning where all of it is needed to go to a place.
LEAST_ROOM = 0.1
# An arm with fewer than six joints that is asked for a place no further away than this is asked to turn where it is.
SAME_PLACE_M = 1e-9


class Reach:
    """Steps of one period. Called by the thread of the arm core."""

    def __init__(self, kinematics: Kinematics, spec: RobotSpec, control: Control) -> None:
        """For one arm at the rate of its commands."""
        self._kinematics, self._posture, self._names = kinematics, spec.home, spec.joint_names
        self._most = CATCH_UP * spec.limits.velocity / control.rate_hz  # what a command can follow within one period
        self._velocity = spec.limits.velocity
        self._rate_hz = control.rate_hz
        self._gain = 1.0 - math.exp(-control.posture_gain_hz / control.rate_hz)

    def step(
        self, pose: FloatArray, reference: FloatArray, effort: float = 1.0, *, stays: bool = False
    ) -> tuple[FloatArray, str]:
        """The joints one period further towards a pose, and why they fall short of it; "" when they do not.

        Args:
            pose: Wanted pose of the tool centre point, shape (7,).
            reference: Where the joints should be now, shape (joints,) [rad].
            effort: Part of the pull to the posture of the robot file that acts, 0..1.
            stays: Where a pose is out of reach, whether the joints stay rather than lead to the nearest that is not.
        """
        wish, turn_reason = pose, ""
        if self._kinematics.place_first:
            pose, turn_reason = self._turned_as_it_can(pose, reference)
        solution = self._kinematics.inverse(
            pose, reference, self._posture, posture_gain=effort * self._gain, max_iterations=ITERATIONS
        )
        reason = solution.reason
        if (
            self._kinematics.place_first
            and math.dist(self._kinematics.tip(solution.q), pose[:3]) <= POSITION_TOLERANCE_M
        ):
            reason = turn_reason
        if stays and reason and not self._comes_nearer(wish, solution.q, reference):
            return reference, reason
        step = solution.q - reference
        excess = np.abs(step) / self._most
        worst = int(np.argmax(excess))
        if excess[worst] <= 1.0:
            return solution.q, reason
        return reference + step / excess[worst], reason or self._why_slow(step, worst, float(excess[worst]))

    def _turned_as_it_can(self, pose: FloatArray, reference: FloatArray) -> tuple[FloatArray, str]:
        """A pose turned from that of `reference` as far as the joints can within a period besides going to its place.

        So that the tip stays on its way whatever is asked of the turn, and the way is not longer for it.
        """
        was = self._kinematics.forward(reference)
        if float(np.linalg.norm(_turn(was, pose))) <= NO_TURN_RAD:
            return pose, ""
        spare = self._kinematics.spare_turn(pose, reference)
        going = np.abs(spare.keeping)
        room = np.maximum(self._most * max(1.0, float((going / self._most).max())) - going, LEAST_ROOM * self._most)
        extra, reason = spare.exact, spare.reason
        if (np.abs(extra) > room).any():
            excess = np.abs(extra) / self._most
            worst = int(np.argmax(excess))
            reason = reason or self._why_slow(extra, worst, max(float(excess[worst]), 1.0))
            extra = spare.careful * min(1.0, float((room / np.maximum(np.abs(spare.careful), 1e-12)).min()))
        turned = pin.Quaternion(pin.exp3(spare.to_turn @ extra) @ _rotation(was))
        return np.concatenate([pose[:3], turned.coeffs()]), reason

    def _why_slow(self, step: FloatArray, worst: int, excess: float) -> str:
        return (
            f"slowed down to {1 / excess:.0%}: {self._names[worst]} would have to turn at "
            f"{abs(step[worst]) * self._rate_hz:.1f} rad/s, limit {self._velocity[worst]:.2f} rad/s"
        )

    def _comes_nearer(self, pose: FloatArray, joints: FloatArray, reference: FloatArray) -> bool:
        """Whether the way from `reference` to `joints` leads the tool to a pose, and not aside of it for want of reach."""
        was, now = self._kinematics.forward(reference), self._kinematics.forward(joints)
        if self._kinematics.place_first:
            return _leads_place_first(pose, was, now)
        return _apart(pose, was) - _apart(pose, now) > NEARER * _apart(was, now)


def _apart(first: FloatArray, second: FloatArray) -> float:
    """How far two poses are apart, shape (7,); a metre counts as much as a radian."""
    turned_rad = 2.0 * math.acos(min(abs(float(first[3:] @ second[3:])), 1.0))
    return math.hypot(*(first[:3] - second[:3]).tolist(), turned_rad)


def _leads_place_first(pose: FloatArray, was: FloatArray, now: FloatArray) -> bool:
    """Whether the way between two poses leads to a third, by its place and, where that is kept, by its turn; shape (7,)."""
    far = math.dist(pose[:3], was[:3])
    if far > SAME_PLACE_M:
        return far - math.dist(pose[:3], now[:3]) > NEARER * math.dist(was[:3], now[:3])
    asked, turned = _turn(was, pose), _turn(was, now)
    size = float(np.linalg.norm(turned))
    return size > NO_TURN_RAD and float(turned @ asked) > NEARER * size * float(np.linalg.norm(asked))


def _turn(first: FloatArray, second: FloatArray) -> FloatArray:
    """The rotation vector from one pose to another, in axes of the base frame, shape (3,) [rad]."""
    turned: FloatArray = pin.log3(_rotation(second) @ _rotation(first).T)
    return turned


def _rotation(pose: FloatArray) -> FloatArray:
    matrix: FloatArray = pin.Quaternion(pose[3:] / np.linalg.norm(pose[3:])).toRotationMatrix()
    return matrix
