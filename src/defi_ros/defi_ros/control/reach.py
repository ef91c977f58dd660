"""The joints for a pose, no faster than joints can go. Knows neither who asks nor when.

Near a singular posture a small step of the tool is a large one of some joints. Left to the limits of each joint, the others
would run ahead and the tool would leave its way; so all of them wait for the slowest, and the tool slows down on its way.
"""

from __future__ import annotations

import math

import numpy as np

from defi_models.contract import FloatArray, RobotSpec
from defi_ros.control.follower import CATCH_UP
from defi_ros.control.kinematics import Kinematics
from defi_ros.sections import Control

ITERATIONS = 8
# Part of a step that must lead to the goal; at the edge of reach one of 2 mm leads 0.1 mm nearer, and the rest aside.
NEARER = 0.5


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
        solution = self._kinematics.inverse(
            pose, reference, self._posture, posture_gain=effort * self._gain, max_iterations=ITERATIONS
        )
        if stays and not solution.reached and not self._comes_nearer(pose, solution.q, reference):
            return reference, solution.reason
        step = solution.q - reference
        excess = np.abs(step) / self._most
        worst = int(np.argmax(excess))
        if excess[worst] <= 1.0:
            return solution.q, solution.reason
        reason = solution.reason or (
            f"slowed down to {1 / excess[worst]:.0%}: {self._names[worst]} would have to turn at "
            f"{abs(step[worst]) * self._rate_hz:.1f} rad/s, limit {self._velocity[worst]:.2f} rad/s"
        )
        return reference + step / excess[worst], reason

    def _comes_nearer(self, pose: FloatArray, joints: FloatArray, reference: FloatArray) -> bool:
        """Whether the way from `reference` to `joints` leads the tool to a pose, and not aside of it for want of reach."""
        was, now = self._kinematics.forward(reference), self._kinematics.forward(joints)
        return _apart(pose, was) - _apart(pose, now) > NEARER * _apart(was, now)


def _apart(first: FloatArray, second: FloatArray) -> float:
    """How far two poses are apart, shape (7,); a metre counts as much as a radian."""
    turned_rad = 2.0 * math.acos(min(abs(float(first[3:] @ second[3:])), 1.0))
    return math.hypot(*(first[:3] - second[:3]).tolist(), turned_rad)
