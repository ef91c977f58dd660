"""The kinds of datasets that training reads, behind one protocol, and how a folder tells which it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from defi_models.datasets import calvin, lerobot, video
from defi_models.datasets.episodes import Clip, EpisodeSource
from defi_models.datasets.reading import DatasetError, reading


class Source(Protocol):
    """One dataset on disk, read clip by clip."""

    @property
    def kind(self) -> str:
        """What it is, for people."""
        ...

    @property
    def folder(self) -> Path:
        """Where it lies."""
        ...

    @property
    def why_no_actions(self) -> str:
        """Why its clips have no actions, and what gives them some; "" where nothing does."""
        ...

    def names(self) -> list[str]:
        """Of its clips, in an order that stays."""
        ...

    def files(self) -> Iterable[Path]:
        """All that it is read from."""
        ...

    def read(self, name: str, step_ns: int | None = None, *, actions: bool = True) -> Clip:
        """One clip, an `Episode` if it has actions, sampled every `step_ns`, or as it is on disk.

        Args:
            name: Of the clip.
            step_ns: Time between samples [ns].
            actions: Whether to read them, where there are some.

        Raises:
            DatasetError: it is damaged, or cannot be sampled so; the message names folder and clip.
        """
        ...


TEXTS = (".json", ".txt")


def state_of(source: Source, clips: Iterable[str] | None = None) -> str:
    """Identifies what a dataset's files hold: texts by what they say, others by their size and time of change.

    Args:
        source: The dataset.
        clips: Of these clips alone, where each is a file of its own; else, or if absent, of all.

    Raises:
        DatasetError: a file cannot be read.
    """
    own = {source.folder / clip for clip in clips or ()}
    own = own if all(path.is_file() for path in own) else set()
    found = hashlib.sha256()
    for path in sorted(path for path in source.files() if not own or path in own or path.suffix in TEXTS):
        with reading(path, "a file"):
            about = path.stat()
            held = path.read_bytes() if path.suffix in TEXTS else f"{about.st_size} {about.st_mtime_ns}".encode()
        found.update(f"{path.relative_to(source.folder)} {len(held)} ".encode() + held)
    return found.hexdigest()[:16]


KINDS: tuple[tuple[Callable[[Path], bool], Callable[[Path, Mapping[str, str]], Source], str], ...] = (
    (lerobot.is_lerobot, lerobot.LerobotSource, "LeRobot v3 (meta/info.json)"),
    (calvin.is_calvin, calvin.CalvinSource, "CALVIN (ep_start_end_ids.npy, episode_*.npz)"),
    (lambda folder: any(folder.glob("episode_*.npz")), EpisodeSource, "this project's episodes (episode_*.npz)"),
    (video.has_videos, video.VideoSource, f"videos ({', '.join(video.VIDEO_ENDINGS)})"),
    (video.has_sequences, video.SequenceSource, f"image sequences (a folder each: {', '.join(video.IMAGE_ENDINGS)})"),
)


def open_source(folder: Path, renamed: Mapping[str, str] | None = None) -> Source:
    """The dataset in `folder`.

    Args:
        folder: Where it lies.
        renamed: Name that a camera has in the data -> name that it gets.

    Raises:
        DatasetError: there is no such folder, nothing in it that is known, or no clip.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: got no such folder, expected one with data; `defi data sim --out` makes one")
    for fits, make, _ in KINDS:
        if fits(folder):
            source = make(folder, renamed or {})
            if not source.names():
                raise DatasetError(f"{folder}: got {source.kind} without a clip, expected at least one")
            return source
    inside = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))[:8]
    raise DatasetError(
        f"no episodes in {folder}: got {inside or 'nothing'}, expected one of: "
        f"{'; '.join(what for _, _, what in KINDS)}. `defi data sim --out` makes episodes"
    )
