"""The Franka hand behind franka_gripper: `move` and `grasp` goals that block, and `stop`, their only interrupt."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from defi_sim.controllers.gripper import FINGER_STROKE_M, GripperController, GripperResult
from defi_sim.controllers.interface import CommandRefusedError

FULL_WIDTH_M = 2.0 * FINGER_STROKE_M
REACHED_M = 0.005  # a move that ends this near to its width has got there
PREFIX = "hand:"  # goals of the hand among those of the gripper it drives


@dataclass(frozen=True, slots=True)
class HandGoal:
    """A goal of the hand; all widths are those between both fingers [m].

    Attributes:
        goal_id: Names it in its result.
        width_m: Where to go, or how wide what is grasped should be.
        epsilon_m: How much narrower and wider what is grasped may be; None: a move.
    """

    goal_id: str
    width_m: float
    epsilon_m: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class HandResult:
    """How a goal ended."""

    goal_id: str
    success: bool
    error: str


class FrankaHand:
    """Runs one goal after the other on the gripper; a goal that comes meanwhile waits, it replaces nothing.

    Owned by the thread that steps the physics, except `check`.
    """

    def __init__(self, gripper: GripperController) -> None:
        self._gripper = gripper
        self._waiting: deque[HandGoal] = deque()
        self._running: HandGoal | None = None

    def check(self, width_m: float) -> None:
        """Refuses a width the hand does not have.

        Raises:
            CommandRefusedError: with what was got.
        """
        if not 0.0 <= width_m <= FULL_WIDTH_M + 1e-6:
            raise CommandRefusedError(
                f"franka_gripper: got a width of {width_m} m, expected 0..{FULL_WIDTH_M} m between both fingers"
            )

    def command(self, goal: HandGoal, now_ns: int) -> None:
        """Takes a goal, which begins when those before it are over."""
        self._waiting.append(goal)
        self._begin(now_ns)

    def stop(self) -> None:
        """Ends the running goal without success."""
        if self._running is not None:
            self._gripper.cancel(PREFIX + self._running.goal_id)

    def take_results(self, ended: list[GripperResult], now_ns: int) -> list[HandResult]:
        """The goals of the hand among those that ended on the gripper; begins the next one."""
        results = []
        for result in ended:
            running = self._running
            if running is not None and result.goal_id == PREFIX + running.goal_id:
                results.append(self._judged(running, result))
                self._running = None
        self._begin(now_ns)
        return results

    def _begin(self, now_ns: int) -> None:
        if self._running is None and self._waiting:
            self._running = self._waiting.popleft()
            self._gripper.command(self._running.width_m / 2.0, PREFIX + self._running.goal_id, now_ns)

    def _judged(self, goal: HandGoal, result: GripperResult) -> HandResult:
        if result.outcome == "canceled":
            return HandResult(goal.goal_id, False, "libfranka gripper: command aborted")
        width_m = 2.0 * result.position_m
        if goal.epsilon_m is None:
            reached = abs(width_m - goal.width_m) < REACHED_M or result.reached_goal
            return HandResult(goal.goal_id, reached, "" if reached else f"stopped at a width of {width_m:.4f} m")
        inner, outer = goal.epsilon_m
        held = goal.width_m - inner <= width_m <= goal.width_m + outer
        return HandResult(goal.goal_id, held, "" if held else f"nothing of the expected width: {width_m:.4f} m")
