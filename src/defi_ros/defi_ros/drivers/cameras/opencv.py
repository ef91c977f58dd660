"""Cameras that OpenCV reads: a device number or path (V4L2), a stream's address, or a video file, played in a loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2

from defi_ros.drivers.cameras.interface import CameraError, Frame
from defi_ros.sections import Camera


class OpenCvCamera:
    """A `cv2.VideoCapture`. A file is paced at the rate of the robot file; a device or stream paces itself."""

    def __init__(self, name: str, settings: Camera, clock_ns: Callable[[], int]) -> None:
        """Opens nothing yet."""
        self._name = name
        self._settings = settings
        self._clock_ns = clock_ns
        self._capture: Any = None
        self._next_s = 0.0

    @property
    def lens(self) -> None:
        """See `CameraSource.lens`: OpenCV knows none."""
        return

    @property
    def _is_file(self) -> bool:
        source = self._settings.source
        return not source.isdigit() and not source.startswith("/dev/") and "://" not in source

    def open(self) -> None:
        """See `CameraSource.open`."""
        self.close()
        source = self._settings.source
        if self._is_file and not Path(source).is_file():
            raise CameraError(
                f"camera {self._name!r}: got no file {source!r}, expected a device number, a device path, "
                f"a stream's address or a video file. Video devices here: {_devices()}"
            )
        capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
        if not capture.isOpened():
            capture.release()
            raise CameraError(
                f"camera {self._name!r}: OpenCV cannot open {source!r}. Video devices here: {_devices()}. "
                "Is it plugged in, used by another program, or not readable for this user?"
            )
        if not self._is_file:
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, self._settings.width)
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self._settings.height)
            capture.set(cv2.CAP_PROP_FPS, self._settings.rate_hz)
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not the oldest
        self._capture = capture
        self._next_s = time.monotonic()

    def read(self) -> Frame:
        """See `CameraSource.read`; the stamp is when the frame was grabbed, before it was decoded."""
        if self._is_file:
            self._pace()
        capture = self._capture
        grabbed = capture is not None and capture.grab()
        if capture is not None and not grabbed and self._is_file:
            capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            grabbed = capture.grab()
        time_ns = self._clock_ns()
        decoded, image = capture.retrieve() if capture is not None and grabbed else (False, None)
        if not decoded or image is None:
            raise CameraError(f"camera {self._name!r}: {self._settings.source!r} sends no more frames")
        return Frame(time_ns, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))

    def _pace(self) -> None:
        now_s = time.monotonic()
        if self._next_s > now_s:
            time.sleep(self._next_s - now_s)
        self._next_s = max(self._next_s + 1.0 / self._settings.rate_hz, now_s)

    def close(self) -> None:
        """See `CameraSource.close`."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def _devices() -> str:
    return ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
