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
# An arm that is this far from its place has begun to leave it [rad]; so soon after it was left alone there [s], or never
# faster than this [rad/s], nobody has moved it.
LEAVES_RAD, SOON_S, LED_RAD_S = 0.02, 1.0, 0.05
# Between two looks at how fast it is: one step of a servo's encoder, 1.5 mrad, is no motion then.
LOOK_NS = NS_PER_S // 10
# An arm that leaves its place by itself so often, with nothing asked of it in between, cannot stand there.
TIMES = 3


class Place(Enum):
    """What is to be done about where the arm stands."""

    KEPT = "it stands where it should, or is on the move"
    NEW = "it was moved and stands still: hold it there"
    FOUND = "where it has come to rest was not known: go on from there"
    LOST = "it leaves every place it is held in: stop"


class StandingArm:
    """Watches one arm while nothing is asked of it. Called by the thread of the arm core."""

    def __init__(self, spec: RobotSpec, moved_rad: float) -> None:
        """An arm that is more than `moved_rad` from its command was moved [rad]."""
        self._names, self._moved_rad = spec.joint_names, moved_rad
        self._resting_since_ns: int | None = None
        self._times, self._lost = 0, False
        self._begin(spec.home, spec.home, 0)

    def _begin(self, place: FloatArray, positions: FloatArray, now_ns: int) -> None:
        """The arm is left alone in a place."""
        self._place, self._since_ns, self._left_ns = place, now_ns, now_ns
        self._seen, self._seen_ns, self._fastest_rad_s = positions, now_ns, 0.0

    def forgive(self) -> None:
        """Somebody has looked at an arm that did not stay: where it stands now may be held."""
        self._times, self._lost = 0, False

    @property
    def rests(self) -> bool:
        """Whether the command stands still."""
        return self._resting_since_ns is not None

    def note(self, *, at_rest: bool, now_ns: int) -> None:
        """Notes whether the command of this tick stands still."""
        if not at_rest:
            self._resting_since_ns, self._times, self._lost = None, 0, False
        elif self._resting_since_ns is None or self._resting_since_ns > now_ns:
            self._resting_since_ns = now_ns

    def look(self, joints: MeasuredJoints, commanded: FloatArray, now_ns: int) -> tuple[Place, str]:
        """Whether an arm of which nothing is asked stands where it is `commanded`, shape (joints,) [rad], and why not."""
        since_ns = self._resting_since_ns
        if joints.positions is None or since_ns is None or now_ns - since_ns < SETTLED_NS:
            return Place.KEPT, ""
        if now_ns < self._seen_ns or not np.array_equal(commanded, self._place):
            self._begin(commanded, joints.positions, now_ns)
        away = np.abs(joints.positions - commanded)
        worst = int(np.argmax(away))
        self._watch(joints.positions, float(away[worst]), now_ns)
        if away[worst] <= self._moved_rad:
            return Place.KEPT, ""
        what = f"{self._names[worst]} is {away[worst]:.2f} rad from where it is held"
        if self._lost or joints.still_s < LET_GO_S:
            return Place.KEPT, what
        by_itself = self._left_ns - self._since_ns < SOON_S * NS_PER_S or self._fastest_rad_s < LED_RAD_S
        self._times = self._times + 1 if by_itself else 0
        if self._times >= TIMES:
            self._lost = True
            return Place.LOST, (
                f"{what}, for the {TIMES}rd time in a row: it sags, or is pushed. Look at its load and its controller "
                "before a reset"
            )
        return Place.NEW, f"{self._names[worst]} was moved by {away[worst]:.2f} rad by other means: holding where it is"

    def _watch(self, positions: FloatArray, away_rad: float, now_ns: int) -> None:
        """Notes when the arm leaves its place, and how fast."""
        if away_rad <= LEAVES_RAD:
            self._left_ns = now_ns
        if now_ns - self._seen_ns >= LOOK_NS:
            speed = float(np.abs(positions - self._seen).max()) * NS_PER_S / (now_ns - self._seen_ns)
            self._fastest_rad_s = max(self._fastest_rad_s, speed)
            self._seen, self._seen_ns = positions, now_ns
