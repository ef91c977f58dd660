"""What the cameras saw during one task, as a video with the instruction written over it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from defi_models.inference.command import SHOWN_PX, write_video

_FONT, _SCALE, _MARGIN_PX = cv2.FONT_HERSHEY_SIMPLEX, 0.5, 8


class Clip:
    """Frames of one task; kept in memory until they are saved or forgotten.

    Args:
        caption: What is written over every frame.
    """

    def __init__(self, caption: str) -> None:
        self._caption = caption
        self._frames: list[npt.NDArray[np.uint8]] = []

    def add(self, images: Mapping[str, npt.NDArray[np.uint8]]) -> None:
        """Adds what the cameras see now, the first one large and the others in its corner."""
        first, *others = images.values()
        frame = cv2.resize(first, (SHOWN_PX, SHOWN_PX), interpolation=cv2.INTER_LINEAR)
        for place, image in enumerate(others):
            small = SHOWN_PX // 3
            bottom = SHOWN_PX - place * small
            frame[bottom - small : bottom, -small:] = cv2.resize(image, (small, small))
        self._frames.append(frame.astype(np.uint8))

    def save(self, path: Path, step_s: float) -> None:
        """Writes the frames, `step_s` apart, as .mp4.

        Raises:
            ConfigError: no video can be written there.
        """
        (_, height), base = cv2.getTextSize(self._caption, _FONT, _SCALE, 1)
        for frame in self._frames:
            cv2.rectangle(frame, (0, 0), (SHOWN_PX, height + base + 2 * _MARGIN_PX), (0, 0, 0), cv2.FILLED)
            cv2.putText(frame, self._caption, (_MARGIN_PX, height + _MARGIN_PX), _FONT, _SCALE, (255, 255, 255), 1)
        write_video(path, np.stack(self._frames), step_s)
