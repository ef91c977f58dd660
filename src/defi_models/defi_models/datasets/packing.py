"""Clips to long arrays on disk, made once and kept beside them, so that training reads rows of memory-mapped arrays.

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

from defi_models.datasets.damage import TOLERATED, check_damage
from defi_models.datasets.episodes import Clip, Episode
from defi_models.datasets.frames import SERIES, VIDEO_SUFFIX, Frames, frames_of
from defi_models.datasets.reading import DatasetError
from defi_models.datasets.sources import Source, open_source
from defi_models.transforms import ImageTransform

logger = logging.getLogger(__name__)


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
    wanted = _Wanted(cameras, size, step_ns, video, tolerated, dict(renamed or {}))
    if not _is_packed(packed, source, wanted):
        _pack(source, packed, wanted)
    meta = json.loads((packed / "frames.json").read_text())
    files = {name: packed / f"{name}.npy" for name in SERIES if not video}  # older ones lack joints
    series = {name: np.load(file) for name, file in files.items() if file.is_file()}
    return frames_of({"cameras": cameras} | meta, packed, np.load(packed / "pixels.npy", mmap_mode="r"), series)


@dataclass(frozen=True)
class _Wanted:
    cameras: tuple[str, ...]
    size: int
    step_ns: int | None
    video: bool
    tolerated: float
    renamed: Mapping[str, str]

    def of(self, names: list[str]) -> dict[str, Any]:
        """What arrays of these clips are told apart by."""
        clips = hashlib.sha256(json.dumps(names).encode()).hexdigest()
        return {"episodes": len(names), "clips": clips, "wanted": list(self.cameras), "renamed": dict(self.renamed)}


def _is_packed(packed: Path, source: Source, wanted: _Wanted) -> bool:
    """Whether arrays are there that were made of these clips and cameras; older ones say less of what they were made of."""
    try:
        meta = json.loads((packed / "frames.json").read_text())
    except (FileNotFoundError, ValueError):
        return False
    assumed = {} if wanted.video else {"wanted": meta["cameras"]}
    same = all((assumed | meta).get(key, value) == value for key, value in wanted.of(source.names()).items())
    return same and wanted.step_ns in {None, meta["step_ns"]}


def _pack(source: Source, packed: Path, wanted: _Wanted) -> None:
    """Writes all arrays beside their place and moves them there whole.

    Raises:
        DatasetError: that is a place that cannot be written, or the data are not what is wanted.
    """
    names = source.names()
    try:
        part = Path(tempfile.mkdtemp(prefix=f".{packed.name}-", dir=packed.parent))
    except OSError as error:
        raise DatasetError(
            f"{packed.parent}: got a folder that cannot be written ({error}), expected one that can: images are packed "
            "beside the data; copy or link the data into a folder of your own"
        ) from error
    try:
        meta = _write_arrays(source, names, part, wanted)
        meta |= wanted.of(names)
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
                clip = source.read(name, wanted.step_ns, actions=not wanted.video)
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
        if len({values.shape[1:] for values in parts}) == 1:  # joints may be known in some episodes only
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
        why = (
            source.why_no_actions
            or "give the folder with --video: the autoencoder, GFDM and GIDM stages need no actions"
        )
        raise DatasetError(
            f"{source.folder}, {name}: got a clip without actions from {source.kind}, expected a demonstration; {why}"
        )
    return needed
