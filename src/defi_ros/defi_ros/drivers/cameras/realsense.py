"""Intel RealSense cameras through pyrealsense2, which is imported when such a camera is opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from defi_ros.drivers.cameras.interface import CameraError, Frame
from defi_ros.sections import Camera

READ_TIMEOUT_MS = 1000
NS_PER_MS = 1_000_000


def _sdk() -> Any:
    try:
        import pyrealsense2  # type: ignore[import-not-found]
    except ImportError as error:
        raise CameraError(
            f"RealSense: cannot import pyrealsense2 ({error}), expected the SDK of the camera. "
            "Install it with `pip install pyrealsense2` and Debian's libusb-1.0-0."
        ) from error
    return pyrealsense2


class RealSenseCamera:
    """The colour stream of the camera with the serial number of the robot file, or of the only one when empty."""

    def __init__(self, name: str, settings: Camera, clock_ns: Callable[[], int]) -> None:
        """Opens nothing yet."""
        self._name = name
        self._settings = settings
        self._clock_ns = clock_ns
        self._pipeline: Any = None
        self._focal_px = 0.0

    @property
    def focal_px(self) -> float:
        """See `CameraSource.focal_px`."""
        return self._focal_px

    def open(self) -> None:
        """See `CameraSource.open`."""
        self.close()
        sdk = _sdk()
        serials = [device.get_info(sdk.camera_info.serial_number) for device in sdk.context().query_devices()]
        wanted = self._settings.source
        if (wanted and wanted not in serials) or not serials:
            raise CameraError(
                f"camera {self._name!r}: got no RealSense {wanted or 'at all'}, expected it on USB. "
                f"Serial numbers here: {', '.join(serials) or 'none'}"
            )
        config = sdk.config()
        config.enable_device(wanted or serials[0])
        config.enable_stream(
            sdk.stream.color,
            self._settings.width,
            self._settings.height,
            sdk.format.rgb8,
            round(self._settings.rate_hz),
        )
        pipeline = sdk.pipeline()
        try:
            profile = pipeline.start(config)
        except RuntimeError as error:
            raise CameraError(
                f"camera {self._name!r}: the RealSense refuses {self._settings.width}x{self._settings.height} rgb8 at "
                f"{self._settings.rate_hz:g} Hz ({error}). Choose a size and rate it has, on USB 3."
            ) from error
        stream = profile.get_stream(sdk.stream.color).as_video_stream_profile()
        self._focal_px = float(stream.get_intrinsics().fx)
        self._pipeline = pipeline

    def read(self) -> Frame:
        """See `CameraSource.read`; the stamp is the SDK's when it is on the host's clock, else the time of arrival."""
        sdk = _sdk()
        if self._pipeline is None:
            raise CameraError(f"camera {self._name!r}: is not open")
        try:
            frame = self._pipeline.wait_for_frames(READ_TIMEOUT_MS).get_color_frame()
        except RuntimeError as error:
            raise CameraError(f"camera {self._name!r}: the RealSense sends no frames ({error})") from error
        now_ns = self._clock_ns()
        host_clock = frame.get_frame_timestamp_domain() in (
            sdk.timestamp_domain.global_time,
            sdk.timestamp_domain.system_time,
        )
        captured_ns = int(frame.get_timestamp() * NS_PER_MS) if host_clock else now_ns
        return Frame(min(captured_ns, now_ns), np.asarray(frame.get_data()).copy())

    def close(self) -> None:
        """See `CameraSource.close`."""
        if self._pipeline is not None:
            self._pipeline.stop()
            self._pipeline = None
