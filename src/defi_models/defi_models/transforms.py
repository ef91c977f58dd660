"""Paired encode and decode between the contract's values and the numbers a network sees.

The same code runs when a dataset is read and on the robot; `decode(encode(x))` gives `x` back.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation
from typing_extensions import Self

from defi_models.contract import CheckpointError, ContractError, FloatArray

FloatImage = npt.NDArray[np.float32]
ACTION_WIDTH = 7  # translation 3, rotation vector 3, gripper 1
PROPRIOCEPTION_WIDTH = 10  # position 3, first two columns of the rotation 6, gripper 1
MINIMAL_SCALE = 1e-3  # an action that never moves is left as it is rather than blown up


@dataclass(frozen=True)
class ImageTransform:
    """Camera images to a network's input.

    Attributes:
        size: Height and width of the input [px].
    """

    size: int

    def encode(self, image: npt.NDArray[np.uint8]) -> FloatImage:
        """A uint8 RGB image (H, W, 3) as float32 (3, size, size) in -1..1; area averaging when it shrinks."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ContractError(f"image: got {image.dtype} of shape {image.shape}, expected uint8 (height, width, 3)")
        if image.shape[:2] != (self.size, self.size):
            shrinks = image.shape[0] >= self.size
            image = cv2.resize(  # type: ignore[assignment]
                image, (self.size, self.size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            )
        return np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.float32) / 127.5 - 1.0

    @staticmethod
    def decode(pixels: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
        """Float images (..., 3, H, W) in -1..1 as uint8 (..., H, W, 3)."""
        return np.moveaxis(((pixels + 1.0) * 127.5).round().clip(0, 255).astype(np.uint8), -3, -1)


@dataclass(frozen=True)
class Statistics:
    """How the numbers of a dataset are normalised; computed from the data and stored with the checkpoint.

    Attributes:
        action_scale: Largest typical |value| of each of the 7 action numbers (99th percentile); actions are divided by it.
        proprioception_mean: Mean of each proprioception number.
        proprioception_std: Standard deviation of each proprioception number.
    """

    action_scale: tuple[float, ...]
    proprioception_mean: tuple[float, ...]
    proprioception_std: tuple[float, ...]

    @classmethod
    def of(cls, actions: npt.NDArray[np.floating], proprioception: npt.NDArray[np.floating]) -> Self:
        """Statistics of raw actions (windows, steps, 7) and proprioception (windows, 10)."""
        scale = np.quantile(np.abs(actions.reshape(-1, actions.shape[-1])), 0.99, axis=0)
        scale[-1] = 1.0  # the gripper is -1..1 already
        return cls(
            tuple(np.maximum(scale, MINIMAL_SCALE).tolist()),
            tuple(proprioception.mean(0).tolist()),
            tuple(np.maximum(proprioception.std(0), 1e-2).tolist()),
        )

    @classmethod
    def from_dict(cls, values: dict) -> Self:
        """Reads back `to_dict`.

        Raises:
            CheckpointError: a field is missing or has the wrong length.
        """
        wanted = {
            "action_scale": ACTION_WIDTH,
            "proprioception_mean": PROPRIOCEPTION_WIDTH,
            "proprioception_std": PROPRIOCEPTION_WIDTH,
        }
        for name, width in wanted.items():
            got = values.get(name)
            if not isinstance(got, list) or len(got) != width or not np.isfinite(got).all():
                raise CheckpointError(f"statistics: got {name} = {got}, expected {width} finite numbers")
        return cls(**{name: tuple(values[name]) for name in wanted})

    def to_dict(self) -> dict:
        """For JSON."""
        return {name: list(value) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class ActionTransform:
    """Absolute arm targets to and from normalised actions relative to the pose at the observation.

    An action is (translation [m], rotation vector [rad]), both in the base frame, from the observed pose to the target,
    and the gripper's opening mapped to -1..1.
    """

    statistics: Statistics

    @staticmethod
    def relative(targets: FloatArray, gripper: FloatArray, ee_pose: FloatArray) -> FloatArray:
        """Unnormalised actions (steps, 7) of target poses (steps, 7) and openings (steps,), seen from `ee_pose` (7,)."""
        turn = Rotation.from_quat(targets[:, 3:7]) * Rotation.from_quat(ee_pose[3:7]).inv()
        return np.concatenate([targets[:, :3] - ee_pose[:3], turn.as_rotvec(), 2 * gripper[:, None] - 1], axis=1)

    def encode(self, targets: FloatArray, gripper: FloatArray, ee_pose: FloatArray) -> FloatArray:
        """Normalised actions (steps, 7); see `relative`."""
        return self.relative(targets, gripper, ee_pose) / np.array(self.statistics.action_scale)

    def decode(self, actions: FloatArray, ee_pose: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Target poses (steps, 7) and openings (steps,) in 0..1 of normalised `actions` (steps, 7)."""
        raw = np.asarray(actions, dtype=np.float64) * np.array(self.statistics.action_scale)
        turned = Rotation.from_rotvec(raw[:, 3:6]) * Rotation.from_quat(ee_pose[3:7])
        targets = np.concatenate([ee_pose[:3] + raw[:, :3], turned.as_quat()], axis=1)
        return targets, ((raw[:, 6] + 1) / 2).clip(0.0, 1.0)


@dataclass(frozen=True)
class ProprioceptionTransform:
    """The arm's state to a network's input; the rotation as two columns, which has no jumps (Zhou et al. 2019)."""

    statistics: Statistics

    @staticmethod
    def raw(ee_pose: FloatArray, gripper: float) -> FloatArray:
        """Unnormalised numbers (10,) of a pose (7,) and an opening."""
        columns = Rotation.from_quat(ee_pose[3:7]).as_matrix()[:, :2].T.ravel()
        return np.concatenate([ee_pose[:3], columns, [gripper]])

    def encode(self, ee_pose: FloatArray, gripper: float) -> npt.NDArray[np.float32]:
        """Normalised numbers (10,), clipped to 5 standard deviations."""
        mean, std = np.array(self.statistics.proprioception_mean), np.array(self.statistics.proprioception_std)
        return ((self.raw(ee_pose, gripper) - mean) / std).clip(-5.0, 5.0).astype(np.float32)
