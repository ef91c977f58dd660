"""Paired encode and decode between the contract's values and the numbers a network sees.

The same code runs when a dataset is read and on the robot; `decode(encode(x))` gives `x` back.
"""

from __future__ import annotations

import reprlib
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation
from typing_extensions import Self

from defi_models.config import PROPRIOCEPTION_WIDTH, ActionEncoding
from defi_models.contract import CheckpointError, ContractError, FloatArray

FloatImage = npt.NDArray[np.float32]
FIXED_AXES = "xyz"  # Euler angles as PyBullet, and so CALVIN, means them
DOWN = (1.0, 0.0, 0.0, 0.0)  # of a tool that points down; from the base it is half a turn, where rotation vectors jump
MINIMAL_SCALE = 1e-3  # an action that never moves is left as it is rather than blown up


@dataclass(frozen=True)
class ImageTransform:
    """Camera images to a network's input.

    Attributes:
        size: Height and width of the input [px].
    """

    size: int

    def encode(self, image: npt.NDArray[np.uint8]) -> FloatImage:
        """A uint8 RGB image (H, W, 3) as float32 (3, size, size) in -1..1; area averaging along edges that shrink."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ContractError(
                f"image: got {image.dtype} of shape {image.shape}, expected uint8 (height, width, 3), not empty"
            )
        height, width = image.shape[:2]
        whole = (self.size, self.size)
        smaller = (min(width, self.size), min(height, self.size))
        if smaller != (width, height):  # OpenCV averages areas only where nothing grows at the same time
            image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        if smaller != whole:
            image = cv2.resize(image, whole, interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
        return np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.float32) / 127.5 - 1.0

    @staticmethod
    def decode(pixels: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
        """Float images (..., 3, H, W) in -1..1 as uint8 (..., H, W, 3)."""
        return np.moveaxis(((pixels + 1.0) * 127.5).round().clip(0, 255).astype(np.uint8), -3, -1)


@dataclass(frozen=True)
class Statistics:
    """How the numbers of a dataset are normalised; computed from the data and stored with the checkpoint.

    Attributes:
        action_scale: Largest typical |value| of each number of an action (99th percentile); actions are divided by it.
        proprioception_mean: Mean of each proprioception number.
        proprioception_std: Standard deviation of each proprioception number.
    """

    action_scale: tuple[float, ...]
    proprioception_mean: tuple[float, ...]
    proprioception_std: tuple[float, ...]

    @classmethod
    def of(cls, actions: npt.NDArray[np.floating], proprioception: npt.NDArray[np.floating]) -> Self:
        """Statistics of raw actions (windows, steps, width) and proprioception (windows, width)."""
        scale = np.quantile(np.abs(actions.reshape(-1, actions.shape[-1])), 0.99, axis=0)
        scale[-1] = 1.0  # the gripper is -1..1 already
        return cls(
            tuple(np.maximum(scale, MINIMAL_SCALE).tolist()),
            tuple(proprioception.mean(0).tolist()),
            tuple(np.maximum(proprioception.std(0), 1e-2).tolist()),
        )

    @classmethod
    def from_dict(cls, values: Any, action_width: int, state_width: int = PROPRIOCEPTION_WIDTH) -> Self:
        """Reads back `to_dict` of a model whose actions and states have so many numbers.

        Raises:
            CheckpointError: a field is missing, has the wrong length, or is no list of numbers one can divide by.
        """
        wanted = {
            "action_scale": action_width,
            "proprioception_mean": state_width,
            "proprioception_std": state_width,
        }
        if not isinstance(values, dict):
            raise CheckpointError(f"statistics: got {reprlib.repr(values)}, expected an object with {list(wanted)}")
        for name, width in wanted.items():
            got, divides = values.get(name), name != "proprioception_mean"
            numbers = [one for one in got if type(one) in {int, float}] if isinstance(got, list) else []
            fits = isinstance(got, list) and len(got) == len(numbers) == width
            if not fits or not np.isfinite(numbers).all() or (divides and min(numbers) <= 0):
                what = "numbers above 0" if divides else "finite numbers"
                raise CheckpointError(f"statistics: got {name} = {got}, expected {width} {what}")
        return cls(**{name: tuple(values[name]) for name in wanted})

    def to_dict(self) -> dict:
        """For JSON."""
        return {name: list(value) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class ActionTransform:
    """Absolute arm targets to and from normalised actions.

    Attributes:
        statistics: How actions are normalised.
        encoding: What an action is. Every one ends with the gripper's opening mapped to -1..1.
            "relative_pose": translation [m] and rotation vector [rad], in the base frame, from the observed pose.
            "absolute_pose": position [m], and rotation vector [rad] from a tool that points straight down, in the base
            frame.
            "joint_positions": one number a joint [rad].
            "accumulated_pose": CALVIN's steps (defi-model 4.4, 7.1): translation [m] and change of the Euler angles
            about fixed x, y, z [rad], each from the target before, the first from the observed pose; the gripper
            opens above 0 and closes at 0 and below.
    """

    statistics: Statistics
    encoding: ActionEncoding = "relative_pose"

    def encode(self, targets: FloatArray, gripper: FloatArray, ee_pose: FloatArray) -> FloatArray:
        """Normalised actions (steps, width); see `raw_actions`."""
        return raw_actions(self.encoding, targets, gripper, ee_pose) / np.array(self.statistics.action_scale)

    def decode(self, actions: npt.NDArray[np.floating], ee_pose: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Targets (steps, 7 or joints) and openings (steps,) in 0..1 of normalised `actions` (steps, width)."""
        raw = np.asarray(actions, dtype=np.float64) * np.array(self.statistics.action_scale)
        opening = ((raw[:, -1] + 1) / 2).clip(0.0, 1.0)
        if self.encoding == "joint_positions":
            return raw[:, :-1], opening
        start = Rotation.from_quat(ee_pose[3:7])
        if self.encoding == "accumulated_pose":
            positions = ee_pose[:3] + raw[:, :3].cumsum(0)
            turned = Rotation.from_euler(FIXED_AXES, start.as_euler(FIXED_AXES) + raw[:, 3:6].cumsum(0))
            return np.concatenate([positions, turned.as_quat()], axis=1), (raw[:, -1] > 0).astype(np.float64)
        if self.encoding == "absolute_pose":
            turned = Rotation.from_rotvec(raw[:, 3:6]) * Rotation.from_quat(DOWN)
            return np.concatenate([raw[:, :3], turned.as_quat()], axis=1), opening
        turned = Rotation.from_rotvec(raw[:, 3:6]) * start
        return np.concatenate([ee_pose[:3] + raw[:, :3], turned.as_quat()], axis=1), opening


def raw_actions(encoding: ActionEncoding, targets: FloatArray, gripper: FloatArray, ee_pose: FloatArray) -> FloatArray:
    """Unnormalised actions (steps, width) of targets seen from an observed pose; see `ActionTransform`.

    Args:
        encoding: What an action is.
        targets: Poses (steps, 7), or joint positions (steps, joints) [rad].
        gripper: Wanted openings, (steps,).
        ee_pose: The observed pose, (7,).
    """
    opening = 2 * gripper[:, None] - 1
    if encoding == "joint_positions":
        return np.concatenate([targets, opening], axis=1)
    turns, start = Rotation.from_quat(targets[:, 3:7]), Rotation.from_quat(ee_pose[3:7])
    if encoding == "accumulated_pose":
        positions = np.concatenate([ee_pose[None, :3], targets[:, :3]])
        angles = np.concatenate([start.as_euler(FIXED_AXES)[None], turns.as_euler(FIXED_AXES)])
        steps = np.diff(np.unwrap(angles, axis=0), axis=0)
        return np.concatenate([np.diff(positions, axis=0), steps, opening], axis=1)
    if encoding == "absolute_pose":
        turned = turns * Rotation.from_quat(DOWN).inv()
        return np.concatenate([targets[:, :3], turned.as_rotvec(), opening], axis=1)
    return np.concatenate([targets[:, :3] - ee_pose[:3], (turns * start.inv()).as_rotvec(), opening], axis=1)


@dataclass(frozen=True)
class ProprioceptionTransform:
    """The arm's state to a network's input: joints, or a pose.

    The rotation is given as two columns, which has no jumps (Zhou et al. 2019).

    Attributes:
        statistics: How it is normalised.
        in_joints: Whether joints tell it.
    """

    statistics: Statistics
    in_joints: bool = False

    @staticmethod
    def raw(in_joints: bool, ee_pose: FloatArray, joints: FloatArray, gripper: float) -> FloatArray:
        """Unnormalised numbers of joints (joints,) [rad], or (10,) of a pose (7,), and an opening."""
        if in_joints:
            return np.concatenate([joints, [gripper]])
        columns = Rotation.from_quat(ee_pose[3:7]).as_matrix()[:, :2].T.ravel()
        return np.concatenate([ee_pose[:3], columns, [gripper]])

    def encode(self, ee_pose: FloatArray, joints: FloatArray, gripper: float) -> npt.NDArray[np.float32]:
        """Normalised numbers, clipped to 5 standard deviations."""
        mean, std = np.array(self.statistics.proprioception_mean), np.array(self.statistics.proprioception_std)
        raw = self.raw(self.in_joints, ee_pose, joints, gripper)
        if raw.shape != mean.shape:
            raise ContractError(
                f"proprioception: got {len(raw)} numbers, {len(joints)} joints, expected {len(mean)} numbers as in training"
            )
        return ((raw - mean) / std).clip(-5.0, 5.0).astype(np.float32)
