"""Where an arm is that did not go by its commands: the loop paused, joint states were away, or other hands moved it."""

from __future__ import annotations

import math

import numpy as np

from defi_models.contract import NS_PER_S, FloatArray, RobotSpec
from defi_ros.control.measured import MeasuredJoints
from defi_ros.control.standing import LET_GO_S, Place, StandingArm
from defi_ros.sections import Control

# Noise of measured joints; a stopped robot that moved by less is commanded where it was [rad].
STOPPED_SLACK_RAD = 0.002
# A controller that nobody commands has brought the arm to rest when it is seen to stand for this long [s].
BRAKED_S = 0.1
LOST_NS = NS_PER_S  # who has an arm that is not seen at rest for so long has it no more
# In so long a pause of the loop, or afterwards, other hands may have moved the arm [s]; before, it has moved by itself.
HANDS_S = 1.0
LED_BACK = "it is led back into its range; let go of it"


class Whereabouts:
    """Judges where one arm is against where it was commanded. Called by the thread of the arm core.

    Attributes:
        follows_nobody: Whether the robot itself says that it follows no command.
        jumped: Whether joint states told what no arm can do, until somebody has reset it.
        was_found: Whether it was commanded from where it is since the bridge began.
    """

    def __init__(self, spec: RobotSpec, control: Control) -> None:
        """Of an arm that stands where it is commanded."""
        self._names, self._moved_rad = spec.joint_names, control.reanchor_rad
        self._standing = StandingArm(spec, control.reanchor_rad)
        self.follows_nobody = False
        self.jumped = self.was_found = False
        self._seen: FloatArray | None = None  # where the arm was seen last, while joint states are away
        self._lost_ns: int | None = None  # when commands went on after they had not, until the arm is seen at rest
        self._lost_by, self._by_itself = "", False  # what it was that they had not; whether it moved by itself alone
        self._led = False  # whether somebody leads the arm back into its range

    @property
    def is_lost(self) -> bool:
        """Whether the arm is looked for."""
        return self._lost_ns is not None

    @property
    def is_blind(self) -> bool:
        """Whether joint states are away, as noted last."""
        return self._seen is not None

    def note(self, *, at_rest: bool, now_ns: int) -> None:
        """Notes whether the command of this tick stands still."""
        self._standing.note(at_rest=at_rest, now_ns=now_ns)

    def note_silence(self, joints: MeasuredJoints, now_ns: int) -> str | None:
        """Notes whether joint states are away; returns so, in words."""
        silent = joints.why_silent(now_ns)
        if silent is None:
            self._seen = None
        elif self._seen is None:
            self._seen = joints.positions
        return silent

    def forget(self) -> None:
        """Nothing is known of the arm any more, but that its joint states are not to be believed where they were not."""
        self._seen, self._lost_ns, self._led, self.was_found = None, None, False, False

    def find(self, now_ns: int) -> bool:
        """The arm is commanded from where it is seen; returns whether others may have moved it there."""
        lost_ns, self._lost_ns, self.was_found = self._lost_ns, None, True
        return lost_ns is None or not self._by_itself or now_ns - lost_ns > HANDS_S * NS_PER_S

    def forgive(self) -> None:
        """A person has reset the arm: it is where it says it is, and may stand there."""
        self.jumped = False
        self._standing.forgive()

    def set_back(self, by_ns: int) -> None:
        """The clock was set back."""
        if self._lost_ns is not None:
            self._lost_ns -= by_ns

    def lose(self, why: str, now_ns: int, *, away_s: float = math.inf) -> None:
        """The arm may be in motion, of which commands know nothing: where it rests is known when it is seen there.

        Args:
            why: What has begun, or ended, now.
            now_ns: The time now [ns].
            away_s: How long nothing was commanded [s].
        """
        self._by_itself = away_s < HANDS_S and (self._lost_ns is None or self._by_itself)
        self._lost_ns, self._lost_by = now_ns, why

    def why_lost(self, joints: MeasuredJoints, now_ns: int) -> str | None:
        """Why it is not known where the arm rests: it was not seen there since."""
        if self._lost_ns is None:
            return None
        since = f"{self._lost_by} {(now_ns - self._lost_ns) / NS_PER_S:.1f} s ago"
        if joints.stamp_ns < self._lost_ns:
            return f"{since}: waiting to see the arm"
        if self.jumped or joints.still_s < BRAKED_S:
            return f"{since}: waiting to see the arm at rest"
        return None

    def is_sought(self, joints: MeasuredJoints, now_ns: int) -> bool:
        """Whether the arm is only looked for, and has not been for long."""
        lately = self._lost_ns is not None and now_ns - self._lost_ns <= LOST_NS
        return lately and not (self.jumped or self._led or joints.out_of_range())

    def is_lost_for_long(self, joints: MeasuredJoints, now_ns: int) -> bool:
        """Whether that takes so long that nobody is to be kept waiting for the arm."""
        lost_ns = self._lost_ns
        return lost_ns is not None and now_ns - lost_ns > LOST_NS and self.why_lost(joints, now_ns) is not None

    def why_idle(self, joints: MeasuredJoints, now_ns: int) -> str | None:
        """Why an arm that is not seen, is outside the ranges of its file, or is led back into them is not commanded."""
        if joints.positions is None:
            return "no joint state yet, expected one before anything moves"
        if (silent := joints.why_silent(now_ns)) is not None:
            return silent
        if self.jumped:
            return "its joint states told what no arm can: look at its encoders and their driver, then reset to HOLD"
        return joints.out_of_range() or (LED_BACK if self._led else None) or self.why_lost(joints, now_ns)

    def follow_hand(self, joints: MeasuredJoints) -> None:
        """Notes whether somebody leads the arm back into its range, or has let go of it."""
        if joints.out_of_range() is not None:
            self._led = True
        elif joints.still_s >= LET_GO_S:
            self._led = False

    def look(
        self, joints: MeasuredJoints, commanded: FloatArray, now_ns: int, *, idle: bool, stopped: bool
    ) -> tuple[Place, str]:
        """What is to be done about where the arm is, and what is to be said of it.

        Args:
            joints: Where it was seen.
            commanded: Where it should be, shape (joints,) [rad].
            now_ns: The time now [ns].
            idle: Whether nothing is asked of it.
            stopped: Whether it is stopped.
        """
        assert joints.positions is not None
        if joints.why_silent(now_ns) is not None or (stopped and self.jumped and not self.follows_nobody):
            return Place.KEPT, ""
        if self._lost_ns is not None:
            return Place.FOUND, self._lost_by
        if self._seen is not None and self._standing.rests:
            # On its last way to rest, which it was not seen to take, nobody has moved it.
            moved = np.minimum(np.abs(joints.positions - self._seen), np.abs(joints.positions - commanded))
            worst = int(np.argmax(moved))
            if moved[worst] > self._moved_rad:
                why = f"{self._names[worst]} was moved by {moved[worst]:.2f} rad while there were no joint states"
                self.lose(f"{why}, until", now_ns)  # whoever moved it may hold it still
                return Place.NEW, why
        if stopped and self.follows_nobody and self._standing.rests:
            away = np.abs(joints.positions - commanded).max()
            return (Place.FOUND, "the robot follows nobody") if away > STOPPED_SLACK_RAD else (Place.KEPT, "")
        if idle:
            return self._standing.look(joints, commanded, now_ns)
        return Place.KEPT, ""
