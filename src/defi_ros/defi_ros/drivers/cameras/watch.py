"""Tells a camera that works from one that only sends: wrong size, black, or frozen. Knows no camera and no clock."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from defi_models.contract import NS_PER_S

FROZEN_AFTER_S = 1.0  # a live sensor's noise changes every frame; a second of equal frames is no scene
BLACK_BELOW = 4  # of 255: brighter than the black level of any camera in a room with a light on
_STRIDE = 7  # looks at one pixel of 49: 0.1 ms for 640x480, and no pattern of the sensor has this period


class CameraWatch:
    """Judges the frames of one camera, in the order they were captured. Not thread-safe."""

    def __init__(self, name: str, width: int, height: int) -> None:
        """Expects frames of this size [px]."""
        self._name = name
        self._shape = (height, width, 3)
        self._last: npt.NDArray[np.uint8] | None = None
        self._changed_ns = 0

    def judge(self, image: npt.NDArray[np.uint8], time_ns: int) -> str | None:
        """What is wrong with this frame, or None when it may be used."""
        if image.shape != self._shape:
            return (
                f"camera {self._name!r}: got frames of {image.shape[1]}x{image.shape[0]} px, "
                f"expected {self._shape[1]}x{self._shape[0]}; they are withheld. Correct the size in the robot file."
            )
        sample = image[::_STRIDE, ::_STRIDE].copy()
        if self._last is None or not np.array_equal(sample, self._last):
            self._last, self._changed_ns = sample, time_ns
        if int(sample.max()) < BLACK_BELOW:
            return f"camera {self._name!r}: is black (no pixel above {BLACK_BELOW} of 255); its frames are withheld"
        same_s = (time_ns - self._changed_ns) / NS_PER_S
        if same_s > FROZEN_AFTER_S:
            return f"camera {self._name!r}: is frozen, the same image for {same_s:.1f} s; its frames are withheld"
        return None
