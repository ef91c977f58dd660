"""The gripper action controllers: one goal at a time, a position of the fingers, and what counts as having got there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from defi_models.contract import NS_PER_S
from defi_sim.controllers.interface import CommandRefusedError

# Travel of one finger of the Franka hand; it opens 0.08 m with two [m].
FINGER_STROKE_M = 0.04
# Reading and rounding: a client that asks for the limit may be off by this much [m].
STROKE_SLACK_M = 1e-6


@dataclass(frozen=True, slots=True)
class GripperOptions:
    """Parameters of the controller, with the names and defaults of parallel_gripper_action_controller.

    Attributes:
        goal_tolerance: A finger this near to the goal has reached it [m].
        stall_velocity_threshold: Slower than this is not moving [m/s].
        stall_timeout: Not moving for this long is stalled [s].
        allow_stalling: A stalled gripper succeeds (it holds something) instead of aborting.
    """

    goal_tolerance: float = 0.01
    stall_velocity_threshold: float = 0.001
    stall_timeout: float = 1.0
    allow_stalling: bool = False


@dataclass(frozen=True, slots=True)
class GripperResult:
    """How a goal ended, with the position of one finger [m]."""

    goal_id: str
    outcome: Literal["succeeded", "aborted", "canceled"]
    position_m: float
    stalled: bool
    reached_goal: bool


class GripperController:
    """Drives the fingers to the position of the newest goal and holds it after that.

    Positions are those of the gripper's joint, by default one finger of the Franka hand (half the width), 0 closed ..
    `FINGER_STROKE_M` open. A new goal ends the one before it. Not thread-safe, except `check`.

    Attributes:
        goal_id: The goal being pursued, or None.
        position_m: Position of a finger at the last update [m].
    """

    def __init__(
        self, options: GripperOptions | None = None, stroke: tuple[float, float] = (0.0, FINGER_STROKE_M)
    ) -> None:
        """Takes the position of the joint when closed and when open [m or rad]."""
        self._options = options or GripperOptions()
        self._closed, self._open = stroke
        self._target_m: float | None = None
        self._last_motion_ns = 0
        self._last_update_ns: int | None = None
        self._results: list[GripperResult] = []
        self.goal_id: str | None = None
        self.position_m = 0.0

    def check(self, position_m: float) -> None:
        """Refuses a position the fingers do not have.

        Raises:
            CommandRefusedError: not finite, or outside the stroke of a finger.
        """
        lowest, highest = sorted((self._closed, self._open))
        if not math.isfinite(position_m) or not lowest - STROKE_SLACK_M <= position_m <= highest + STROKE_SLACK_M:
            raise CommandRefusedError(
                f"gripper goal: got {position_m} m, expected the position of one finger in {lowest:g}..{highest:g} m "
                "(half the width between the fingers)"
            )

    def activate(self, opening: float) -> None:
        """Aborts the goal and commands nothing until the next one. `opening`: 0 closed .. 1 open."""
        self._finish("aborted", stalled=False, reached_goal=False)
        self.position_m = self._position(opening)
        self._target_m = None
        self._last_update_ns = None

    def command(self, position_m: float, goal_id: str, now_ns: int) -> None:
        """Takes a goal: where a finger shall be [m].

        Raises:
            CommandRefusedError: as `check`.
        """
        self.check(position_m)
        self._finish("aborted", stalled=False, reached_goal=False)
        self._target_m = position_m
        self._last_motion_ns = now_ns
        self.goal_id = goal_id

    def cancel(self, goal_id: str) -> None:
        """Ends a goal and holds the fingers where they are; nothing if it is not the one being pursued."""
        if goal_id == self.goal_id:
            self._finish("canceled", stalled=False, reached_goal=False)
            self._target_m = self.position_m

    def take_results(self) -> list[GripperResult]:
        """The goals that ended since the last call."""
        results, self._results = self._results, []
        return results

    def update(self, now_ns: int, opening: float) -> float | None:
        """The opening to command, 0 closed .. 1 open, given the measured one; None before the first goal."""
        position_m = self._position(opening)
        self._note_motion(now_ns, position_m)
        if self._target_m is None:
            return None
        if self.goal_id is not None:
            self._judge(now_ns, self._target_m)
        return min(max((self._target_m - self._closed) / (self._open - self._closed), 0.0), 1.0)

    def _position(self, opening: float) -> float:
        return self._closed + opening * (self._open - self._closed)

    def _note_motion(self, now_ns: int, position_m: float) -> None:
        if self._last_update_ns is not None and now_ns > self._last_update_ns:
            speed_m_s = abs(position_m - self.position_m) * NS_PER_S / (now_ns - self._last_update_ns)
            if speed_m_s > self._options.stall_velocity_threshold:
                self._last_motion_ns = now_ns
        self._last_update_ns = now_ns
        self.position_m = position_m

    def _judge(self, now_ns: int, target_m: float) -> None:
        if abs(target_m - self.position_m) < self._options.goal_tolerance:
            self._finish("succeeded", stalled=False, reached_goal=True)
        elif now_ns - self._last_motion_ns > self._options.stall_timeout * NS_PER_S:
            self._finish("succeeded" if self._options.allow_stalling else "aborted", stalled=True, reached_goal=False)

    def _finish(
        self, outcome: Literal["succeeded", "aborted", "canceled"], *, stalled: bool, reached_goal: bool
    ) -> None:
        if self.goal_id is not None:
            self._results.append(GripperResult(self.goal_id, outcome, self.position_m, stalled, reached_goal))
            self.goal_id = None
