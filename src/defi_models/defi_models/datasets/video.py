"""Action-free data: folders of videos, and folders of image sequences.

Sentences that describe a clip stand in `captions.json` of the folder, {"name": "a sentence" or ["several", ...]}, or in a
text file beside it, one a line: `clip.mp4` has `clip.txt`, the sequence `walk/` has `walk.txt`. Clips may have none.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import av
import av.error
import cv2
import numpy as np
import numpy.typing as npt

from defi_models.contract import NS_PER_S
from defi_models.datasets.episodes import Clip
from defi_models.datasets.reading import DatasetError, reading

logger = logging.getLogger(__name__)

VIDEO_ENDINGS = (".mp4", ".webm", ".mkv", ".mov", ".avi")
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg")
CAPTIONS = "captions.json"
CAMERA = "video"  # what the only camera of a video is called
LONGEST_SIDE_PX = 320  # larger images are shrunk at once, so that a long video fits into memory
SEQUENCE_RATE_HZ = 10  # of image sequences, which have no time of their own
NAMED = 5  # in a message
EARLY_S = 1e-3  # frame times are rounded


def has_videos(folder: Path) -> bool:
    """Whether there is a video somewhere in `folder`."""
    return any(_files(folder, VIDEO_ENDINGS))


def has_sequences(folder: Path) -> bool:
    """Whether there are folders of images in `folder`."""
    return any(_files(folder, IMAGE_ENDINGS))


class VideoSource:
    """A folder of videos, searched with its subfolders."""

    kind = "videos"
    why_no_actions = ""

    def __init__(self, folder: Path, renamed: Mapping[str, str]) -> None:
        self.folder = folder
        self._camera = renamed.get(CAMERA, CAMERA)
        self._names = sorted(str(path.relative_to(folder)) for path in _files(folder, VIDEO_ENDINGS))
        self._captions = captions_of(folder, self._names)

    def names(self) -> list[str]:
        """Of the files, in order."""
        return self._names

    def files(self) -> Iterable[Path]:
        """See `Source.files`."""
        videos = [self.folder / name for name in self._names]
        return [*videos, *_said_in(self.folder, videos)]

    def read(self, name: str, step_ns: int | None = None, *, actions: bool = True) -> Clip:
        """See `Source.read`; between two frames the first one holds."""
        del actions  # there are none
        images, step_ns = decode(self.folder / name, step_ns)
        return Clip(
            task="",
            instructions=sentences(self.folder / name, name, self._captions),
            step_ns=step_ns,
            images={self._camera: images},
        )


class SequenceSource:
    """A folder of folders of images; each is one clip, its images in the order of their names, 10 a second."""

    kind = "image sequences"
    why_no_actions = ""

    def __init__(self, folder: Path, renamed: Mapping[str, str]) -> None:
        self.folder = folder
        self._camera = renamed.get(CAMERA, CAMERA)
        self._clips: dict[str, list[Path]] = {}
        for path in sorted(_files(folder, IMAGE_ENDINGS)):
            self._clips.setdefault(str(path.parent.relative_to(folder)), []).append(path)
        self._captions = captions_of(folder, self._clips)

    def names(self) -> list[str]:
        """Of the subfolders, in order."""
        return list(self._clips)

    def files(self) -> Iterable[Path]:
        """See `Source.files`."""
        images = [path for paths in self._clips.values() for path in paths]
        return [*images, *_said_in(self.folder, [self.folder / name for name in self._clips])]

    def read(self, name: str, step_ns: int | None = None, *, actions: bool = True) -> Clip:
        """See `Source.read`."""
        del actions  # there are none
        own_ns = NS_PER_S // SEQUENCE_RATE_HZ
        wanted_ns = step_ns or own_ns
        files = self._clips[name]
        count = (len(files) * own_ns - 1) // wanted_ns + 1
        chosen = [files[k * wanted_ns // own_ns] for k in range(count)]
        images = [shrunk(_image(path)) for path in chosen]
        if len({image.shape for image in images}) != 1:
            raise DatasetError(f"{self.folder / name}: got images of different sizes, expected one size a sequence")
        described = sentences(self.folder / name, name, self._captions)
        return Clip(task="", instructions=described, step_ns=wanted_ns, images={self._camera: np.stack(images)})


def decode(path: Path, step_ns: int | None) -> tuple[npt.NDArray[np.uint8], int]:
    """The frames of a video every `step_ns` (each one if absent), (T, H, W, 3), and the time between them [ns].

    Raises:
        DatasetError: the file is damaged, or no video.
    """
    images: list[npt.NDArray[np.uint8]] = []
    with reading(path, "a video", av.error.FFmpegError), av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate = stream.average_rate
        if not rate:
            raise DatasetError(f"{path}: got a video without a frame rate, expected one")
        wanted_ns = step_ns or round(NS_PER_S / rate)
        first = None
        for frame in container.decode(stream):
            time_s = frame.time or 0.0
            first = time_s if first is None else first
            while len(images) * wanted_ns <= (time_s - first + EARLY_S) * NS_PER_S:
                images.append(shrunk(frame.to_ndarray(format="rgb24")))
    if not images:
        raise DatasetError(f"{path}: got no frames, expected a video")
    return np.stack(images), wanted_ns


def shrunk(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The image, at most `LONGEST_SIDE_PX` wide and high."""
    scale = LONGEST_SIDE_PX / max(image.shape[:2])
    if scale >= 1:
        return image
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)


def captions_of(folder: Path, clips: Collection[str]) -> dict[str, tuple[str, ...]]:
    """What `captions.json` says, by name of the clip; those of no clip are told.

    Raises:
        DatasetError: the file is damaged.
    """
    path = folder / CAPTIONS
    if not path.is_file():
        return {}
    with reading(path, 'captions, {"clip": "sentence" or ["sentence", ...]}'):
        found = json.loads(path.read_text(encoding="utf-8"))
        several = {name: [said] if isinstance(said, str) else list(map(str, said)) for name, said in found.items()}
    if unknown := sorted(several.keys() - set(clips)):
        logger.warning("%s: %d sentences of no clip: %s", path, len(unknown), ", ".join(unknown[:NAMED]))
    return {name: tuple(text for text in said if text.strip()) for name, said in several.items()}


def sentences(path: Path, name: str, captions: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """What describes a clip."""
    beside = path.with_suffix(".txt")
    if name not in captions and beside.is_file():
        with reading(beside, "sentences in UTF-8, one a line"):
            return tuple(line.strip() for line in beside.read_text(encoding="utf-8").splitlines() if line.strip())
    return captions.get(name, ())


def _said_in(folder: Path, clips: Iterable[Path]) -> list[Path]:
    """The files that describe clips."""
    return [path for path in (folder / CAPTIONS, *(clip.with_suffix(".txt") for clip in clips)) if path.is_file()]


def _image(path: Path) -> npt.NDArray[np.uint8]:
    with reading(path, "an image", cv2.error):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise ValueError("it is none")
        return image.astype(np.uint8)


def _files(folder: Path, endings: tuple[str, ...]) -> Iterator[Path]:
    return (
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in endings and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
