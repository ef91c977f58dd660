"""Tells a camera that works from one that only sends: wrong size, black, or frozen. Knows no camera and no clock.

A live sensor's noise changes every frame, so there the same image for a second is no image. A rendered camera has no
noise, and a still scene is no fault: there it is frozen when the arm has moved and not one pixel has changed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from defi_models.contract import NS_PER_S, FloatArray

FROZEN_AFTER_S = 1.0  # a second of equal frames of a live sensor is no scene
# Equal frames although a joint has moved so far are no scene either: the hand then has moved by centimetres, many pixels.
# Images and joint states of one moment come up to this much apart, either of them first; so motion counts from this long
# after the last change on, and once it has been seen for this long.
FROZEN_MOVED_RAD, APART_S = 0.05, 0.25
BLACK_BELOW = 4  # of 255: brighter than the black level of any camera in a room with a light on
_STRIDE = 7  # looks at one pixel of 49: 0.1 ms for 640x480, and no pattern of the sensor has this period


class CameraWatch:
    """Judges the frames of one camera, in the order they were captured. Not thread-safe."""

    def __init__(self, name: str, width: int, height: int, *, noisy: bool = True) -> None:
        """Expects frames of this size [px]; `noisy`: from a live sensor, whose frames are never equal."""
        self._name = name
        self._shape = (height, width, 3)
        self._noisy = noisy
        self._last: npt.NDArray[np.uint8] | None = None
        self._sample: npt.NDArray[np.uint8] | None = None
        self._changed_ns = 0
        self._changed_at: FloatArray | None = None  # where the joints were then
        self._moved_ns: int | None = None  # since when they are elsewhere

    def judge(self, image: npt.NDArray[np.uint8], time_ns: int, joints: FloatArray | None = None) -> str | None:
        """What is wrong with this frame, or None when it may be used.

        Args:
            image: Shape (height, width, 3); must not change afterwards.
            time_ns: When it was captured [ns].
            joints: Where the arm is, shape (joints,) [rad]; None where nobody says.
        """
        if (wrong := self.wrong_size(image)) is not None:
            return wrong
        sample = image[::_STRIDE, ::_STRIDE].copy()
        if self._has_changed(image, sample) or time_ns < self._changed_ns:
            self._last, self._sample, self._changed_ns = image, sample, time_ns
        if int(sample.max()) < BLACK_BELOW:
            return f"camera {self._name!r}: is black (no pixel above {BLACK_BELOW} of 255); its frames are withheld"
        return self._why_frozen(time_ns, joints)

    def wrong_size(self, image: npt.NDArray[np.uint8]) -> str | None:
        """Why an image is not of the camera's size, or None."""
        if image.shape == self._shape:
            return None
        return (
            f"camera {self._name!r}: got frames of {image.shape[1]}x{image.shape[0]} px, "
            f"expected {self._shape[1]}x{self._shape[0]}; they are withheld. Correct the size in the robot file."
        )

    def _has_changed(self, image: npt.NDArray[np.uint8], sample: npt.NDArray[np.uint8]) -> bool:
        if self._last is None or self._sample is None or not np.array_equal(sample, self._sample):
            return True
        return not self._noisy and not np.array_equal(image, self._last)  # one pixel that moved will do

    def _why_frozen(self, time_ns: int, joints: FloatArray | None) -> str | None:
        same_s = (time_ns - self._changed_ns) / NS_PER_S
        if self._noisy and same_s > FROZEN_AFTER_S:
            return f"camera {self._name!r}: is frozen, the same image for {same_s:.1f} s; its frames are withheld"
        if joints is None or self._changed_at is None or same_s < APART_S:
            self._changed_at, self._moved_ns = joints, None
            return None
        moved_rad = float(np.abs(joints - self._changed_at).max())
        if moved_rad <= FROZEN_MOVED_RAD:
            self._moved_ns = None
            return None
        self._moved_ns = self._moved_ns or time_ns
        if (time_ns - self._moved_ns) / NS_PER_S < APART_S:
            return None
        return (
            f"camera {self._name!r}: is frozen, the same image for {same_s:.1f} s although the arm moved by "
            f"{moved_rad:.2f} rad; its frames are withheld"
        )
