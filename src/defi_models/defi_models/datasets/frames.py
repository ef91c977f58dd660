"""All clips of a dataset as a few long arrays, and the windows over them that training reads."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from defi_models.config import ActionEncoding
from defi_models.datasets.blocks import Rows
from defi_models.datasets.reading import DatasetError
from defi_models.transforms import ProprioceptionTransform, raw_actions

UNSAID = "something happens"  # the instruction of a clip that has none
VIDEO_SUFFIX = "_video"
SERIES = ("ee_pose", "gripper", "target_pose", "target_gripper", "joint_positions", "target_joints")


@dataclass(frozen=True)
class Share:
    """A stretch of samples and how often it is chosen.

    Attributes:
        folder: Where it lies.
        start: First sample.
        stop: One past the last.
        weight: Of all choices, 0..1.
    """

    folder: Path
    start: int
    stop: int
    weight: float


@dataclass(frozen=True)
class Encoded:
    """Latents in place of pixels.

    Attributes:
        latents: float16 (N, cameras, C, h, w).
        autoencoder: Fingerprint of the one that made them.
        shape: (C, h, w).
    """

    latents: Rows
    autoencoder: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Frames:
    """Every sample of every clip; N samples in all.

    Attributes:
        folder: Where the arrays lie.
        pixels: uint8 images of all cameras, (N, cameras, size, size, 3), memory-mapped.
        episode: Index of each sample's clip, (N,).
        last: Index of the last sample of each sample's clip, (N,).
        ee_pose: Measured poses, (N, 7); not a number where a clip is action-free, like the next three.
        gripper: Measured openings, (N,).
        target_pose: Commanded poses, (N, 7).
        target_gripper: Commanded openings, (N,).
        joint_positions: Measured joints, (N, joints) [rad]; none where they are not known.
        target_joints: Commanded joints, the same.
        tasks: Task of each clip.
        instructions: Sentences of each clip; may be none.
        step_ns: Time between samples [ns].
        cameras: Names, in the order of `pixels`.
        views: Cameras of each sample, (N,); all of `cameras` if absent.
        shares: How often samples are chosen; all alike if absent.
        encoded: Latents, where these are given in place of pixels.
        made_of: Identifies the files that the samples were read from; empty if nobody knows.
    """

    folder: Path
    pixels: Rows | npt.NDArray[np.uint8]
    episode: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    ee_pose: npt.NDArray[np.float64]
    gripper: npt.NDArray[np.float64]
    target_pose: npt.NDArray[np.float64]
    target_gripper: npt.NDArray[np.float64]
    joint_positions: npt.NDArray[np.float64]
    target_joints: npt.NDArray[np.float64]
    tasks: tuple[str, ...]
    instructions: tuple[tuple[str, ...], ...]
    step_ns: int
    cameras: tuple[str, ...]
    views: npt.NDArray[np.int64] | None = None
    shares: tuple[Share, ...] | None = None
    encoded: Encoded | None = None
    made_of: str = ""

    def __len__(self) -> int:
        """Samples in all."""
        return len(self.episode)

    @property
    def identity(self) -> str:
        """Identifies the data by the files they were read from, their rate and how many they are."""
        return hashlib.sha256(f"{self.made_of} {self.step_ns} {len(self)}".encode()).hexdigest()[:16]

    @property
    def key(self) -> str:
        """Tells mixtures and videos apart from each other; empty for one set of demonstrations."""
        if self.shares is None and not self.folder.name.endswith(VIDEO_SUFFIX):
            return ""
        parts = [(str(s.folder.resolve()), s.stop) for s in self.shares or ()] or [
            (str(self.folder.resolve()), len(self))
        ]
        return "-" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]

    @property
    def most_views(self) -> int:
        """Cameras of the sample that has the most."""
        return len(self.cameras) if self.views is None else int(self.views.max())

    def views_of(self, samples: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many cameras each of `samples` has."""
        return np.full(len(samples), len(self.cameras)) if self.views is None else self.views[samples]

    def choose(self, rng: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
        """Samples at random, (count,): by `shares`, and alike within one."""
        if self.shares is None:
            return rng.integers(len(self), size=count)
        chosen = rng.choice(len(self.shares), size=count, p=[share.weight for share in self.shares])
        start, stop = np.array([(share.start, share.stop) for share in self.shares])[chosen].T
        return start + (rng.random(count) * (stop - start)).astype(np.int64)

    def choose_cameras(self, rng: np.random.Generator, samples: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """A camera at random for each of `samples`, of those that it has."""
        if self.views is None:
            return rng.integers(len(self.cameras), size=len(samples))
        return (rng.random(len(samples)) * self.views[samples]).astype(np.int64)

    def demonstrated(self, cameras: tuple[str, ...]) -> npt.NDArray[np.int64]:
        """The samples that have actions and are seen by all `cameras`, in order.

        Raises:
            DatasetError: there is none.
        """
        found = np.flatnonzero(~np.isnan(self.target_gripper) & (self.views_of(np.arange(len(self))) == len(cameras)))
        if not len(found):
            raise DatasetError(
                f"{self.folder}: got {len(self.tasks)} clips without actions, expected demonstrations seen by "
                f"{list(cameras)}; give some with --data (`defi data sim` makes them)"
            )
        return found

    def clip(self, samples: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Samples `offsets` steps after each of `samples`, held at the clip's end, (len(samples), len(offsets))."""
        return np.minimum(samples[:, None] + offsets, self.last[samples][:, None])

    def action(self, sample: int, steps: int, encoding: ActionEncoding = "relative_pose") -> npt.NDArray[np.float64]:
        """Unnormalised actions (steps, width) from one sample on; see `raw_actions`.

        Where the data tell where the tool was to be, and not the joints, joint targets are where these came to be.

        Raises:
            DatasetError: these data have no such actions.
        """
        rows = self.clip(np.array([sample]), np.arange(steps))[0]
        if encoding == "joint_positions":
            targets = self.target_joints[rows] if _known(self.target_joints, rows) else self._joints(rows)
        else:
            self._check_poses(rows)
            targets = self.target_pose[rows]
        return raw_actions(encoding, targets, self.target_gripper[rows], self.ee_pose[sample])

    def proprioception(self, sample: int, *, in_joints: bool = False) -> npt.NDArray[np.float64]:
        """Unnormalised proprioception of one sample; see `ProprioceptionTransform`.

        Raises:
            DatasetError: these data have no such state.
        """
        rows = np.array([sample])
        if not in_joints:
            self._check_poses(rows)
        joints = self._joints(rows)[0] if in_joints else self.joint_positions[sample]
        return ProprioceptionTransform.raw(in_joints, self.ee_pose[sample], joints, float(self.gripper[sample]))

    def _joints(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        if not _known(self.joint_positions, rows):
            raise DatasetError(
                f"{self.folder}: got data without joint positions, expected them for this model; delete the folder if "
                "an earlier version packed it, and it is made anew"
            )
        return self.joint_positions[rows]

    def _check_poses(self, rows: npt.NDArray[np.int64]) -> None:
        if not (_known(self.target_pose, rows) and _known(self.ee_pose, rows)):
            width = self.joint_positions.shape[1] + 1
            raise DatasetError(
                f"{self.folder}: got data in joints alone, expected the tool's pose for this model; train one in joints: "
                f"--set action_encoding=joint_positions action_width={width} proprioception_width={width}"
            )

    def choose_instruction(self, sample: int, rng: np.random.Generator) -> str:
        """One of the sentences that fit a sample's clip."""
        sentences = self.instructions[self.episode[sample]]
        return sentences[int(rng.integers(len(sentences)))] if sentences else UNSAID


def _known(values: npt.NDArray[np.float64], rows: npt.NDArray[np.int64]) -> bool:
    """Whether these rows of values (N, width) are there."""
    return values.shape[1] > 0 and not np.isnan(values[rows]).any()


def frames_of(meta: dict[str, Any], folder: Path, pixels: Rows | npt.NDArray[np.uint8], series: dict) -> Frames:
    """Frames from a description as `packing` writes it.

    Args:
        meta: `lengths`, `tasks`, `instructions`, `step_ns`, `cameras`, `made_of`.
        folder: Where it lies.
        pixels: Of all samples.
        series: Arrays by the names of `SERIES`; absent ones are not a number.
    """
    lengths = np.array(meta["lengths"])
    count = int(lengths.sum())
    empty = {
        "ee_pose": (count, 7),
        "gripper": (count,),
        "target_pose": (count, 7),
        "target_gripper": (count,),
        "joint_positions": (count, 0),
        "target_joints": (count, 0),
    }
    return Frames(
        folder=folder,
        pixels=pixels,
        episode=np.repeat(np.arange(len(lengths)), lengths),
        last=np.repeat(np.cumsum(lengths) - 1, lengths),
        tasks=tuple(meta["tasks"]),
        instructions=tuple(tuple(texts) for texts in meta["instructions"]),
        step_ns=meta["step_ns"],
        cameras=tuple(meta["cameras"]),
        made_of=meta["made_of"],
        **{name: series.get(name, np.full(shape, np.nan)) for name, shape in empty.items()},
    )
