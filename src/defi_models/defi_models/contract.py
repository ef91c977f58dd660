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
from dataclasses import dataclass, field, replace
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

ActionSpace = Literal["ee_pose", "joint_positions"]
ACTION_SPACES: tuple[ActionSpace, ...] = ("ee_pose", "joint_positions")
POSE_DIMS = 7
NS_PER_S = 1_000_000_000
UNIT_SLACK = 1e-6
PROJECTIONS = 8  # walls at right angles need one


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
        uses_proprioception: Whether `act` looks at more of the arm than the pose it moves relative to.
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
    uses_proprioception: bool = True
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
class JointLimits:
    """What the arm's joints may do; each of shape (joints,).

    Attributes:
        lower: Lowest position [rad].
        upper: Highest position [rad].
        velocity: Largest speed [rad/s].
        acceleration: Largest acceleration [rad/s^2].
        jerk: Largest jerk [rad/s^3].
    """

    lower: FloatArray
    upper: FloatArray
    velocity: FloatArray
    acceleration: FloatArray
    jerk: FloatArray

    def __post_init__(self) -> None:
        count = len(self.lower)
        for name in ("lower", "upper", "velocity", "acceleration", "jerk"):
            object.__setattr__(self, name, frozen_array(f"limits.{name}", getattr(self, name), (count,)))
        if (self.lower >= self.upper).any():
            joint = int(np.argmax(self.lower >= self.upper))
            raise ContractError(
                f"limits of joint {joint}: got lower {self.lower[joint]} and upper {self.upper[joint]}, expected lower < upper"
            )
        for name in ("velocity", "acceleration", "jerk"):
            if (getattr(self, name) <= 0).any():
                raise ContractError(f"limits.{name}: got {getattr(self, name).tolist()}, expected positive numbers")


TIP_LIMITS = (
    "velocity_m_s", "acceleration_m_s2", "jerk_m_s3", "velocity_rad_s", "acceleration_rad_s2", "jerk_rad_s3",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where the tool centre point may be, a box cut by planes, and how it may go there, in the base frame.

    Attributes:
        lower: Lowest corner, shape (3,) [m].
        upper: Highest corner, shape (3,) [m].
        velocity_m_s: Largest speed of the tool centre point [m/s].
        planes: Rows (x, y, z, offset), shape (planes, 4): points p with x, y, z . p >= offset [m] are inside; of unit length.
        acceleration_m_s2, jerk_m_s3: Of what is asked of it; a stop is as short as the joints can make it.
        velocity_rad_s, acceleration_rad_s2, jerk_rad_s3: The same for turning.
    """

    lower: FloatArray
    upper: FloatArray
    velocity_m_s: float
    planes: FloatArray = field(default_factory=lambda: np.zeros((0, 4)))
    acceleration_m_s2: float = field(kw_only=True)
    jerk_m_s3: float = field(kw_only=True)
    velocity_rad_s: float = field(kw_only=True)
    acceleration_rad_s2: float = field(kw_only=True)
    jerk_rad_s3: float = field(kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "planes", frozen_array("workspace.planes", self.planes, (len(self.planes), 4)))
        if (np.abs(np.linalg.norm(self.planes[:, :3], axis=1) - 1.0) > UNIT_SLACK).any():
            raise ContractError(f"workspace.planes: got {self.planes.tolist()}, expected normals of unit length")
        object.__setattr__(self, "lower", frozen_array("workspace.lower", self.lower, (3,)))
        object.__setattr__(self, "upper", frozen_array("workspace.upper", self.upper, (3,)))
        if (self.lower >= self.upper).any():
            raise ContractError(
                f"workspace: got lower {self.lower.tolist()} and upper {self.upper.tolist()}, expected lower < upper"
            )
        for name in TIP_LIMITS:
            if getattr(self, name) <= 0:
                raise ContractError(f"workspace.{name}: got {getattr(self, name)}, expected a positive number")

    def outside_m(self, point: FloatArray) -> FloatArray:
        """How far outside each wall points (..., 3) are, lower, upper and planes, shape (..., 6 + planes) [m]."""
        behind = self.planes[:, 3] - point @ self.planes[:, :3].T
        return np.concatenate([self.lower - point, point - self.upper, behind], axis=-1)

    def moved_out(self, walls_m: FloatArray) -> Workspace:
        """The same with each wall moved outwards, shape (6 + planes,) [m]."""
        if not walls_m.any():
            return self
        planes = self.planes.copy()
        planes[:, 3] -= walls_m[6:]
        return replace(self, lower=self.lower - walls_m[:3], upper=self.upper + walls_m[3:6], planes=planes)

    def nearest(self, point: FloatArray) -> FloatArray:
        """The point itself where it is inside, else one at the wall near it, shape (3,) [m]."""
        inside = np.minimum(np.maximum(point, self.lower), self.upper)
        for _ in range(PROJECTIONS if len(self.planes) else 0):  # one wall after the other, until none is left behind
            for plane in self.planes:
                inside = inside + max(float(plane[3] - plane[:3] @ inside), 0.0) * plane[:3]
            inside = np.minimum(np.maximum(inside, self.lower), self.upper)
        return inside


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
