"""Where an arm is that did not go by its commands: the loop paused, joint states were away, or other hands moved it."""

from __future__ import annotations

import numpy as np

from defi_models.contract import FloatArray, RobotSpec
from defi_ros.control.measured import MeasuredJoints
from defi_ros.control.standing import LET_GO_S, Place, StandingArm
from defi_ros.sections import Control

# Noise of measured joints; a stopped robot that moved by less is commanded where it was [rad].
STOPPED_SLACK_RAD = 0.002
LED_BACK = "it is led back into its range; let go of it"


class Whereabouts:
    """Judges where one arm is against where it was commanded. Called by the thread of the arm core.

    Attributes:
        follows_nobody: Whether the robot itself says that it follows no command.
        jumped: Whether joint states told what no arm can do, until somebody has reset it.
    """

    def __init__(self, spec: RobotSpec, control: Control) -> None:
        """Of an arm that stands where it is commanded."""
        self._names, self._moved_rad, self._timeout_s = spec.joint_names, control.reanchor_rad, control.state_timeout_s
        self._standing = StandingArm(spec, control.reanchor_rad)
        self.follows_nobody = False
        self.jumped = False
        self._seen: FloatArray | None = None  # where the arm was seen last, while joint states are away
        self._paused_ns: int | None = None  # when the loop went on after a pause, until the arm is seen again
        self._led = False  # whether somebody leads the arm back into its range

    @property
    def is_blind(self) -> bool:
        """Whether joint states are away."""
        return self._seen is not None

    def note(self, *, at_rest: bool, now_ns: int) -> None:
        """Notes whether the command of this tick stands still."""
        self._standing.note(at_rest=at_rest, now_ns=now_ns)

    def note_silence(self, joints: MeasuredJoints, *, silent: bool) -> None:
        """Notes whether joint states are away."""
        if not silent:
            self._seen = None
        elif self._seen is None:
            self._seen = joints.positions

    def lose(self, now_ns: int) -> None:
        """The loop was paused until now, in motion: where the arm rests is known when it is seen again."""
        self._paused_ns = now_ns

    def is_lost(self, joints: MeasuredJoints) -> bool:
        """Whether the arm was not seen since the loop was paused."""
        return self._paused_ns is not None and joints.heard_ns < self._paused_ns

    def why_idle(self, joints: MeasuredJoints) -> str | None:
        """Why an arm outside the ranges of its file, or on its way back with somebody's hand on it, is not commanded."""
        outside = None if joints.positions is None else joints.out_of_range()
        return outside or (LED_BACK if self._led else None)

    def follow_hand(self, joints: MeasuredJoints, now_ns: int) -> None:
        """Notes whether somebody leads the arm back into its range, or has let go of it."""
        if joints.out_of_range() is not None:
            self._led = True
        elif joints.still_s(now_ns) >= LET_GO_S:
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
        if joints.silent_s(now_ns) > self._timeout_s:
            return Place.KEPT, ""
        if self._paused_ns is not None:
            self._paused_ns = None
            return Place.NEW, "the control loop was paused"
        if self._seen is not None and self._standing.rests:
            moved = np.abs(joints.positions - self._seen)
            worst = int(np.argmax(moved))
            if moved[worst] > self._moved_rad:
                return (
                    Place.NEW,
                    f"{self._names[worst]} was moved by {moved[worst]:.2f} rad while there were no joint states",
                )
        if stopped and self.follows_nobody and self._standing.rests:
            away = np.abs(joints.positions - commanded).max()
            return (Place.NEW, "the robot follows nobody") if away > STOPPED_SLACK_RAD else (Place.KEPT, "")
        if idle and not (stopped and self.jumped):
            return self._standing.look(joints, commanded, now_ns)
        return Place.KEPT, ""
