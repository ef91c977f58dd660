"""MoveIt Servo: twists and poses with a stamp, which it checks against its own clock; it halts when they are late."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from defi_models.contract import NS_PER_S, POSE_DIMS, FloatArray
from defi_sim.controllers.cartesian_pose import CartesianSolver
from defi_sim.controllers.interface import CommandRefusedError
from defi_sim.controllers.pose import pose_difference, pose_moved

MAX_STEP_S = 0.05  # a longer gap between updates is cut, so that the arm does not jump after it


class CommandType(IntEnum):
    """What Servo listens to; the numbers are those of moveit_msgs/srv/ServoCommandType."""

    JOINT_JOG = 0
    TWIST = 1
    POSE = 2


class ServoCode(IntEnum):
    """How Servo fares; the numbers are those of moveit_msgs/msg/ServoStatus."""

    INVALID = -1
    NO_WARNING = 0
    HALT_FOR_SINGULARITY = 2
    JOINT_BOUND = 6


@dataclass(frozen=True, slots=True)
class ServoOptions:
    """Parameters of Servo, with its names and defaults where it has one.

    Attributes:
        incoming_command_timeout: A command whose stamp is older than this halts the arm [s].
        pose_gain_hz: Part of the way to a pose target made in a second [1/s].
        max_linear_m_s: Fastest towards a pose target [m/s].
        max_angular_rad_s: Fastest turn towards a pose target [rad/s].
        halt_s: Time constant of the smooth halt [s].
    """

    incoming_command_timeout: float = 0.1
    pose_gain_hz: float = 12.0
    max_linear_m_s: float = 0.4
    max_angular_rad_s: float = 0.8
    halt_s: float = 0.03


@dataclass(frozen=True, slots=True)
class ServoCommand:
    """A twist, shape (6,) [m/s, rad/s], or a pose, shape (7,), of the tool in the base frame, and its stamp [ns]."""

    kind: CommandType
    values: FloatArray
    stamp_ns: int


class ServoController:
    """Follows the newest command of the chosen type as long as its stamp is fresh.

    Attributes:
        command_type: What it listens to.
        paused: Whether it does nothing.
        code: How it fares.
        ignored: Commands of another type than the chosen one, dropped with a warning.
    """

    def __init__(self, solver: CartesianSolver, options: ServoOptions | None = None) -> None:
        self._solver = solver
        self._options = options or ServoOptions()
        self._command: ServoCommand | None = None
        self._twist = np.zeros(6)
        self._q: FloatArray | None = None
        self._last_ns = 0
        self.command_type = CommandType.JOINT_JOG
        self.paused = False
        self.code = ServoCode.NO_WARNING
        self.ignored = 0

    def switch_command_type(self, number: int) -> bool:
        """Listens to another type of command from now on; False when there is no such type."""
        if number not in [kind.value for kind in CommandType]:
            return False
        self.command_type, self._command = CommandType(number), None
        return True

    def check(self, command: ServoCommand, now_ns: int) -> None:
        """Refuses values that are not finite, or too many or too few.

        Raises:
            CommandRefusedError: with what was got.
        """
        wanted = POSE_DIMS if command.kind == CommandType.POSE else 6
        if command.values.shape != (wanted,) or not np.isfinite(command.values).all():
            raise CommandRefusedError(
                f"servo {command.kind.name.lower()}: got {command.values.tolist()}, expected {wanted} finite numbers"
            )

    def activate(self, now_ns: int, measured: FloatArray) -> None:
        """Starts from where the arm is, with no command."""
        self._q = np.array(measured, dtype=np.float64)
        self._pose = self._solver.forward(self._q)
        self._twist = np.zeros(6)
        self._command = None
        self._last_ns = now_ns

    def command(self, command: ServoCommand, now_ns: int) -> None:
        """Takes a command, unless it is of another type than the chosen one.

        Raises:
            CommandRefusedError: as `check`.
        """
        self.check(command, now_ns)
        if command.kind != self.command_type:
            self.ignored += 1
            return
        self._command = command

    def update(self, now_ns: int, measured: FloatArray) -> FloatArray | None:
        """The joint set points at `now_ns`, shape (joints,) [rad]; None before the controller is activated."""
        if self._q is None:
            return None
        elapsed_s = min(max((now_ns - self._last_ns) / NS_PER_S, 0.0), MAX_STEP_S)
        self._last_ns = now_ns
        wanted = self._wanted(now_ns)
        if wanted is None:
            self._twist = self._twist * np.exp(-elapsed_s / self._options.halt_s)
        else:
            self._twist = wanted
        if elapsed_s == 0.0 or np.abs(self._twist).max() < 1e-6:
            return self._q
        target = pose_moved(self._pose, self._twist * elapsed_s)
        solution = self._solver.inverse(target, self._q)
        self.code = ServoCode.NO_WARNING if solution.reached else ServoCode.JOINT_BOUND
        if solution.reached:
            self._pose, self._q = target, np.array(solution.q, dtype=np.float64)
        return self._q

    def _wanted(self, now_ns: int) -> FloatArray | None:
        """The twist wanted now, or None when the arm shall halt."""
        command = self._command
        if self.paused or command is None:
            return None
        if now_ns - command.stamp_ns > self._options.incoming_command_timeout * NS_PER_S:
            return None
        if command.kind == CommandType.TWIST:
            return command.values
        twist = self._options.pose_gain_hz * pose_difference(self._pose, command.values)
        for part, limit in (
            (slice(0, 3), self._options.max_linear_m_s),
            (slice(3, 6), self._options.max_angular_rad_s),
        ):
            size = float(np.linalg.norm(twist[part]))
            if size > limit:
                twist[part] *= limit / size
        return twist
