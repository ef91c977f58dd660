"""Clips to long arrays on disk, kept beside them until they change, so that training reads rows of memory-mapped arrays.

<folder>/packed_<size>/        demonstrations: pixels, arm and targets
<folder>/packed_<size>_video/  the same folder read as action-free video: pixels and sentences alone
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from defi_models.datasets.damage import TOLERATED, check_damage
from defi_models.datasets.episodes import Clip, Episode
from defi_models.datasets.frames import SERIES, VIDEO_SUFFIX, Frames, frames_of
from defi_models.datasets.reading import DatasetError, reading
from defi_models.datasets.sources import Source, open_source, state_of
from defi_models.transforms import ImageTransform

logger = logging.getLogger(__name__)
FORMAT = 1  # of the arrays; those of another one are packed again
ABANDONED_S = 3600.0  # packing writes all the time
RENAMED_TIMES = 3


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
    """The clips in `folder` as arrays, packed on first use and again when a file changed; failed episodes are left out.

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
    made_of = wanted.made_of(source)
    meta = _packed(packed, made_of, wanted) or _pack(source, packed, made_of, wanted)
    check_damage(meta["damaged"], meta["clips"], tolerated)
    if meta["failed"]:
        logger.warning("%s: %d of %d episodes failed and are left out", folder, meta["failed"], meta["clips"])
    with reading(packed, "packed images"):
        files = {name: packed / f"{name}.npy" for name in SERIES if not video}
        series = {name: np.load(file) for name, file in files.items() if file.is_file()}  # joints may not be known
        return frames_of(meta, packed, np.load(packed / "pixels.npy", mmap_mode="r"), series)


@dataclass(frozen=True)
class _Wanted:
    cameras: tuple[str, ...]
    size: int
    step_ns: int | None
    video: bool
    tolerated: float
    renamed: Mapping[str, str]

    def made_of(self, source: Source) -> str:
        """What arrays of a dataset are told apart by: what its files hold, and what is read of them."""
        read = [FORMAT, state_of(source), self.cameras, self.size, self.video, self.renamed]
        return hashlib.sha256(json.dumps(read).encode()).hexdigest()[:16]


def _packed(packed: Path, made_of: str, wanted: _Wanted) -> dict[str, Any] | None:
    """What arrays that are there are; None if they were made of something else."""
    try:
        meta = json.loads((packed / "frames.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    same = meta.get("made_of") == made_of and wanted.step_ns in {None, meta["step_ns"]}
    return meta if same else None


def _pack(source: Source, packed: Path, made_of: str, wanted: _Wanted) -> dict[str, Any]:
    """Writes all arrays beside their place and moves them there whole; what they are.

    Raises:
        DatasetError: that is a place that cannot be written, or the data are not what is wanted.
    """
    try:
        _sweep(packed)
        part = Path(tempfile.mkdtemp(prefix=f".{packed.name}-", dir=packed.parent))
    except OSError as error:
        raise DatasetError(
            f"{packed.parent}: got a folder that cannot be written ({error}), expected one that can: images are packed "
            "beside the data; copy or link the data into a folder of your own"
        ) from error
    try:
        meta = _write_arrays(source, part, wanted)
        meta["made_of"] = made_of
        (part / "frames.json").write_text(json.dumps(meta), encoding="utf-8")
        part.chmod(0o755)
        for _ in range(RENAMED_TIMES):
            shutil.rmtree(packed, ignore_errors=True)
            with suppress(OSError):  # another process that packs the same was quicker
                part.rename(packed)
                break
        else:
            raise DatasetError(f"{packed}: got a folder that cannot be replaced, expected one that can; delete it")
    finally:
        shutil.rmtree(part, ignore_errors=True)
    logger.info("packed %d clips, %d samples into %s", len(meta["lengths"]), sum(meta["lengths"]), packed)
    return meta


def _sweep(packed: Path) -> None:
    """Removes what a kill left of packing before; another process may be packing now, and has written lately."""
    for left in packed.parent.glob(f".{packed.name}-*"):
        with suppress(FileNotFoundError):  # it is at its end just now
            written = max(path.stat().st_mtime for path in (left, *left.iterdir()))
            if time.time() - written > ABANDONED_S:
                shutil.rmtree(left, ignore_errors=True)


def _clips(source: Source, wanted: _Wanted, meta: dict[str, Any]) -> Iterator[tuple[str, Clip]]:
    """Clips by name but for those that are left out, which are counted in `meta`.

    Raises:
        DatasetError: a demonstration cannot be read, too much of a video cannot, or nothing is left.
    """
    names = source.names()
    meta |= {"clips": len(names), "damaged": {}, "failed": 0}
    for name in names:
        try:
            clip = source.read(name, wanted.step_ns, actions=not wanted.video)
        except DatasetError as error:
            if not wanted.video:
                raise
            meta["damaged"][name] = str(error)
            continue
        if isinstance(clip, Episode) and not clip.success:
            meta["failed"] += 1
        else:
            yield name, clip
    check_damage(meta["damaged"], len(names), wanted.tolerated)
    if meta["failed"] == len(names):
        raise DatasetError(f"{source.folder}: got {len(names)} episodes that all failed, expected some that succeeded")


def _write_arrays(source: Source, part: Path, wanted: _Wanted) -> dict[str, Any]:
    cameras = wanted.cameras
    meta: dict[str, Any] = {"lengths": [], "tasks": [], "instructions": []}
    series: dict[str, list[npt.NDArray]] = {name: [] for name in SERIES if not wanted.video}
    steps = set()
    with (part / "pixels.raw").open("wb") as raw:
        for name, clip in _clips(source, wanted, meta):
            cameras = _cameras(clip, name, source, wanted, cameras if meta["lengths"] else None)
            _write_pixels(raw, clip, cameras, wanted.size)
            for key, parts in series.items():
                parts.append(getattr(clip, key))
            meta["lengths"].append(len(clip))
            meta["tasks"].append(clip.task)
            meta["instructions"].append(clip.instructions)
            steps.add(clip.step_ns)
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
    return meta | {"step_ns": steps.pop(), "cameras": cameras}


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
