"""Demonstrations: an expert's plan carried out with disturbances, seen by the cameras, labelled with the plan itself.

The labels stay free of the disturbance, so that a learner sees how to come back from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from defi_models.contract import NS_PER_S, ConfigError, FloatArray
from defi_ros.control.kinematics import Kinematics
from defi_sim.description import ARM_JOINTS, TIP_FRAME, robot_description
from defi_sim.experts import plan
from defi_sim.state import SceneState
from defi_sim.task import Task
from defi_sim.tasks import task_named
from defi_sim.trajectory import Trajectory
from defi_sim.world import REST_POSTURE, World

CONTROL_HZ = 100
NOISE_TIME_S = 0.5  # correlation time of the disturbance
TURN_NOISE_RAD_PER_M = 3.0  # turned by 0.03 rad where it is moved by 1 cm
HOLD_S = 0.5  # recorded standing still after the plan's end


@dataclass(frozen=True, slots=True)
class Demonstration:
    """One recorded attempt; T samples every `step_ns`.

    Attributes:
        task: Name of the task.
        instruction: One of the task's instructions.
        success: Whether the oracle found it done: at the end, or once if that ended it.
        step_ns: Spacing of samples [ns].
        times_ns: Time of each sample since the start, shape (T,) [ns].
        images: Camera -> uint8 RGB, shape (T, height, width, 3).
        joint_positions: Measured, shape (T, 7) [rad].
        ee_pose: Measured pose of the tool centre point, shape (T, 7).
        gripper: Measured opening, shape (T,), 0..1.
        target_pose: The plan's target due at each time, without the disturbance, shape (T, 7).
        target_gripper: The plan's opening due at each time, shape (T,), 0..1.
        start: The scene at the start.
        end: The scene at the end.
    """

    task: str
    instruction: str
    success: bool
    step_ns: int
    times_ns: npt.NDArray[np.int64]
    images: Mapping[str, npt.NDArray[np.uint8]]
    joint_positions: FloatArray
    ee_pose: FloatArray
    gripper: FloatArray
    target_pose: FloatArray
    target_gripper: FloatArray
    start: SceneState
    end: SceneState


class Disturbance:
    """A smooth random offset of position and rotation: white noise through two first-order low-passes."""

    def __init__(self, rng: np.random.Generator, noise_m: float, step_s: float):
        """`noise_m` is the standard deviation of each coordinate once settled [m]."""
        self._rng = rng
        self._keep = math.exp(-2.0 * step_s / NOISE_TIME_S)
        self._scale = np.array([noise_m] * 3 + [noise_m * TURN_NOISE_RAD_PER_M] * 3)
        self._inner, self._outer = np.zeros(6), np.zeros(6)

    def advance(self) -> FloatArray:
        """The offset now: x, y, z [m] and a rotation vector [rad], shape (6,)."""
        keep = self._keep
        self._inner = keep * self._inner + math.sqrt(1.0 - keep**2) * self._rng.standard_normal(6)
        self._outer = keep * self._outer + (1.0 - keep) * self._inner
        # The second filter passes 1/sqrt(2) of the first one's deviation.
        return math.sqrt(2.0) * self._scale * self._outer


def displaced(pose: FloatArray, offset: FloatArray) -> FloatArray:
    """`pose`, shape (7,), moved and turned by a small `offset`, shape (6,), in the base frame."""
    x, y, z = offset[3:] / 2.0
    a, b, c, w = pose[3:]
    turned = np.array(
        [a + x * w + y * c - z * b, b - x * c + y * w + z * a, c + x * b - y * a + z * w, w - x * a - y * b - z * c]
    )
    return np.concatenate([pose[:3] + offset[:3], turned / np.linalg.norm(turned)])


class Follower:
    """Brings the tool centre point of a world along poses, through inverse kinematics and the arm's servos."""

    def __init__(self, world: World):
        self._world = world
        self._kinematics = Kinematics(robot_description(), ARM_JOINTS, TIP_FRAME)
        self._joints = world.joint_positions()

    def follow(self, pose: FloatArray, gripper: float) -> None:
        """Commands one set point; poses out of reach lead as near as the joints allow."""
        self._joints = self._kinematics.inverse(pose, self._joints, REST_POSTURE, max_iterations=8).q
        self._world.command_joints(self._joints)
        self._world.command_gripper(gripper)


def execute(world: World, trajectory: Trajectory, rng: np.random.Generator, noise_m: float = 0.0) -> None:
    """Carries a trajectory out from the world's present state, without cameras."""
    for _ in _ticks(world, trajectory, rng, noise_m, trajectory.duration_s + HOLD_S):
        pass


def _ticks(
    world: World, trajectory: Trajectory, rng: np.random.Generator, noise_m: float, duration_s: float
) -> Iterator[tuple[int, float]]:
    """Yields the time since the start before each command, then commands and advances physics by one control step."""
    follower, disturbance = Follower(world), Disturbance(rng, noise_m, 1.0 / CONTROL_HZ)
    steps = round(1.0 / CONTROL_HZ / world.TIMESTEP_S)
    for tick in range(round(duration_s * CONTROL_HZ) + 1):
        t_s = tick / CONTROL_HZ
        yield tick, t_s
        pose, gripper = trajectory.sample(t_s)
        if noise_m > 0:
            pose = displaced(pose, trajectory.freedom_at(t_s) * disturbance.advance())
        follower.follow(pose, gripper)
        world.step(steps)


def demonstrate(
    world: World,
    task: Task | str,
    rng: np.random.Generator,
    rate_hz: int = 10,
    noise_m: float = 0.01,
    stop_after_s: float | None = None,
) -> Demonstration:
    """Lets the expert do `task` from the world's present state and records it.

    Args:
        world: The world, reset to a start in which the task is feasible (`World.reset(seed, task=...)`).
        task: The task or its name.
        rng: Draws the instruction, the expert's free choices and the disturbance.
        rate_hz: Samples a second; must divide 100.
        noise_m: Standard deviation of the disturbance of each coordinate [m]; 0 for none.
        stop_after_s: How long to go on once the oracle finds the task done [s]; None carries the plan out to its end.

    Raises:
        TaskError: the task cannot be done from here.
        ConfigError: the rate does not divide the control rate.
    """
    if rate_hz < 1 or CONTROL_HZ % rate_hz:
        raise ConfigError(f"rate_hz: got {rate_hz}, expected a divisor of {CONTROL_HZ}")
    asked = task_named(task) if isinstance(task, str) else task
    start = world.scene()
    trajectory = plan(asked, start, world.ee_pose(), world.gripper_opening(), rng)
    instruction = asked.instructions[int(rng.integers(len(asked.instructions)))]
    images: dict[str, list[npt.NDArray[np.uint8]]] = {camera: [] for camera in world.cameras}
    rows: list[tuple[float, FloatArray, FloatArray, float, FloatArray, float]] = []
    stop_s = math.inf
    for tick, t_s in _ticks(world, trajectory, rng, noise_m, trajectory.duration_s + HOLD_S):
        if tick % (CONTROL_HZ // rate_hz) == 0:
            for camera, frame in world.look().items():
                images[camera].append(frame)
            rows.append(
                (t_s, world.joint_positions(), world.ee_pose(), world.gripper_opening(), *trajectory.sample(t_s))
            )
        if stop_after_s is not None and math.isinf(stop_s) and asked.success(start, world.scene()):
            stop_s = t_s + stop_after_s
        if t_s >= stop_s:
            break
    times_s, joints, poses, gripper, target_pose, target_gripper = map(np.array, zip(*rows, strict=True))
    end = world.scene()
    return Demonstration(
        task=asked.name,
        instruction=instruction,
        success=stop_s < math.inf or asked.success(start, end),
        step_ns=NS_PER_S // rate_hz,
        times_ns=np.round(times_s * NS_PER_S).astype(np.int64),
        images={camera: np.stack(frames) for camera, frames in images.items()},
        joint_positions=joints,
        ee_pose=poses,
        gripper=gripper,
        target_pose=target_pose,
        target_gripper=target_gripper,
        start=start,
        end=end,
    )
