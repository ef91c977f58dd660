"""All clips of a dataset as a few long arrays, and the windows over them that training reads.

Made once from the clips and kept beside them, so that a training step reads rows of memory-mapped arrays:

    <folder>/packed_<size>/        demonstrations: pixels, arm and targets
    <folder>/packed_<size>_video/  the same folder read as action-free video: pixels and sentences alone
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from defi_models.config import ActionEncoding
from defi_models.datasets.blocks import Rows
from defi_models.datasets.damage import TOLERATED, check_damage
from defi_models.datasets.episodes import Clip, DatasetError, Episode
from defi_models.datasets.sources import Source, open_source
from defi_models.transforms import ImageTransform, ProprioceptionTransform, raw_actions

logger = logging.getLogger(__name__)
UNSAID = "something happens"  # the instruction of a clip that has none
VIDEO_SUFFIX = "_video"
SERIES = ("ee_pose", "gripper", "target_pose", "target_gripper")


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
        tasks: Task of each clip.
        instructions: Sentences of each clip; may be none.
        step_ns: Time between samples [ns].
        cameras: Names, in the order of `pixels`.
        views: Cameras of each sample, (N,); all of `cameras` if absent.
        shares: How often samples are chosen; all alike if absent.
        encoded: Latents, where these are given in place of pixels.
    """

    folder: Path
    pixels: Rows | npt.NDArray[np.uint8]
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
    views: npt.NDArray[np.int64] | None = None
    shares: tuple[Share, ...] | None = None
    encoded: Encoded | None = None

    def __len__(self) -> int:
        """Samples in all."""
        return len(self.episode)

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

        Raises:
            DatasetError: actions are to be joint positions, and the targets here are poses.
        """
        if encoding == "joint_positions":
            raise DatasetError(f"{self.folder}: got targets that are poses, expected joint positions for this model")
        rows = self.clip(np.array([sample]), np.arange(steps))[0]
        return raw_actions(encoding, self.target_pose[rows], self.target_gripper[rows], self.ee_pose[sample])

    def proprioception(self, sample: int) -> npt.NDArray[np.float64]:
        """Unnormalised proprioception (10,) of one sample."""
        return ProprioceptionTransform.raw(self.ee_pose[sample], float(self.gripper[sample]))

    def choose_instruction(self, sample: int, rng: np.random.Generator) -> str:
        """One of the sentences that fit a sample's clip."""
        sentences = self.instructions[self.episode[sample]]
        return sentences[int(rng.integers(len(sentences)))] if sentences else UNSAID


def frames_of(meta: dict[str, Any], folder: Path, pixels: Rows | npt.NDArray[np.uint8], series: dict) -> Frames:
    """Frames from a description as `packing` writes it.

    Args:
        meta: `lengths`, `tasks`, `instructions`, `step_ns`, `cameras`.
        folder: Where it lies.
        pixels: Of all samples.
        series: Arrays by the names of `SERIES`; absent ones are not a number.
    """
    lengths = np.array(meta["lengths"])
    count = int(lengths.sum())
    empty = {"ee_pose": (count, 7), "gripper": (count,), "target_pose": (count, 7), "target_gripper": (count,)}
    return Frames(
        folder=folder,
        pixels=pixels,
        episode=np.repeat(np.arange(len(lengths)), lengths),
        last=np.repeat(np.cumsum(lengths) - 1, lengths),
        tasks=tuple(meta["tasks"]),
        instructions=tuple(tuple(texts) for texts in meta["instructions"]),
        step_ns=meta["step_ns"],
        cameras=tuple(meta["cameras"]),
        **{name: series.get(name, np.full(shape, np.nan)) for name, shape in empty.items()},
    )


def open_frames(
    folder: Path,
    cameras: tuple[str, ...],
    size: int,
    *,
    step_ns: int | None = None,
    video: bool = False,
    tolerated: float = TOLERATED,
    renamed: Mapping[str, str] | None = None,
) -> Frames:
    """The clips in `folder` as arrays, packed on first use.

    Args:
        folder: A dataset of any kind that `open_source` knows.
        cameras: Those wanted, in order. Of a video, those of them that it has, or its first if it has none of them.
        size: Height and width of images [px].
        step_ns: Time between samples [ns]; that of the data if absent.
        video: Whether to read images and sentences alone.
        tolerated: Share of a video's clips that may be damaged.
        renamed: Name that a camera has in the data -> name that it gets.

    Raises:
        DatasetError: there are no clips, demonstrations lack a camera or their actions, steps differ, or too much
            cannot be read.
    """
    source = open_source(folder, renamed or {})
    packed = folder / f"packed_{size}{VIDEO_SUFFIX if video else ''}"
    if not _is_packed(packed, source, step_ns):
        _pack(source, packed, _Wanted(cameras, size, step_ns, video, tolerated))
    meta = json.loads((packed / "frames.json").read_text())
    series = {name: np.load(packed / f"{name}.npy") for name in SERIES if not video}
    return frames_of({"cameras": cameras} | meta, packed, np.load(packed / "pixels.npy", mmap_mode="r"), series)


def _is_packed(packed: Path, source: Source, step_ns: int | None) -> bool:
    try:
        meta = json.loads((packed / "frames.json").read_text())
    except (FileNotFoundError, ValueError):
        return False
    return meta["episodes"] == len(source.names()) and step_ns in {None, meta["step_ns"]}


@dataclass(frozen=True)
class _Wanted:
    cameras: tuple[str, ...]
    size: int
    step_ns: int | None
    video: bool
    tolerated: float


def _pack(source: Source, packed: Path, wanted: _Wanted) -> None:
    """Writes all arrays beside their place and moves them there whole."""
    names = source.names()
    part = Path(tempfile.mkdtemp(prefix=f".{packed.name}-", dir=packed.parent))
    try:
        meta = _write_arrays(source, names, part, wanted)
        meta["episodes"] = len(names)
        (part / "frames.json").write_text(json.dumps(meta))
        part.chmod(0o755)
        if packed.exists():
            shutil.rmtree(packed)
        part.rename(packed)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    logger.info("packed %d clips, %d samples into %s", len(meta["lengths"]), sum(meta["lengths"]), packed)


def _write_arrays(source: Source, names: list[str], part: Path, wanted: _Wanted) -> dict[str, Any]:
    cameras = wanted.cameras
    meta: dict[str, Any] = {"lengths": [], "tasks": [], "instructions": []}
    series: dict[str, list[npt.NDArray]] = {name: [] for name in SERIES if not wanted.video}
    damaged: dict[str, str] = {}
    steps = set()
    with (part / "pixels.raw").open("wb") as raw:
        for name in names:
            try:
                clip = source.read(name, wanted.step_ns)
            except DatasetError as error:
                if not wanted.video:
                    raise
                damaged[name] = str(error)
                continue
            cameras = _cameras(clip, name, source, wanted, cameras if meta["lengths"] else None)
            _write_pixels(raw, clip, cameras, wanted.size)
            for key, parts in series.items():
                parts.append(getattr(clip, key))
            meta["lengths"].append(len(clip))
            meta["tasks"].append(clip.task)
            meta["instructions"].append(clip.instructions)
            steps.add(clip.step_ns)
    check_damage(damaged, len(names), wanted.tolerated)
    if len(steps) != 1:
        raise DatasetError(f"{source.folder}: episodes have different steps {sorted(steps)} ns, expected one")
    shape = (sum(meta["lengths"]), len(cameras), wanted.size, wanted.size, 3)
    pixels = np.lib.format.open_memmap(part / "pixels.npy", mode="w+", dtype=np.uint8, shape=shape)
    pixels.reshape(-1)[:] = np.memmap(part / "pixels.raw", dtype=np.uint8, mode="r")
    pixels.flush()
    (part / "pixels.raw").unlink()
    for key, parts in series.items():
        np.save(part / f"{key}.npy", np.concatenate(parts))
    return meta | {"step_ns": steps.pop(), "cameras": cameras, "damaged": damaged}


def _write_pixels(raw: BinaryIO, clip: Clip, cameras: tuple[str, ...], size: int) -> None:
    resize = ImageTransform(size)
    for row in range(len(clip)):
        for camera in cameras:
            raw.write(resize.decode(resize.encode(clip.images[camera][row])).tobytes())


def _cameras(clip: Clip, name: str, source: Source, wanted: _Wanted, before: tuple[str, ...] | None) -> tuple[str, ...]:
    """The cameras to pack of a clip.

    Raises:
        DatasetError: it lacks some, or the actions that demonstrations need.
    """
    needed = before or wanted.cameras
    if wanted.video and before is None:
        return tuple(c for c in needed if c in clip.images) or (min(clip.images),)
    missing = [camera for camera in needed if camera not in clip.images]
    if missing:
        raise DatasetError(
            f"{source.folder}, {name}: no images of camera {missing}; it has {sorted(clip.images)}, expected "
            f"{list(needed)}; `--camera WANTED=ITS_NAME` says which is which"
        )
    if not wanted.video and not isinstance(clip, Episode):
        raise DatasetError(
            f"{source.folder}, {name}: got a clip without actions from {source.kind}, expected a demonstration; "
            "give the folder with --video: the autoencoder, GFDM and GIDM stages need no actions"
        )
    return needed
