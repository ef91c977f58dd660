"""A Cartesian impedance controller that follows `target_pose`, as a joint position interface would show it.

The real controller makes torques; a position-controlled arm cannot feel them. So a virtual tool hangs on the spring
and damper of the real one, is kept near the measured tool, and the joints follow the virtual tool.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from defi_models.contract import NS_PER_S, POSE_DIMS, FloatArray
from defi_sim.controllers.interface import CommandRefusedError
from defi_sim.controllers.pose import pose_difference, pose_moved

CONTROLLER_TICK_S = 0.001  # the real controller runs at 1 kHz; its filter is defined per tick
MAX_STEP_S = 0.05  # a longer gap between updates is cut, so that the integration stays stable


class SolutionLike(Protocol):
    """What `Kinematics.inverse` answers."""

    @property
    def q(self) -> FloatArray:
        """The joints found, within their limits."""
        ...

    @property
    def reached(self) -> bool:
        """Whether they bring the tool to the pose."""
        ...


class CartesianSolver(Protocol):
    """The part of `defi_ros.control.kinematics.Kinematics` needed here."""

    def forward(self, q: FloatArray) -> FloatArray:
        """Pose of the tool, shape (7,)."""
        ...

    def inverse(self, pose: FloatArray, seed: FloatArray, posture: FloatArray | None = None) -> Any:
        """Joints for a pose, a `SolutionLike`; they lean to `posture` where the pose leaves freedom."""
        ...


@dataclass(frozen=True, slots=True)
class ImpedanceOptions:
    """Parameters of the controller; defaults are those of crisp_controllers (August 2025), except the two inertias.

    Attributes:
        stiffness_n_m: Translational spring [N/m].
        stiffness_nm_rad: Rotational spring [Nm/rad].
        target_filter: Part of the way to a new target taken in a controller tick, 0..1.
        error_clip_m: Largest distance the spring sees [m].
        error_clip_rad: Largest angle the spring sees [rad].
        mass_kg: Mass felt at the tool [kg]; a Panda in its ready posture has 2 to 6. The damper is critical.
        inertia_kg_m2: Rotational inertia felt at the tool [kg m^2].
        max_publishers: With more publishers than this on the topic, every message is ignored.
    """

    stiffness_n_m: float = 500.0
    stiffness_nm_rad: float = 30.0
    target_filter: float = 0.1
    error_clip_m: float = 0.1
    error_clip_rad: float = 0.5
    mass_kg: float = 3.0
    inertia_kg_m2: float = 0.12
    max_publishers: int = 1


@dataclass(frozen=True, slots=True)
class PoseCommand:
    """A target of the tool in the base frame, shape (7,), and how many publishers its topic had when it came."""

    pose: FloatArray
    publishers: int = 1


@dataclass(frozen=True, slots=True)
class PostureCommand:
    """The joints to lean to where the pose leaves freedom, by position, shape (joints,) [rad]; publishers as above."""

    positions: FloatArray
    publishers: int = 1


class CartesianPoseController:
    """Pulls the tool to the newest target with a spring; has no time-out and no limit on how far a target jumps.

    Attributes:
        ignored: Messages ignored because their topic had more than one publisher.
    """

    def __init__(self, solver: CartesianSolver, options: ImpedanceOptions | None = None) -> None:
        self._solver = solver
        self._options = options or ImpedanceOptions()
        self._active = False
        self._posture_moved = False
        self._last_ns = 0
        self.ignored = 0

    def check(self, command: PoseCommand | PostureCommand, now_ns: int) -> None:
        """Refuses a pose that is none, and a posture with a number that is not finite.

        Raises:
            CommandRefusedError: wrong shape, not finite, or a quaternion without direction.
        """
        if isinstance(command, PostureCommand):
            if not np.isfinite(command.positions).all():
                raise CommandRefusedError(f"target_joint: got {list(command.positions)}, expected finite positions")
            return
        pose = np.asarray(command.pose, dtype=np.float64)
        if pose.shape != (POSE_DIMS,) or not np.isfinite(pose).all() or np.linalg.norm(pose[3:]) < 1e-6:
            raise CommandRefusedError(
                f"target_pose: got {pose.tolist()}, expected 3 finite metres and a quaternion (x, y, z, w) of length 1"
            )

    def activate(self, now_ns: int, measured: FloatArray) -> None:
        """Makes the present pose the target."""
        self._q = np.array(measured, dtype=np.float64)
        self._pose = self._solver.forward(self._q)
        self._target = self._pose.copy()
        self._filtered = self._pose.copy()
        self._twist = np.zeros(6)
        self._posture = self._q.copy()
        self._last_ns = now_ns
        self._active = True

    def command(self, command: PoseCommand | PostureCommand, now_ns: int) -> None:
        """Takes a target, unless its topic has too many publishers; then it is ignored as the real one does.

        A posture is read by position, names or not; one of another length than the arm's is ignored too.

        Raises:
            CommandRefusedError: as `check`.
        """
        self.check(command, now_ns)
        if command.publishers > self._options.max_publishers:
            self.ignored += 1
            return
        if isinstance(command, PostureCommand):
            if len(command.positions) != len(self._posture):
                self.ignored += 1
                return
            self._posture = np.array(command.positions, dtype=np.float64)
            self._posture_moved = True
            return
        self._target = np.array(command.pose, dtype=np.float64)
        self._target[3:] /= np.linalg.norm(self._target[3:])

    def update(self, now_ns: int, measured: FloatArray) -> FloatArray | None:
        """The joint set points at `now_ns`, shape (joints,) [rad]; None before the controller is activated."""
        if not self._active:
            return None
        elapsed_s = min(max((now_ns - self._last_ns) / NS_PER_S, 0.0), MAX_STEP_S)
        self._last_ns = now_ns
        if elapsed_s == 0.0:
            return self._q
        self._filter_target(elapsed_s)
        before = self._pose.copy()
        self._swing(elapsed_s)
        self._stay_near(self._solver.forward(measured))
        if self._posture_moved or not np.array_equal(before, self._pose):
            self._posture_moved = False
            self._q = np.array(self._solver.inverse(self._pose, self._q, self._posture).q, dtype=np.float64)
        return self._q

    def _filter_target(self, elapsed_s: float) -> None:
        """Moves the filtered target as the controller's per-tick exponential average does in `elapsed_s`."""
        kept = (1.0 - self._options.target_filter) ** (elapsed_s / CONTROLLER_TICK_S)
        self._filtered = pose_moved(self._filtered, (1.0 - kept) * pose_difference(self._filtered, self._target))

    def _swing(self, elapsed_s: float) -> None:
        """Moves the virtual tool: spring on the clipped error, critical damper, exact for a constant error."""
        options = self._options
        error = _clipped(pose_difference(self._pose, self._filtered), options)
        for part, rate in (
            (slice(0, 3), np.sqrt(options.stiffness_n_m / options.mass_kg)),
            (slice(3, 6), np.sqrt(options.stiffness_nm_rad / options.inertia_kg_m2)),
        ):
            # x'' = rate^2 (e - x) - 2 rate x', from x = 0 and x' = v:  x = e + exp(-rate t) (-e + (v - rate e) t)
            fade = np.exp(-rate * elapsed_s)
            pull = self._twist[part] - rate * error[part]
            moved = error[part] + fade * (-error[part] + pull * elapsed_s)
            self._twist[part] = fade * (pull + rate * (error[part] - pull * elapsed_s))
            error[part] = moved
        if np.abs(error).max() > 1e-9:  # a spring at rest has nothing to do
            self._pose = pose_moved(self._pose, error)

    def _stay_near(self, measured_pose: FloatArray) -> None:
        """Keeps the virtual tool where the spring of a blocked arm could still hold it."""
        lead = pose_difference(measured_pose, self._pose)
        allowed = _clipped(lead, self._options)
        if not np.array_equal(lead, allowed):
            self._pose = pose_moved(measured_pose, allowed)


def _clipped(error: FloatArray, options: ImpedanceOptions) -> FloatArray:
    clipped = error.copy()
    for part, limit in ((slice(0, 3), options.error_clip_m), (slice(3, 6), options.error_clip_rad)):
        size = float(np.linalg.norm(error[part]))
        if size > limit:
            clipped[part] *= limit / size
    return clipped
