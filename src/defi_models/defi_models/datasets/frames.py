"""All episodes of a dataset as a few long arrays, and the windows over them that training reads.

Made once from the episodes and kept beside them, so that a training step reads rows of memory-mapped arrays.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from defi_models.datasets.episodes import DatasetError, Episode, episode_files, load_episode
from defi_models.transforms import ActionTransform, ImageTransform, ProprioceptionTransform

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Frames:
    """Every sample of every episode; N samples in all.

    Attributes:
        folder: Where the arrays lie.
        pixels: uint8 images of all cameras, (N, cameras, size, size, 3), memory-mapped.
        episode: Index of each sample's episode, (N,).
        last: Index of the last sample of each sample's episode, (N,).
        ee_pose: Measured poses, (N, 7).
        gripper: Measured openings, (N,).
        target_pose: Commanded poses, (N, 7).
        target_gripper: Commanded openings, (N,).
        tasks: Task of each episode.
        instructions: Sentences of each episode.
        step_ns: Time between samples [ns].
        cameras: Names, in the order of `pixels`.
    """

    folder: Path
    pixels: npt.NDArray[np.uint8]
    episode: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    ee_pose: npt.NDArray[np.float64]
    gripper: npt.NDArray[np.float64]
    target_pose: npt.NDArray[np.float64]
    target_gripper: npt.NDArray[np.float64]
    tasks: tuple[str, ...]
    instructions: tuple[tuple[str, ...], ...]
    step_ns: int
    cameras: tuple[str, ...]

    def __len__(self) -> int:
        """Samples in all."""
        return len(self.episode)

    def clip(self, samples: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Samples `offsets` steps after each of `samples`, held at the episode's end, (len(samples), len(offsets))."""
        return np.minimum(samples[:, None] + offsets, self.last[samples][:, None])

    def action(self, sample: int, steps: int) -> npt.NDArray[np.float64]:
        """Unnormalised actions (steps, 7) from one sample on, relative to the pose measured there."""
        rows = self.clip(np.array([sample]), np.arange(steps))[0]
        return ActionTransform.relative(self.target_pose[rows], self.target_gripper[rows], self.ee_pose[sample])

    def proprioception(self, sample: int) -> npt.NDArray[np.float64]:
        """Unnormalised proprioception (10,) of one sample."""
        return ProprioceptionTransform.raw(self.ee_pose[sample], float(self.gripper[sample]))

    def choose_instruction(self, sample: int, rng: np.random.Generator) -> str:
        """One of the sentences that fit a sample's episode."""
        sentences = self.instructions[self.episode[sample]]
        return sentences[int(rng.integers(len(sentences)))]


_SERIES = ("ee_pose", "gripper", "target_pose", "target_gripper")


def open_frames(folder: Path, cameras: tuple[str, ...], size: int) -> Frames:
    """The episodes in `folder` as arrays, packed on first use.

    Raises:
        DatasetError: there are no episodes, one lacks a camera, or their steps differ.
    """
    packed = folder / f"packed_{size}"
    description = packed / "frames.json"
    if not description.is_file() or json.loads(description.read_text())["episodes"] != len(episode_files(folder)):
        _pack(folder, packed, cameras, size)
    meta = json.loads(description.read_text())
    lengths = np.array(meta["lengths"])
    ends = np.cumsum(lengths) - 1
    series = {name: np.load(packed / f"{name}.npy") for name in _SERIES}
    return Frames(
        folder=packed,
        pixels=np.load(packed / "pixels.npy", mmap_mode="r"),
        episode=np.repeat(np.arange(len(lengths)), lengths),
        last=np.repeat(ends, lengths),
        tasks=tuple(meta["tasks"]),
        instructions=tuple(tuple(texts) for texts in meta["instructions"]),
        step_ns=meta["step_ns"],
        cameras=cameras,
        **series,
    )


def _pack(folder: Path, packed: Path, cameras: tuple[str, ...], size: int) -> None:
    files = episode_files(folder)
    packed.mkdir(exist_ok=True)
    resize = ImageTransform(size)
    lengths, tasks, instructions, steps = [], [], [], set()
    series: dict[str, list[npt.NDArray]] = {name: [] for name in _SERIES}
    with (packed / "pixels.raw").open("wb") as raw:
        for path in files:
            episode = load_episode(path)
            _check(episode, path, cameras)
            for row in range(len(episode.gripper)):
                for camera in cameras:
                    raw.write(resize.decode(resize.encode(episode.images[camera][row])).tobytes())
            for name in _SERIES:
                series[name].append(getattr(episode, name))
            lengths.append(len(episode.gripper))
            tasks.append(episode.task)
            instructions.append(episode.instructions)
            steps.add(episode.step_ns)
    if len(steps) != 1:
        raise DatasetError(f"{folder}: episodes have different steps {sorted(steps)} ns, expected one")
    shape = (sum(lengths), len(cameras), size, size, 3)
    pixels = np.lib.format.open_memmap(packed / "pixels.npy", mode="w+", dtype=np.uint8, shape=shape)
    pixels.reshape(-1)[:] = np.memmap(packed / "pixels.raw", dtype=np.uint8, mode="r")
    pixels.flush()
    os.remove(packed / "pixels.raw")
    for name, parts in series.items():
        np.save(packed / f"{name}.npy", np.concatenate(parts))
    (packed / "frames.json").write_text(
        json.dumps(
            {
                "episodes": len(files),
                "lengths": lengths,
                "tasks": tasks,
                "instructions": instructions,
                "step_ns": steps.pop(),
            }
        )
    )
    logger.info("packed %d episodes, %d samples into %s", len(files), sum(lengths), packed)


def _check(episode: Episode, path: Path, cameras: tuple[str, ...]) -> None:
    missing = [camera for camera in cameras if camera not in episode.images]
    if missing:
        raise DatasetError(
            f"{path}: no images of camera {missing}; it has {sorted(episode.images)}, expected {list(cameras)}"
        )
