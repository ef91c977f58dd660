"""The waist of the project: the few values that models, robots and the simulator all speak.

Needs numpy alone. Everything here is frozen and validated at construction, so that whoever holds a value may trust it.

| value            | who makes it              | who reads it                        |
|------------------|---------------------------|-------------------------------------|
| `Observation`    | cameras + instruction     | `Policy.imagine`                    |
| `Imagination`    | `Policy.imagine` (GFDM)   | `Policy.act`, monitoring            |
| `Proprioception` | joint states + kinematics | `Policy.act`                        |
| `ActionChunk`    | `Policy.act` (GIDM)       | the arm's chunk schedule            |
| `PolicySpec`     | a checkpoint              | preflight, nodes                    |
| `RobotSpec`      | a robot file              | preflight, control core, simulator  |

Conventions: time is integer nanoseconds on one clock; a pose is (x, y, z, qx, qy, qz, qw) in metres and a unit
quaternion, in the robot's base frame (the order of geometry_msgs/Pose); a gripper opening is 0 closed .. 1 open;
images are uint8 RGB, shape (height, width, 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from defi_models.arrays import FloatArray, check_poses, frozen_array
from defi_models.errors import (  # noqa: F401  the errors belong to the contract, and everybody takes them from here
    CheckpointError,
    ConfigError,
    ContractError,
    DefiError,
    PreflightError,
    TaskError,
)
from defi_models.limits import TIP_LIMITS, JointLimits, Workspace  # noqa: F401  and so do the limits of a robot

ActionSpace = Literal["ee_pose", "joint_positions"]
ACTION_SPACES: tuple[ActionSpace, ...] = ("ee_pose", "joint_positions")
POSE_DIMS = 7
NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Observation:
    """What the cameras saw at one time, and what is asked for.

    Attributes:
        time_ns: Capture time all images are aligned to [ns].
        images: Camera name -> uint8 RGB, shape (height, width, 3); read-only.
        instruction: What to do, in English; not empty.
        scene: Ground truth of a simulated scene, name -> number, as on the topic `scene_state`; None on a real robot.
            Only the scripted policy reads it.
    """

    time_ns: int
    images: Mapping[str, npt.NDArray[np.uint8]]
    instruction: str
    scene: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if not self.instruction.strip():
            raise ContractError("instruction: got an empty text, expected what the robot should do, in words")
        frozen: dict[str, npt.NDArray[np.uint8]] = {}
        for name, image in self.images.items():
            if image.dtype != np.uint8:
                raise ContractError(f"image {name!r}: got dtype {image.dtype}, expected uint8")
            frozen[name] = frozen_array(f"image {name!r}", image, (None, None, 3), np.uint8)
        object.__setattr__(self, "images", MappingProxyType(frozen))


@dataclass(frozen=True, slots=True)
class Proprioception:
    """Where the arm was at one time.

    Attributes:
        time_ns: Time the values hold for [ns].
        positions: Joint positions, shape (joints,) [rad].
        ee_pose: Pose of the tool centre point in the base frame, shape (7,).
        gripper: Measured opening, 0 closed .. 1 open.
    """

    time_ns: int
    positions: FloatArray
    ee_pose: FloatArray
    gripper: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "positions", frozen_array("positions", self.positions, (None,)))
        object.__setattr__(self, "ee_pose", frozen_array("ee_pose", self.ee_pose, (POSE_DIMS,)))
        check_poses("ee_pose", self.ee_pose)
        if not -0.05 <= self.gripper <= 1.05:
            raise ContractError(f"gripper: got {self.gripper}, expected an opening in 0..1")


@dataclass(frozen=True, slots=True)
class Imagination:
    """What the GFDM expects to happen after one observation.

    Attributes:
        time_ns: Capture time of the observation it starts from [ns].
        instruction: The instruction it was conditioned on.
        policy: `PolicySpec.fingerprint` of the checkpoint that made it; `act` of another checkpoint refuses it.
        features: The GFDM's features, float32, shape `PolicySpec.feature_shape`; read-only, handed over by reference.
        inference_ms: How long imagining took [ms].
    """

    time_ns: int
    instruction: str
    policy: str
    features: npt.NDArray[np.float32]
    inference_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class ActionChunk:
    """Arm targets for the near future. Target k is due at `start_ns + k * step_ns`; late means skipped.

    Attributes:
        start_ns: Capture time of the observation the chunk was inferred from, when target 0 was due [ns].
        step_ns: Spacing of targets [ns].
        space: What a row of `targets` is.
        targets: "ee_pose": poses in the base frame, shape (steps, 7). "joint_positions": shape (steps, joints) [rad].
        gripper: Wanted opening at each step, shape (steps,), 0 closed .. 1 open.
        arm: The arm it is for, `RobotSpec.arm`.
        instruction: The instruction the policy was following.
        imagination_ms: How long the GFDM took for it [ms].
        inference_ms: How long the GIDM and the action decoder took [ms].
    """

    start_ns: int
    step_ns: int
    space: ActionSpace
    targets: FloatArray
    gripper: FloatArray
    arm: str
    instruction: str = ""
    imagination_ms: float = 0.0
    inference_ms: float = 0.0

    def __post_init__(self) -> None:
        if self.space not in ACTION_SPACES:
            raise ContractError(f"space: got {self.space!r}, expected one of {list(ACTION_SPACES)}")
        if self.step_ns <= 0:
            raise ContractError(f"step_ns: got {self.step_ns}, expected a positive number of nanoseconds")
        width = POSE_DIMS if self.space == "ee_pose" else None
        targets = frozen_array("targets", self.targets, (None, width))
        if len(targets) == 0:
            raise ContractError("targets: got 0 steps, expected at least 1")
        if self.space == "ee_pose":
            check_poses("targets", targets)
        object.__setattr__(self, "targets", targets)
        object.__setattr__(self, "gripper", frozen_array("gripper", self.gripper, (len(targets),)))

    @property
    def end_ns(self) -> int:
        """When the last target is due [ns]."""
        return self.start_ns + (len(self.targets) - 1) * self.step_ns


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """What a policy needs and gives; stored in its checkpoint and compared with the robot by preflight.

    Attributes:
        name: Name of the policy, as in `nano`.
        fingerprint: Identifies the weights, so that two processes know that they loaded the same ones.
        arm: The arm it was trained for, or "any".
        cameras: Cameras it looks through, in the order of its features.
        image_size: (height, width) it resizes images to [px].
        space: The action space of its chunks.
        chunk_steps: Targets in a chunk.
        step_ns: Spacing of targets [ns].
        feature_shape: Shape of `Imagination.features`.
        reads_tool_pose: Whether the networks are given the pose of the tool; where targets are poses, it is needed anyway.
        needs_scene: Whether `imagine` needs `Observation.scene` (the scripted policy).
        joints: Joints of a target in joint positions; None where targets are poses.
        horizon_steps: Targets it wants carried out before it looks again; None leaves that to the robot.
    """

    name: str
    fingerprint: str
    arm: str
    cameras: tuple[str, ...]
    image_size: tuple[int, int]
    space: ActionSpace
    chunk_steps: int
    step_ns: int
    feature_shape: tuple[int, ...]
    reads_tool_pose: bool = True
    needs_scene: bool = False
    joints: int | None = None
    horizon_steps: int | None = None

    def __post_init__(self) -> None:
        if self.chunk_steps < 1 or self.step_ns < 1:
            raise ContractError(
                f"policy {self.name!r}: got chunk_steps {self.chunk_steps} and step_ns {self.step_ns}, expected both positive"
            )
        if self.space not in ACTION_SPACES:
            raise ContractError(
                f"policy {self.name!r}: got space {self.space!r}, expected one of {list(ACTION_SPACES)}"
            )


@dataclass(frozen=True, slots=True)
class RobotSpec:
    """What an arm is: its joints, its limits and its cameras. Made from a robot file.

    Attributes:
        name: Name of the robot file, as in `franka`.
        arm: The kind of arm, as in `franka_panda`; policies are trained for one.
        joint_names: Names in the order of every joint array.
        limits: Joint limits.
        workspace: Limits of the tool centre point.
        home: Rest posture, shape (joints,) [rad].
        tip_frame: Frame of the tool centre point in the robot description.
        cameras: Names of its cameras.
    """

    name: str
    arm: str
    joint_names: tuple[str, ...]
    limits: JointLimits
    workspace: Workspace
    home: FloatArray
    tip_frame: str
    cameras: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "home", frozen_array("home", self.home, (len(self.joint_names),)))
        if len(self.limits.lower) != len(self.joint_names):
            raise ContractError(
                f"robot {self.name!r}: got limits for {len(self.limits.lower)} joints, "
                f"expected {len(self.joint_names)}: {list(self.joint_names)}"
            )


@dataclass(frozen=True, slots=True)
class Promised:
    """What an arm does until the chunk that is to be inferred, and would go on to do without it.

    Attributes:
        chunk: Targets of the chunk in execution, at the times of the new one's first ones.
        weights: How much each of them binds, shape (targets,): 1 is carried out whatever comes, 0 is free.
    """

    chunk: ActionChunk
    weights: FloatArray

    def __post_init__(self) -> None:
        weights = frozen_array("promised.weights", self.weights, (len(self.chunk.targets),))
        if ((weights < 0.0) | (weights > 1.0)).any():
            raise ContractError(f"promised.weights: got {weights.tolist()}, expected 0 to 1")
        object.__setattr__(self, "weights", weights)


@runtime_checkable
class Policy(Protocol):
    """A learned or scripted policy: imagine first, then infer the motion that would cause it.

    Both calls are made from one thread at a time. Neither keeps a clock: time is in the values.
    The two halves may live in two processes; each then calls only its own.
    """

    @property
    def spec(self) -> PolicySpec:
        """What this policy needs and gives."""
        ...

    def imagine(self, observation: Observation) -> Imagination:
        """The features of the frames to come (GFDM)."""
        ...

    def act(
        self, imagination: Imagination, proprioception: Proprioception, promised: Promised | None = None
    ) -> ActionChunk:
        """The arm targets that would cause them (GIDM and action decoder).

        Args:
            imagination: What `imagine` gave.
            proprioception: The arm at that time.
            promised: What the arm does until then; a policy that can, continues it.
        """
        ...

    def watch(self, imagination: Imagination) -> Mapping[str, npt.NDArray[np.uint8]]:
        """The imagined frames for people: camera name -> uint8 RGB, shape (frames, height, width, 3). May be empty."""
        ...
