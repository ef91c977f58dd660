"""A whole timed motion of the tool centre point, made once: a constant-speed route, smoothed by a moving average.

Averaging can only slow a route down, so the speed limits of its legs hold for the trajectory too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from defi_models.contract import ContractError, FloatArray, frozen_array

MAX_SPEED_M_S = 0.35
MAX_TURN_RAD_S = 1.4
MAX_KNOT_TURN_RAD = 0.5
GRIPPER_TRAVEL_S = 0.4  # full travel of the fingers
GRID_S = 0.01
# Width of the smoothing window [s]: corners are rounded over this time, so at 0.2 m/s by about a centimetre; the arm accelerates at most at half of its limits.
BLEND_S = 0.4


@dataclass(frozen=True, slots=True)
class Trajectory:
    """Targets of the tool centre point over time.

    Attributes:
        poses: Poses every `GRID_S`, shape (samples, 7).
        gripper: Opening at each, shape (samples,), 0 closed .. 1 open.
        freedom: How far a disturbance may lead astray at each, shape (samples,), 0 not at all .. 1 freely.
    """

    poses: FloatArray
    gripper: FloatArray
    freedom: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "poses", frozen_array("trajectory poses", self.poses, (None, 7)))
        for name in ("gripper", "freedom"):
            object.__setattr__(self, name, frozen_array(f"trajectory {name}", getattr(self, name), (len(self.poses),)))

    @property
    def duration_s(self) -> float:
        """When the last target is due [s]."""
        return (len(self.poses) - 1) * GRID_S

    def sample(self, t_s: float) -> tuple[FloatArray, float]:
        """The pose, shape (7,), and the gripper opening due at `t_s`; the ends hold before and after."""
        low, high, share = self._between(t_s)
        pose = (1.0 - share) * self.poses[low] + share * self.poses[high]
        pose[3:] /= np.linalg.norm(pose[3:])
        return pose, float((1.0 - share) * self.gripper[low] + share * self.gripper[high])

    def freedom_at(self, t_s: float) -> float:
        """How much of a disturbance is bearable at `t_s`, 0..1."""
        low, high, share = self._between(t_s)
        return float((1.0 - share) * self.freedom[low] + share * self.freedom[high])

    def _between(self, t_s: float) -> tuple[int, int, float]:
        place = min(max(t_s / GRID_S, 0.0), len(self.poses) - 1.0)
        low = int(place)
        return low, min(low + 1, len(self.poses) - 1), place - low


class Route:
    """Builds a trajectory leg by leg: where to, how fast, with which gripper."""

    def __init__(self, ee_pose: FloatArray, gripper: float):
        """Starts at `ee_pose`, shape (7,), with the gripper at `gripper` (0..1)."""
        self._times = [0.0]
        self._poses = [np.array(ee_pose, dtype=np.float64)]
        self._gripper = [float(gripper)]
        self._freedom = [1.0]

    @property
    def pose(self) -> FloatArray:
        """Where the route has come to, shape (7,)."""
        return self._poses[-1].copy()

    @property
    def gripper(self) -> float:
        """Opening the route has come to."""
        return self._gripper[-1]

    def move(
        self, pose: FloatArray, speed_m_s: float = 0.3, gripper: float | None = None, freedom: float = 1.0
    ) -> Route:
        """A straight leg to `pose`, shape (7,).

        Args:
            pose: Where to.
            speed_m_s: Speed of the leg; lower where the turn or the fingers need longer.
            gripper: Opening at the end of the leg; None keeps it.
            freedom: How much of a disturbance is bearable on the leg, 0..1.

        Raises:
            ContractError: the speed is not within 0..`MAX_SPEED_M_S`.
        """
        if not 0.0 < speed_m_s <= MAX_SPEED_M_S:
            raise ContractError(
                f"route: got a speed of {speed_m_s} m/s, expected more than 0 and at most {MAX_SPEED_M_S}"
            )
        target = np.array(pose, dtype=np.float64)
        if target[3:] @ self._poses[-1][3:] < 0:
            target[3:] *= -1.0
        opening = self._gripper[-1] if gripper is None else float(gripper)
        turn = 2.0 * math.acos(min(1.0, float(target[3:] @ self._poses[-1][3:])))
        duration = max(
            float(np.linalg.norm(target[:3] - self._poses[-1][:3])) / speed_m_s,
            turn / MAX_TURN_RAD_S,
            abs(opening - self._gripper[-1]) * GRIPPER_TRAVEL_S,
            GRID_S,
        )
        # Quaternions are interpolated straight between knots, which holds the turning rate for small turns only.
        begin, begin_opening, parts = self.pose, self._gripper[-1], max(1, math.ceil(turn / MAX_KNOT_TURN_RAD))
        for part in range(1, parts + 1):
            share = part / parts
            between = (1.0 - share) * begin + share * target
            between[3:] = _slerp(begin[3:], target[3:], share)
            self._append(duration / parts, between, (1.0 - share) * begin_opening + share * opening, freedom)
        return self

    def grip(self, opening: float, seconds: float = 0.45) -> Route:
        """Stands still while the fingers go to `opening`."""
        return self._append(seconds, self.pose, opening, 0.0)

    def rest(self, seconds: float) -> Route:
        """Stands still."""
        return self._append(seconds, self.pose, self._gripper[-1], self._freedom[-1])

    def _append(self, duration_s: float, pose: FloatArray, gripper: float, freedom: float) -> Route:
        self._times.append(self._times[-1] + duration_s)
        self._poses.append(pose)
        self._gripper.append(gripper)
        self._freedom.append(freedom)
        return self

    def trajectory(self) -> Trajectory:
        """The route, smoothed; it starts and ends at rest."""
        # Half a window of standing still at both ends keeps the first and last pose exact.
        length = self._times[-1] + BLEND_S
        grid = np.arange(math.ceil(length / GRID_S) + 1) * GRID_S - BLEND_S / 2
        table = np.column_stack([self._poses, self._gripper])  # (knots, 8)
        columns = [np.interp(grid, self._times, column) for column in table.T]
        smooth = np.stack([_averaged(column) for column in columns], axis=1)  # (samples, 8)
        smooth[:, 3:7] /= np.linalg.norm(smooth[:, 3:7], axis=1, keepdims=True)
        # The freedom of a leg holds on the leg; its change is smoothed only.
        legs = np.clip(np.searchsorted(self._times, grid), 1, len(self._times) - 1)
        freedom = np.minimum(_averaged(np.array(self._freedom)[legs]), np.array(self._freedom)[legs])
        return Trajectory(smooth[:, :7], smooth[:, 7], np.clip(freedom, 0.0, 1.0))


def _slerp(begin: FloatArray, end: FloatArray, share: float) -> FloatArray:
    """The rotation `share` of the way between two unit quaternions, shape (4,)."""
    angle = math.acos(min(1.0, float(begin @ end)))
    if angle < 1e-6:
        return end
    return (math.sin((1.0 - share) * angle) * begin + math.sin(share * angle) * end) / math.sin(angle)


def _averaged(values: FloatArray) -> FloatArray:
    """Two moving averages of half the window each: continuous acceleration, ends kept."""
    width = max(1, round(BLEND_S / 2 / GRID_S)) | 1
    kernel = np.ones(width) / width
    for _ in range(2):
        padded = np.concatenate([np.full(width // 2, values[0]), values, np.full(width // 2, values[-1])])
        values = np.convolve(padded, kernel, mode="valid")
    return values
