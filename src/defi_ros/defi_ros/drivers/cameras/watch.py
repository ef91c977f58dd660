"""Tells a camera that works from one that only sends: wrong size, black, or frozen. Knows no camera and no clock.

A live sensor's noise changes every frame, so there the same image for a second is no image. A rendered camera has no
noise, and a still scene is no fault: there it is frozen when the arm has moved and not one pixel has changed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from defi_models.contract import NS_PER_S, FloatArray

FROZEN_AFTER_S = 1.0  # a second of equal frames of a live sensor is no scene
# Equal frames although a joint has moved so far are no scene either: the hand then has moved by centimetres, many pixels.
# Stamps of images and joint states of one moment may be this far apart, either way; motion closer to the last change or
# to now is not counted. All is looked up by stamp: by arrival, joint states that came late once were taken for motion.
FROZEN_MOVED_RAD, APART_NS = 0.05, NS_PER_S // 10
SURE_NS = NS_PER_S  # joint states of then have come by now
# A camera with its cap on is not all zero: its sensor has a black level, noise and stuck pixels. So 99 of 100 values count,
# and below DIM_BELOW also whether the means of 8 x 8 parts differ: by 1.5 at most under noise of sigma 4, by 2.4 of sigma 8,
# but by more where a lamp is on and something is seen. A sensor's own black level is below 16 (all of 255).
BLACK_BELOW, DIM_BELOW, BRIGHT_SHARE = 4, 24, 0.01
PARTS, CONTRAST = 8, 2.5
JointsAt = Callable[[int], FloatArray | None]
LOOKED_AT = 68  # rows at least: one pixel of 49 for 640x480, where all of it takes 0.1 ms; every pixel of a small image


class CameraWatch:
    """Judges the frames of one camera, in the order they were captured. Not thread-safe."""

    def __init__(self, name: str, width: int, height: int, *, noisy: bool = True) -> None:
        """Expects frames of this size [px]; `noisy`: from a live sensor, whose frames are never equal."""
        self._name = name
        self._shape = (height, width, 3)
        self._stride = max(1, min(width, height) // LOOKED_AT)
        self._noisy = noisy
        self._last: npt.NDArray[np.uint8] | None = None
        self._sample: npt.NDArray[np.uint8] | None = None
        self._changed_ns = 0
        self._changed_at: FloatArray | None = None  # where the joints were then

    def judge(self, image: npt.NDArray[np.uint8], time_ns: int, joints_at: JointsAt | None = None) -> str | None:
        """What is wrong with this frame, or None when it may be used.

        Args:
            image: Shape (height, width, 3); must not change afterwards.
            time_ns: When it was captured [ns].
            joints_at: Where the arm was at a time of the last second, shape (joints,) [rad], or None when that is not
                known.
        """
        if (wrong := self.wrong_size(image)) is not None:
            return wrong
        sample = image[:: self._stride, :: self._stride].copy()
        if self._has_changed(image, sample) or time_ns < self._changed_ns:
            self._last, self._sample, self._changed_ns = image, sample, time_ns
        return self._why_black(sample) or self._why_frozen(time_ns, joints_at)

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

    def _why_black(self, sample: npt.NDArray[np.uint8]) -> str | None:
        if _share(sample, DIM_BELOW) >= BRIGHT_SHARE:
            return None
        if _share(sample, BLACK_BELOW) < BRIGHT_SHARE:
            found = f"99 % of it below {BLACK_BELOW} of 255"
        elif (contrast := _contrast(sample)) < CONTRAST:
            found = f"99 % of it below {DIM_BELOW} of 255, and its parts differ by {contrast:.1f}, as noise does"
        else:
            return None
        return f"camera {self._name!r}: is black ({found}); its frames are withheld"

    def _why_frozen(self, time_ns: int, joints_at: JointsAt | None) -> str | None:
        same_ns = time_ns - self._changed_ns
        if self._noisy and same_ns > FROZEN_AFTER_S * NS_PER_S:
            return f"camera {self._name!r}: is frozen, the same image for {same_ns / NS_PER_S:.1f} s; its frames are withheld"
        if joints_at is None:
            return None
        if same_ns < SURE_NS:
            self._changed_at = joints_at(self._changed_ns + APART_NS)
        now_at = joints_at(time_ns - APART_NS)
        if same_ns < 3 * APART_NS or self._changed_at is None or now_at is None:
            return None
        moved_rad = float(np.abs(now_at - self._changed_at).max())
        if moved_rad <= FROZEN_MOVED_RAD:
            return None
        return (
            f"camera {self._name!r}: is frozen, the same image for {same_ns / NS_PER_S:.1f} s although the arm moved by "
            f"{moved_rad:.2f} rad; its frames are withheld"
        )


def _share(sample: npt.NDArray[np.uint8], level: int) -> float:
    """The share of values that are as bright as this, 0..1."""
    return np.count_nonzero(sample >= level) / sample.size


def _contrast(sample: npt.NDArray[np.uint8]) -> float:
    """By how much the means of the brightest and the darkest part of a dim image differ [of 255]."""
    height, width = (size // PARTS for size in sample.shape[:2])
    values = width * sample.shape[2]
    dim = np.minimum(sample[: PARTS * height, : PARTS * width], DIM_BELOW)  # a stuck pixel counts as no more than this
    rows = dim.reshape(PARTS, height, PARTS * values).sum(axis=1, dtype=np.uint32)
    parts = rows.reshape(PARTS, PARTS, values).sum(axis=2)
    return float(np.ptp(parts)) / (height * values)
