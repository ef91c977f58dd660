"""What a camera is to its node, and which one the robot file chooses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from defi_models.contract import DefiError
from defi_ros.bridge.lens import Lens
from defi_ros.sections import Camera


class CameraError(DefiError):
    """A camera cannot be opened or has stopped sending."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One image.

    Attributes:
        time_ns: When it was captured, on the host's clock [ns].
        image: uint8 RGB, shape (height, width, 3).
        depth_mm: Distance along the camera's axis, shape (height, width) [mm]; 0 where unknown; None: no such sensor.
    """

    time_ns: int
    image: npt.NDArray[np.uint8]
    depth_mm: npt.NDArray[np.uint16] | None = None


@runtime_checkable
class CameraSource(Protocol):
    """A camera. All calls come from one thread at a time; `read` may wait about one frame, never more than 1 s."""

    @property
    def lens(self) -> Lens | None:
        """What is known of its lens; None when nothing is."""
        ...

    def open(self) -> None:
        """Connects. Raises `CameraError` with what exists when it cannot; may be called again after `close`."""
        ...

    def read(self) -> Frame:
        """The next frame. Raises `CameraError` when there is none; the camera is then to be closed."""
        ...

    def close(self) -> None:
        """Disconnects; idempotent."""
        ...


def make_camera(name: str, settings: Camera, clock_ns: Callable[[], int]) -> CameraSource:
    """The camera that `cameras.<name>.driver` names; not open yet.

    Args:
        name: The camera's name in the robot file, for messages.
        settings: Its section.
        clock_ns: The clock that stamps frames [ns].

    Raises:
        CameraError: the driver needs no camera_node, or does not exist.
    """
    if settings.driver == "opencv":
        from defi_ros.drivers.cameras.opencv import OpenCvCamera

        return OpenCvCamera(name, settings, clock_ns)
    if settings.driver == "realsense":
        from defi_ros.drivers.cameras.realsense import RealSenseCamera

        return RealSenseCamera(name, settings, clock_ns)
    raise CameraError(
        f"camera {name!r}: got driver {settings.driver!r}, expected one of opencv, realsense. "
        "A camera whose images come on a topic already needs no camera_node."
    )
