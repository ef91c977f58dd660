"""Episodes on disk: what a camera saw, where the arm was and where it was told to go, one file an episode.

<folder>/episode_000000.npz   arrays of `Episode`; images are PNG, packed in one buffer a camera
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from defi_models.contract import FloatArray
from defi_models.datasets.reading import DatasetError, reading
from defi_models.files import whole

GRIPPER_SLACK = 0.02  # an opening measured may be a little out of 0..1
NORM_SLACK = 0.05  # quaternions are rounded where they are written; anything farther from 1 is something else


@dataclass(frozen=True)
class Clip:
    """What cameras saw, sampled at a fixed step; T samples. Action-free: an `Episode` also has the arm.

    Attributes:
        task: Name of the task; empty if unknown.
        instructions: Sentences that ask for it; any of them fits. May be none.
        step_ns: Time between samples [ns].
        images: Camera -> uint8 RGB, (T, H, W, 3).
    """

    task: str
    instructions: tuple[str, ...]
    step_ns: int
    images: Mapping[str, npt.NDArray[np.uint8]]

    def __post_init__(self) -> None:
        if not self.images or self.step_ns <= 0:
            raise DatasetError(
                f"clip: got cameras {sorted(self.images)} and a step of {self.step_ns} ns, expected at least one and above 0"
            )
        for camera, images in self.images.items():
            if (
                images.ndim != 4
                or images.shape[-1] != 3
                or images.dtype != np.uint8
                or not 0 < len(images) == len(self)
            ):
                raise DatasetError(
                    f"clip: got {images.dtype} images of shape {images.shape} from camera {camera}, expected uint8 "
                    f"({len(self)}, height, width, 3), as many of each camera and at least one"
                )

    def __len__(self) -> int:
        """Samples."""
        return len(next(iter(self.images.values())))


@dataclass(frozen=True)
class Episode(Clip):
    """One demonstration.

    Attributes:
        success: Whether it did what was asked.
        joint_positions: Measured, (T, joints) [rad]; (T, 0) where they are not known.
        ee_pose: Measured pose of the tool centre point, (T, 7); not a number where only joints are known.
        gripper: Measured opening, (T,).
        target_pose: Pose the arm was to have at each sample's time, (T, 7); not a number like `ee_pose`.
        target_gripper: Opening it was to have, (T,).
        target_joints: Joints the arm was to have, (T, joints) [rad]; (T, 0) where that is not known.
    """

    success: bool
    joint_positions: FloatArray
    ee_pose: FloatArray
    gripper: FloatArray
    target_pose: FloatArray
    target_gripper: FloatArray
    target_joints: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.target_joints.size:
            object.__setattr__(self, "target_joints", np.zeros((len(self), 0)))
        in_joints = self.joint_positions.shape[1:] == self.target_joints.shape[1:] != (0,)
        widths = {"ee_pose": (7,), "gripper": (), "target_pose": (7,), "target_gripper": ()}
        for name in _ARRAYS:
            values = getattr(self, name)
            expected = (len(self), *widths.get(name, values.shape[1:]))
            if values.shape != expected:
                raise DatasetError(f"episode: got {name} of shape {values.shape}, expected {expected}")
            unknown = in_joints and name in ("ee_pose", "target_pose") and np.isnan(values).all()
            if not unknown and not np.isfinite(values).all():
                row = int(np.argwhere(~np.isfinite(values))[0][0])
                raise DatasetError(f"episode: got {name} that is not finite in sample {row}, expected numbers")
        for name in ("ee_pose", "target_pose"):
            self._check_rows(name, np.linalg.norm(getattr(self, name)[:, 3:], axis=1), 1, 1, NORM_SLACK, "norm")
        for name in ("gripper", "target_gripper"):
            self._check_rows(name, getattr(self, name), 0, 1, GRIPPER_SLACK, "opening")

    def _check_rows(self, name: str, values: FloatArray, low: float, high: float, slack: float, what: str) -> None:
        wrong = np.flatnonzero((values < low - slack) | (values > high + slack))
        if len(wrong):
            expected = f"{low:g}" if low == high else f"{low:g}..{high:g}"
            raise DatasetError(
                f"episode: got {name} of {what} {values[wrong[0]]:.3g} in sample {wrong[0]}, expected {what} {expected}"
            )


_LABELS = ("task", "instructions", "success", "step_ns")
ADDED = "target_joints"  # absent in older files
_ARRAYS = ("joint_positions", "ee_pose", "gripper", "target_pose", "target_gripper", "target_joints")


def episode_files(folder: Path) -> list[Path]:
    """The episodes of a folder in order.

    Raises:
        DatasetError: there is none.
    """
    files = sorted(folder.glob("episode_*.npz"))
    if not files:
        raise DatasetError(
            f"no episodes in {folder}: expected files episode_*.npz, as `defi data sim --out` writes them"
        )
    return files


def save_episode(episode: Episode, path: Path) -> None:
    """Writes one episode whole or not at all."""
    packed: dict[str, npt.NDArray] = {}
    for camera, images in episode.images.items():
        coded = [cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1] for image in images]
        packed[f"png.{camera}"] = np.concatenate(coded)
        packed[f"sizes.{camera}"] = np.array([len(c) for c in coded])
    packed |= {name: np.asarray(getattr(episode, name)) for name in (*_LABELS, *_ARRAYS)}
    with whole(path) as part, part.open("wb") as file:
        np.savez(file, allow_pickle=False, **packed)


def load_episode(path: Path) -> Episode:
    """Reads one episode.

    Raises:
        DatasetError: the file is damaged or is not an episode.
    """
    with _opened(path) as data:
        arrays = {name: data[name] for name in _ARRAYS if name != ADDED or name in data.files}
        return Episode(**_seen(data), success=bool(data["success"]), **arrays)


def load_clip(path: Path) -> Clip:
    """Reads what one episode's cameras saw. One that failed is not what its sentences say, and has none.

    Raises:
        DatasetError: the file is damaged or is not an episode.
    """
    with _opened(path) as data:
        clip = Clip(**_seen(data))
        return clip if bool(data["success"]) else replace(clip, instructions=())


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with reading(path, "an episode", cv2.error), np.load(path, allow_pickle=False) as data:
        yield data


def _seen(data: Any) -> dict[str, Any]:
    """The fields of a `Clip`."""
    cameras = [name.removeprefix("png.") for name in data.files if name.startswith("png.")]
    return {
        "task": str(data["task"]),
        "instructions": tuple(str(text) for text in data["instructions"]),
        "step_ns": int(data["step_ns"]),
        "images": {camera: _decode(data[f"png.{camera}"], data[f"sizes.{camera}"]) for camera in cameras},
    }


def _decode(buffer: npt.NDArray[np.uint8], sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    images = []
    for size, end in zip(sizes, np.cumsum(sizes), strict=True):
        image = cv2.imdecode(buffer[end - size : end], cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise ValueError(f"image {len(images)} is no PNG")
        images.append(image)
    return np.stack(images).astype(np.uint8)


def rows_at(count: int, own_ns: int, wanted_ns: int) -> npt.NDArray[np.int64]:
    """The rows of `count`, `own_ns` apart, that lie nearest to times `wanted_ns` apart, beginning with the first.

    Raises:
        DatasetError: finer samples are wanted than there are.
    """
    if wanted_ns < 0.99 * own_ns:
        raise DatasetError(
            f"got samples every {own_ns} ns, expected one every {wanted_ns} ns or more often; "
            f"`defi data sim --rate-hz {1e9 / wanted_ns:g}` makes such"
        )
    times = np.arange(0, (count - 1) * own_ns + own_ns // 2, wanted_ns)
    return np.minimum(np.rint(times / own_ns).astype(np.int64), count - 1)


class EpisodeSource:
    """A folder of this project's own episodes, which its simulators make."""

    kind = "episodes of this project"
    why_no_actions = ""

    def __init__(self, folder: Path, renamed: Mapping[str, str]) -> None:
        self.folder = folder
        self._files = {path.name: path for path in episode_files(folder)}
        self._renamed = renamed

    def names(self) -> list[str]:
        """Of the episodes, in order."""
        return list(self._files)

    def files(self) -> Iterable[Path]:
        """See `Source.files`."""
        return self._files.values()

    def read(self, name: str, step_ns: int | None = None, *, actions: bool = True) -> Clip:
        """See `Source.read`."""
        path = self._files[name]
        clip = load_episode(path) if actions else load_clip(path)
        images = {self._renamed.get(camera, camera): found for camera, found in clip.images.items()}
        if step_ns is None or step_ns == clip.step_ns:
            return replace(clip, images=images)
        with reading(path, "an episode"):
            rows = rows_at(len(clip), clip.step_ns, step_ns)
        images = {camera: found[rows] for camera, found in images.items()}
        series = {name: getattr(clip, name)[rows] for name in _ARRAYS if isinstance(clip, Episode)}
        return replace(clip, step_ns=step_ns, images=images, **series)
