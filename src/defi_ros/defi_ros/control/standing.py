"""An arm that should stand still and does not stand where it was told to: moved by other means, or sagging."""

from __future__ import annotations

from enum import Enum

import numpy as np

from defi_models.contract import NS_PER_S, FloatArray, RobotSpec
from defi_ros.control.measured import MeasuredJoints

# At rest for this long, what the arm's own controller still lags behind has died away.
SETTLED_NS = NS_PER_S // 10
# Still for this long, whoever moved the arm has let go of it.
LET_GO_S = 0.5
# An arm that leaves its place this often, each time within this long of the last, is not moved: it cannot stand there.
TIMES, WITHIN_NS = 3, 5 * NS_PER_S


class Place(Enum):
    """What is to be done about where the arm stands."""

    KEPT = "it stands where it should, or is on the move"
    NEW = "it was moved and stands still: hold it there"
    LOST = "it leaves every place it is held in: stop"


class StandingArm:
    """Watches one arm while nothing is asked of it. Called by the thread of the arm core."""

    def __init__(self, spec: RobotSpec, moved_rad: float) -> None:
        """An arm that is more than `moved_rad` from its command was moved [rad]."""
        self._names, self._moved_rad = spec.joint_names, moved_rad
        self._resting_since_ns: int | None = None
        self._times, self._last_ns = 0, 0

    @property
    def rests(self) -> bool:
        """Whether the command stands still."""
        return self._resting_since_ns is not None

    def note(self, *, at_rest: bool, now_ns: int) -> None:
        """Notes whether the command of this tick stands still."""
        if not at_rest:
            self._resting_since_ns = None
        elif self._resting_since_ns is None or self._resting_since_ns > now_ns:
            self._resting_since_ns = now_ns

    def look(self, joints: MeasuredJoints, commanded: FloatArray, now_ns: int) -> tuple[Place, str]:
        """Whether an arm of which nothing is asked stands where it is `commanded`, shape (joints,) [rad], and why not."""
        since_ns = self._resting_since_ns
        if joints.positions is None or since_ns is None or now_ns - since_ns < SETTLED_NS:
            return Place.KEPT, ""
        away = np.abs(joints.positions - commanded)
        worst = int(np.argmax(away))
        if away[worst] <= self._moved_rad:
            return Place.KEPT, ""
        what = f"{self._names[worst]} is {away[worst]:.2f} rad from where it is held"
        if joints.still_s(now_ns) < LET_GO_S:
            return Place.KEPT, what
        self._times = self._times + 1 if 0 <= now_ns - self._last_ns < WITHIN_NS else 1
        self._last_ns = now_ns
        if self._times >= TIMES:
            self._times = 0
            return Place.LOST, (
                f"{what}, for the {TIMES}rd time in a row: it sags, or is pushed. Look at its load and its controller "
                "before a reset"
            )
        return Place.NEW, f"{self._names[worst]} was moved by {away[worst]:.2f} rad by other means: holding where it is"
