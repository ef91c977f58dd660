"""Intel RealSense cameras through pyrealsense2, which is imported when such a camera is opened."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from defi_ros.bridge.lens import Lens
from defi_ros.drivers.cameras.clock import CameraClock
from defi_ros.drivers.cameras.interface import CameraError, Frame
from defi_ros.sections import Camera

READ_TIMEOUT_MS = 1000
MOST_REPEATED = 10
NS_PER_MS = 1_000_000
MM_PER_M = 1000.0
RECORDINGS = (".bag", ".db3")


def _sdk() -> Any:
    try:
        import pyrealsense2  # type: ignore[import-not-found]
    except ImportError as error:
        raise CameraError(
            f"RealSense: cannot import pyrealsense2 ({error}), expected the SDK of the camera. "
            f"Install it with `{sys.executable} -m pip install -r requirements/realsense.txt`, and Debian's libusb-1.0-0."
        ) from error
    return pyrealsense2


class RealSenseCamera:
    """Colour and, where asked for, depth of the camera with the serial number of the robot file; of any when empty.

    A recording (a file of the SDK's recorder) plays in a loop in place of a camera, as if it were seen now.
    """

    def __init__(self, name: str, settings: Camera, clock_ns: Callable[[], int]) -> None:
        """Opens nothing yet."""
        self._name = name
        self._settings = settings
        self._clock_ns = clock_ns
        self._pipeline: Any = None
        self._onto_colour: Any = None
        self._lens: Lens | None = None
        self._clock = CameraClock()
        self._number: int | None = None

    @property
    def lens(self) -> Lens | None:
        """See `CameraSource.lens`: that of the colour camera, as the factory measured it."""
        return self._lens

    @property
    def _is_recording(self) -> bool:
        return Path(self._settings.source).suffix in RECORDINGS

    def open(self) -> None:
        """See `CameraSource.open`."""
        self.close()
        sdk = _sdk()
        settings, context = self._settings, sdk.context()
        config = sdk.config()
        if self._is_recording:
            if not Path(settings.source).is_file():
                raise CameraError(f"camera {self._name!r}: got no file {settings.source!r}, expected a recording")
            config.enable_device_from_file(settings.source, True)
        else:
            config.enable_device(self._serial(sdk, context))
        size, rate_hz = (settings.width, settings.height), round(settings.rate_hz)
        config.enable_stream(sdk.stream.color, *size, sdk.format.rgb8, rate_hz)
        if settings.depth:
            config.enable_stream(sdk.stream.depth, *size, sdk.format.z16, rate_hz)
        pipeline = sdk.pipeline(context)
        try:
            profile = pipeline.start(config)
        except RuntimeError as error:
            raise CameraError(
                f"camera {self._name!r}: the RealSense refuses {size[0]}x{size[1]} rgb8{' and z16' * settings.depth} at "
                f"{settings.rate_hz:g} Hz ({error}). Choose a size and rate it has, on USB 3."
            ) from error
        stream = profile.get_stream(sdk.stream.color).as_video_stream_profile()
        self._lens = _lens(stream.get_intrinsics())
        self._onto_colour = sdk.align(sdk.stream.color) if settings.depth else None
        self._pipeline, self._clock, self._number = pipeline, CameraClock(), None

    def _serial(self, sdk: Any, context: Any) -> str:
        serials = [device.get_info(sdk.camera_info.serial_number) for device in context.query_devices()]
        wanted = self._settings.source
        if (wanted and wanted not in serials) or not serials:
            raise CameraError(
                f"camera {self._name!r}: got no RealSense {wanted or 'at all'}, expected it on USB. "
                f"Serial numbers here: {', '.join(serials) or 'none'}"
            )
        return wanted or serials[0]

    def read(self) -> Frame:
        """See `CameraSource.read`; stamps of the camera's own clock are told on the host's."""
        frames = self._next()
        arrived_ns = self._clock_ns()
        if self._onto_colour is not None:
            frames = self._onto_colour.process(frames)
        colour = frames.get_color_frame()
        depth_mm = None if self._onto_colour is None else _depth_mm(frames.get_depth_frame())
        return Frame(self._captured_ns(colour, arrived_ns), np.asarray(colour.get_data()).copy(), depth_mm)

    def _next(self) -> Any:
        """The next frames with a new colour image; the SDK repeats one when only depth is new."""
        if self._pipeline is None:
            raise CameraError(f"camera {self._name!r}: is not open")
        reason: object = "only depth is new"
        for _ in range(MOST_REPEATED):
            try:
                frames = self._pipeline.wait_for_frames(READ_TIMEOUT_MS)
            except RuntimeError as error:
                reason = error
                break
            number = frames.get_color_frame().get_frame_number()
            if number != self._number:
                self._number = number
                return frames
        raise CameraError(f"camera {self._name!r}: the RealSense sends no frames ({reason})")

    def _captured_ns(self, frame: Any, arrived_ns: int) -> int:
        """The SDK's global and system time are the host's; a stamp of the camera's clock, or of a recording, is neither."""
        stamp_ns = int(frame.get_timestamp() * NS_PER_MS)
        domains = _sdk().timestamp_domain
        if frame.get_frame_timestamp_domain() == domains.hardware_clock or self._is_recording:
            return self._clock.host_ns(stamp_ns, arrived_ns)
        return min(stamp_ns, arrived_ns)

    def close(self) -> None:
        """See `CameraSource.close`; also of a camera that was pulled out."""
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            with contextlib.suppress(RuntimeError):  # it is gone, and so is what there was to stop
                pipeline.stop()


def _lens(intrinsics: Any) -> Lens:
    return Lens(
        (float(intrinsics.fx), float(intrinsics.fy)),
        (float(intrinsics.ppx), float(intrinsics.ppy)),
        tuple(float(value) for value in intrinsics.coeffs),
    )


def _depth_mm(frame: Any) -> npt.NDArray[np.uint16]:
    """Distances in millimetres, shape (height, width), whatever unit the camera counts in."""
    counts, unit_mm = np.asarray(frame.get_data()), MM_PER_M * frame.get_units()
    if abs(unit_mm - 1.0) < 1e-6:
        return counts.copy()
    return np.minimum(np.rint(counts * unit_mm), np.iinfo(np.uint16).max).astype(np.uint16)
