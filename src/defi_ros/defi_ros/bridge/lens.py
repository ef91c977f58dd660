"""What is known of a camera's lens; knows no camera and no message."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lens:
    """A pinhole camera, as CameraInfo tells it.

    Attributes:
        focal_px: Focal length along x and y [px].
        centre_px: Where the axis goes through the image [px].
        distortion: Five coefficients k1, k2, t1, t2, k3 (plumb_bob).
    """

    focal_px: tuple[float, float]
    centre_px: tuple[float, float]
    distortion: tuple[float, ...] = (0.0,) * 5

    @staticmethod
    def through_the_middle(height: int, width: int, focal_px: float) -> Lens:
        """A lens without distortion whose axis goes through the middle of an image of that size [px]."""
        return Lens((focal_px, focal_px), ((width - 1) / 2.0, (height - 1) / 2.0))
