"""The joints for a pose, no faster than joints can go. Knows neither who asks nor when.

Near a singular posture a small step of the tool is a large one of some joints. Left to the limits of each joint, the others
would run ahead and the tool would leave its way; so all of them wait for the slowest, and the tool slows down on its way.
"""

from __future__ import annotations

import math

import numpy as np
import pinocchio as pin

from defi_models.contract import FloatArray, RobotSpec
from defi_ros.control.descent import POSITION_TOLERANCE_M
from defi_ros.control.follower import CATCH_UP
from defi_ros.control.kinematics import Kinematics
from defi_ros.control.place_first import NO_TURN_RAD, PlaceFirst
from defi_ros.control.pose import apart, rotation, turn_between
from defi_ros.sections import Control

ITERATIONS = 8
# Part of a step that must lead to the goal; at the edge of reach one of 2 mm leads 0.1 mm nearer, and the rest aside.
NEARER = 0.5
# Part of a joint's speed that is left for turning where all of it is needed to go to a place; with none, the tool of an
# SO-101 that goes forward as fast as it can does not turn at all.
LEAST_ROOM = 0.1
# An arm with fewer than six joints that is asked for a place no further away than this is asked to turn where it is.
SAME_PLACE_M = 1e-5


class Reach:
    """Steps of one period. Called by the thread of the arm core."""

    def __init__(self, kinematics: Kinematics, spec: RobotSpec, control: Control) -> None:
        """For one arm at the rate of its commands."""
        self._pace = _Pace(spec, control.rate_hz)
        self._gain = 1.0 - math.exp(-control.posture_gain_hz / control.rate_hz)
        place_first = kinematics.place_first
        self._way = (
            _WholePose(kinematics, spec.home)
            if place_first is None
            else _PlaceThenTurn(kinematics, spec.home, place_first, self._pace)
        )

    def step(
        self, pose: FloatArray, reference: FloatArray, effort: float = 1.0, *, stays: bool = False
    ) -> tuple[FloatArray, str]:
        """The joints one period further towards a pose, and why they fall short of it; "" when they do not.

        Args:
            pose: Wanted pose of the tool centre point, shape (7,).
            reference: Where the joints should be now, shape (joints,) [rad].
            effort: Part of the pull to the posture of the robot file that acts, 0..1.
            stays: Where a pose is out of reach, whether the joints stay rather than lead to the nearest that is not; an
                arm with fewer than six joints does in any case.
        """
        joints, reason = self._way.to(pose, reference, effort * self._gain)
        if (stays or self._way.STAYS) and reason and not self._way.comes_nearer(pose, joints, reference):
            return reference, reason
        step = joints - reference
        excess = float(self._pace.excess(step).max())
        if excess <= 1.0:
            return joints, reason
        return reference + step / excess, reason or self._pace.why_slow(step)


class _Pace:
    """How far joints can go within one period."""

    def __init__(self, spec: RobotSpec, rate_hz: float) -> None:
        self._names, self._velocity, self._rate_hz = spec.joint_names, spec.limits.velocity, rate_hz
        self._most = CATCH_UP * spec.limits.velocity / rate_hz  # what a command can follow

    def excess(self, step: FloatArray) -> FloatArray:
        """A step in parts of what each joint can go, shape (joints,)."""
        parts: FloatArray = np.abs(step) / self._most
        return parts

    def why_slow(self, step: FloatArray) -> str:
        """Why a step takes longer; "" when it does not."""
        excess = self.excess(step)
        worst = int(np.argmax(excess))
        if excess[worst] <= 1.0:
            return ""
        return (
            f"slowed down to {1 / excess[worst]:.0%}: {self._names[worst]} would have to turn at "
            f"{abs(step[worst]) * self._rate_hz:.1f} rad/s, limit {self._velocity[worst]:.2f} rad/s"
        )


class _WholePose:
    """How an arm with six joints or more takes a pose."""

    STAYS = False

    def __init__(self, kinematics: Kinematics, posture: FloatArray) -> None:
        self._kinematics, self._posture = kinematics, posture

    def to(self, pose: FloatArray, reference: FloatArray, posture_gain: float) -> tuple[FloatArray, str]:
        """The joints for a pose, and why they fall short of it, whatever their speed."""
        solution = self._kinematics.inverse(
            pose, reference, self._posture, posture_gain=posture_gain, max_iterations=ITERATIONS
        )
        return solution.q, solution.reason

    def comes_nearer(self, pose: FloatArray, joints: FloatArray, reference: FloatArray) -> bool:
        """Whether the way from `reference` to `joints` leads the tool to a pose, and not aside of it for want of reach."""
        was, now = self._kinematics.forward(reference), self._kinematics.forward(joints)
        return apart(pose, was) - apart(pose, now) > NEARER * apart(was, now)


class _PlaceThenTurn(_WholePose):
    """How an arm with fewer than six joints takes a pose: its tip stays on its way whatever is asked of the turn."""

    STAYS = (
        True  # the nearest place that it can reach may lie among several postures, between which it would go to and fro
    )

    def __init__(self, kinematics: Kinematics, posture: FloatArray, place_first: PlaceFirst, pace: _Pace) -> None:
        super().__init__(kinematics, posture)
        self._place_first, self._pace = place_first, pace

    def to(self, pose: FloatArray, reference: FloatArray, posture_gain: float) -> tuple[FloatArray, str]:
        pose, turn_reason = self._turned_as_it_can(pose, reference)
        joints, reason = super().to(pose, reference, posture_gain)
        is_there = math.dist(self._kinematics.tip(joints), pose[:3]) <= POSITION_TOLERANCE_M
        return joints, turn_reason if is_there else reason

    def comes_nearer(self, pose: FloatArray, joints: FloatArray, reference: FloatArray) -> bool:
        """As for a whole pose, by its place and, where that is kept, by its turn."""
        was, now = self._kinematics.forward(reference), self._kinematics.forward(joints)
        far = math.dist(pose[:3], was[:3])
        if far > SAME_PLACE_M:
            return far - math.dist(pose[:3], now[:3]) > NEARER * math.dist(was[:3], now[:3])
        asked, turned = turn_between(was, pose), turn_between(was, now)
        size = float(np.linalg.norm(turned))
        return size > NO_TURN_RAD and float(turned @ asked) > NEARER * size * float(np.linalg.norm(asked))

    def _turned_as_it_can(self, pose: FloatArray, reference: FloatArray) -> tuple[FloatArray, str]:
        """A pose turned from that of `reference` as far as the joints can within a period besides going to its place."""
        was = self._kinematics.forward(reference)
        if float(np.linalg.norm(turn_between(was, pose))) <= NO_TURN_RAD:
            return pose, ""
        spare = self._place_first.spare_turn(pose, reference)
        going, turning = self._pace.excess(spare.keeping), self._pace.excess(spare.turning)
        room = np.maximum(max(1.0, float(going.max())) - going, LEAST_ROOM)
        part = min(1.0, float((room / np.maximum(turning, 1e-9)).min()))
        turned = pin.Quaternion(pin.exp3(part * spare.turn) @ rotation(was))
        slow = self._pace.why_slow(np.abs(spare.keeping) + np.abs(spare.turning))
        return np.concatenate([pose[:3], turned.coeffs()]), spare.reason or slow
