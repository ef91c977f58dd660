"""The joint trajectory controller: topic and follow_joint_trajectory action, its tolerances and its result codes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

import numpy as np

from defi_models.contract import NS_PER_S, FloatArray
from defi_sim.controllers.interface import CommandRefusedError
from defi_sim.controllers.trajectory import JointState, RunningTrajectory, StoppingTrajectory, Trajectory

# A final velocity below this counts as zero: the spacing of 32-bit floats at 1, which the real controller uses.
ZERO_VELOCITY_RAD_S = float(np.finfo(np.float32).eps)
UNCHECKED = 0.0
ERASE_TOLERANCE = -1.0


class ErrorCode(IntEnum):
    """Result codes of control_msgs/action/FollowJointTrajectory."""

    SUCCESSFUL = 0
    INVALID_GOAL = -1
    INVALID_JOINTS = -2
    OLD_HEADER_TIMESTAMP = -3
    PATH_TOLERANCE_VIOLATED = -4
    GOAL_TOLERANCE_VIOLATED = -5


class TrajectoryRefusedError(CommandRefusedError):
    """A trajectory the controller does not take; `code` is the action's result code for it."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class TrajectoryOptions:
    """Parameters of the controller, under the names and with the defaults of the real one where it has one.

    Attributes:
        interpolate_from_desired_state: Sets out from the last set point (true) or from the measured state (false). The
            real default is false; streaming chunks needs true.
        allow_nonzero_velocity_at_trajectory_end: Accepts a last point that still moves.
        path_tolerance_rad: Largest error on the way, for each joint [rad]; 0 is not checked.
        goal_tolerance_rad: Largest error at the end, for each joint [rad]; 0 is not checked.
        goal_time_s: How much later than planned the goal may be reached [s]; 0 is for ever.
        decelerate_on_cancel: A canceled goal brakes the arm instead of holding the measured position at once.
        max_deceleration_on_cancel: How fast each joint brakes then [rad/s^2].
        cmd_timeout_s: Holds the measured position this long after the end of the last trajectory [s]; 0 is never.
    """

    interpolate_from_desired_state: bool = True
    allow_nonzero_velocity_at_trajectory_end: bool = False
    path_tolerance_rad: float = UNCHECKED
    goal_tolerance_rad: float = UNCHECKED
    goal_time_s: float = 0.0
    cmd_timeout_s: float = 0.0
    decelerate_on_cancel: bool = False
    max_deceleration_on_cancel: float = 5.0


@dataclass(frozen=True, slots=True)
class TrajectoryGoal:
    """A goal of the action, or a message of the topic (`goal_id` None).

    Attributes:
        trajectory: What to follow.
        goal_id: Names the goal in its result; None for the topic.
        path_tolerance_rad: Joint -> tolerance [rad]; 0 or absent is the controller's own, -1 is not checked.
        goal_tolerance_rad: The same at the end.
        goal_time_s: 0 is the controller's own, -1 is for ever [s].
    """

    trajectory: Trajectory
    goal_id: str | None = None
    path_tolerance_rad: Mapping[str, float] = field(default_factory=dict)
    goal_tolerance_rad: Mapping[str, float] = field(default_factory=dict)
    goal_time_s: float = 0.0


@dataclass(frozen=True, slots=True)
class GoalResult:
    """How a goal ended."""

    goal_id: str
    outcome: Literal["succeeded", "aborted", "canceled"]
    code: ErrorCode
    reason: str


class JointTrajectoryController:
    """Follows one trajectory at a time; a new one replaces it at once.

    Attributes:
        desired: The last set point, or None before the controller is activated.
        goal_id: The goal being followed, or None.
    """

    def __init__(self, joint_names: Sequence[str], options: TrajectoryOptions | None = None) -> None:
        self._joint_names = tuple(joint_names)
        self._options = options or TrajectoryOptions()
        self._waiting: TrajectoryGoal | None = None
        self._running: RunningTrajectory | StoppingTrajectory | None = None
        self._results: list[GoalResult] = []
        self.desired: JointState | None = None
        self.goal_id: str | None = None
        self._use_tolerances(None)

    def check(self, command: TrajectoryGoal, now_ns: int) -> None:
        """Refuses a trajectory the real controller refuses.

        Raises:
            TrajectoryRefusedError: joints, times, sizes, start or final velocity are not acceptable.
        """
        trajectory = command.trajectory
        self._check_joints(trajectory)
        self._check_points(trajectory)
        end_ns = trajectory.start_ns + trajectory.duration_ns
        if trajectory.start_ns != 0 and end_ns < now_ns:
            late_s = (now_ns - end_ns) / NS_PER_S
            raise TrajectoryRefusedError(
                ErrorCode.OLD_HEADER_TIMESTAMP,
                f"trajectory ends {late_s:.3f} s in the past: stamp {trajectory.start_ns} ns, now {now_ns} ns; "
                "stamp it with the controller's clock, or with 0 to start at once",
            )

    def activate(self, now_ns: int, measured: FloatArray) -> None:
        """Holds the measured position; a goal that was being followed is aborted."""
        self._finish("aborted", ErrorCode.INVALID_GOAL, "the controller was restarted")
        self._hold(measured)

    def command(self, command: TrajectoryGoal, now_ns: int) -> None:
        """Takes a trajectory. One from the action ends the goal before it; one from the topic does not.

        Raises:
            TrajectoryRefusedError: as `check`.
        """
        self.check(command, now_ns)
        if command.goal_id is not None:
            self._finish("aborted", ErrorCode.INVALID_GOAL, "replaced by a new goal")
            self.goal_id = command.goal_id
            self._use_tolerances(command)
        elif self.goal_id is None:
            self._use_tolerances(None)
        self._waiting = command

    def cancel(self, goal_id: str, measured: FloatArray, now_ns: int) -> None:
        """Ends a goal: holds the measured position at once, or brakes; nothing if it is not the one being followed."""
        if goal_id != self.goal_id:
            return
        self._finish("canceled", ErrorCode.SUCCESSFUL, "canceled by the client")
        if not self._options.decelerate_on_cancel or self.desired is None:
            self._hold(measured)
            return
        fastest = np.full(len(self._joint_names), self._options.max_deceleration_on_cancel)
        self._running, self._waiting = StoppingTrajectory(self.desired, fastest, now_ns), None

    def query(self, time_ns: int) -> JointState | None:
        """Where the running trajectory is at a time [ns], as the service query_state tells; None outside of it.

        Any thread may call it: the trajectory is replaced as a whole and never changed.
        """
        running = self._running
        if running is None or not running.start_ns <= time_ns <= running.end_ns:
            return None
        return running.sample(time_ns)

    def take_results(self) -> list[GoalResult]:
        """The goals that ended since the last call."""
        results, self._results = self._results, []
        return results

    def update(self, now_ns: int, measured: FloatArray) -> FloatArray | None:
        """The set points at `now_ns`, shape (joints,) [rad]; None before the controller is activated."""
        if self.desired is None:
            return None
        first_sample = self._waiting is not None
        if self._waiting is not None:
            before = self.desired if self._options.interpolate_from_desired_state else JointState(measured)
            self._running = RunningTrajectory(self._waiting.trajectory.reordered(self._joint_names), before, now_ns)
            self._waiting = None
        if self._running is not None:
            self._follow(self._running, now_ns, measured, first_sample)
        return self.desired.positions

    def _follow(
        self, running: RunningTrajectory | StoppingTrajectory, now_ns: int, measured: FloatArray, first_sample: bool
    ) -> None:
        """Samples the trajectory, then judges the error as the real controller does."""
        wanted = running.sample(now_ns)
        error = np.abs((wanted.positions - measured + np.pi) % (2.0 * np.pi) - np.pi)
        at_end = now_ns >= running.end_ns
        if (not at_end or first_sample) and (error > self._path_tolerance_rad).any():
            joint = int(np.argmax(error - self._path_tolerance_rad))
            self._give_up(ErrorCode.PATH_TOLERANCE_VIOLATED, joint, error, self._path_tolerance_rad, measured)
            return
        self.desired = wanted
        if not at_end:
            return
        late_s = (now_ns - running.end_ns) / NS_PER_S
        if not (error > self._goal_tolerance_rad).any():
            self._finish("succeeded", ErrorCode.SUCCESSFUL, "goal reached")
            if 0.0 < self._options.cmd_timeout_s < late_s:
                self._hold(measured)
        elif self._goal_time_s > 0.0 and late_s > self._goal_time_s:
            joint = int(np.argmax(error - self._goal_tolerance_rad))
            self._give_up(ErrorCode.GOAL_TOLERANCE_VIOLATED, joint, error, self._goal_tolerance_rad, measured)

    def _give_up(
        self, code: ErrorCode, joint: int, error: FloatArray, tolerance: FloatArray, measured: FloatArray
    ) -> None:
        """Holds the measured position and aborts the goal, if there is one."""
        reason = f"{self._joint_names[joint]} is off by {error[joint]:.4f} rad, allowed are {tolerance[joint]:.4f} rad"
        self._finish("aborted", code, reason)
        self._hold(measured)

    def _hold(self, positions: FloatArray) -> None:
        zeros = np.zeros(len(self._joint_names))
        self.desired = JointState(np.array(positions, dtype=np.float64), zeros, zeros)
        self._running = None
        self._waiting = None

    def _finish(self, outcome: Literal["succeeded", "aborted", "canceled"], code: ErrorCode, reason: str) -> None:
        if self.goal_id is not None:
            self._results.append(GoalResult(self.goal_id, outcome, code, reason))
            self.goal_id = None

    def _use_tolerances(self, goal: TrajectoryGoal | None) -> None:
        """Tolerances of a goal, or the controller's own; an unchecked one becomes infinite."""
        options = self._options
        path = goal.path_tolerance_rad if goal else {}
        end = goal.goal_tolerance_rad if goal else {}
        self._path_tolerance_rad = self._tolerances(path, options.path_tolerance_rad)
        self._goal_tolerance_rad = self._tolerances(end, options.goal_tolerance_rad)
        goal_time_s = goal.goal_time_s if goal else 0.0
        self._goal_time_s = options.goal_time_s if goal_time_s == 0.0 else max(goal_time_s, 0.0)

    def _tolerances(self, given: Mapping[str, float], default: float) -> FloatArray:
        values = [given.get(name) or default for name in self._joint_names]
        return np.array([value if value > UNCHECKED else math.inf for value in values])

    def _check_joints(self, trajectory: Trajectory) -> None:
        if sorted(trajectory.joint_names) != sorted(self._joint_names):
            raise TrajectoryRefusedError(
                ErrorCode.INVALID_JOINTS,
                f"trajectory names joints {list(trajectory.joint_names)}, expected all of {list(self._joint_names)}",
            )

    def _check_points(self, trajectory: Trajectory) -> None:
        if not trajectory.points:
            raise TrajectoryRefusedError(ErrorCode.INVALID_GOAL, "trajectory has 0 points, expected at least 1")
        previous_ns = -1
        for index, point in enumerate(trajectory.points):
            if point.time_from_start_ns <= previous_ns:
                raise TrajectoryRefusedError(
                    ErrorCode.INVALID_GOAL,
                    f"trajectory point {index} is due at {point.time_from_start_ns} ns, "
                    f"expected later than {max(previous_ns, 0)} ns: times must increase strictly from 0",
                )
            previous_ns = point.time_from_start_ns
            self._check_sizes(index, point.state)
        last = trajectory.points[-1].state.velocities
        if last is None or self._options.allow_nonzero_velocity_at_trajectory_end:
            return
        if (np.abs(last) > ZERO_VELOCITY_RAD_S).any():
            joint = int(np.argmax(np.abs(last)))
            raise TrajectoryRefusedError(
                ErrorCode.INVALID_GOAL,
                f"trajectory ends with {trajectory.joint_names[joint]} at {last[joint]:.4f} rad/s, expected 0; "
                "leave velocities out or set allow_nonzero_velocity_at_trajectory_end",
            )

    def _check_sizes(self, index: int, state: JointState) -> None:
        for name in ("positions", "velocities", "accelerations"):
            values = getattr(state, name)
            if values is None:
                continue
            if len(values) != len(self._joint_names):
                raise TrajectoryRefusedError(
                    ErrorCode.INVALID_GOAL,
                    f"trajectory point {index} has {len(values)} {name}, expected {len(self._joint_names)}",
                )
            if not np.isfinite(values).all():
                raise TrajectoryRefusedError(
                    ErrorCode.INVALID_GOAL,
                    f"trajectory point {index} has {name} {np.asarray(values).tolist()}, expected finite numbers",
                )
