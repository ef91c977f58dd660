"""The RealSense driver on the real SDK: on its software device and on a recording of that.

Runs where `pip install -r requirements/realsense.txt` was done; test_cameras.py plays the SDK everywhere else.
"""

# pyright: reportAttributeAccessIssue=false
# The SDK is a compiled module without type information.

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest

# ImportError too: without libusb-1.0-0 the SDK is there and cannot be loaded
pytest.importorskip("pyrealsense2", reason="pip install -r requirements/realsense.txt", exc_type=ImportError)
pytest.importorskip("cv2")

import pyrealsense2 as sdk  # type: ignore[import-not-found]

from defi_models.contract import NS_PER_S
from defi_ros.drivers.cameras import CameraError, make_camera
from defi_ros.sections import Camera

WIDTH, HEIGHT, RATE_HZ = 64, 48, 30
SERIAL = "770"
FOCAL_PX = 60.0


class SoftwareCamera:
    """A camera of the SDK's own making that counts its frames in the colour red and in the depth."""

    def __init__(self):
        self.device = sdk.software_device()
        self.device.register_info(sdk.camera_info.serial_number, SERIAL)
        self.device.register_info(sdk.camera_info.name, "software camera")
        self.colour, self._rgb8 = self._sensor("colour", sdk.stream.color, sdk.format.rgb8, 1, 3)
        self.depth, self._z16 = self._sensor("depth", sdk.stream.depth, sdk.format.z16, 2, 2)
        self.depth.add_read_only_option(sdk.option.depth_units, 0.001)
        self._rgb8.register_extrinsics_to(self._z16, _same_place())
        self._z16.register_extrinsics_to(self._rgb8, _same_place())
        self.device.create_matcher(sdk.matchers.default)
        self._kept: list = []  # the SDK does not copy pixels, and forgets a device that nobody holds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._feed, name="software camera", daemon=True)

    def _sensor(self, name, stream, form, number, size):
        sensor = self.device.add_sensor(name)
        lens = sdk.intrinsics()
        lens.width, lens.height, lens.fx, lens.fy, lens.ppx, lens.ppy = WIDTH, HEIGHT, FOCAL_PX, FOCAL_PX, 31.0, 23.0
        lens.model, lens.coeffs = sdk.distortion.none, [0.0] * 5
        video = sdk.video_stream()
        video.type, video.index, video.uid, video.fmt, video.bpp = stream, 0, number, form, size
        video.width, video.height, video.fps, video.intrinsics = WIDTH, HEIGHT, RATE_HZ, lens
        return sensor, sensor.add_video_stream(video).as_video_stream_profile()

    def context(self):
        """A context that knows this camera, as one knows what is on USB."""
        context = sdk.context()
        context.set_devices_changed_callback(self._kept.append)
        self.device.add_to(context)
        until_s = time.monotonic() + 5.0
        while not len(context.query_devices()) and time.monotonic() < until_s:
            time.sleep(0.01)
        self._kept.append(context)
        return context

    def start(self):
        self._thread.start()

    def stop(self):
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _feed(self):
        began_s, number = time.monotonic(), 0
        while not self._stop.wait(max(began_s + number / RATE_HZ - time.monotonic(), 0.0)):
            rgb = np.full((HEIGHT, WIDTH, 3), (number % 256, 7, 9), dtype=np.uint8)
            self._say(self.colour, self._rgb8, rgb, 3, number)
            self._say(self.depth, self._z16, np.full((HEIGHT, WIDTH), 500 + number, dtype=np.uint16), 2, number)
            number += 1

    def _say(self, sensor, profile, pixels, size, number):
        frame = sdk.software_video_frame()
        self._kept.append(pixels)
        frame.pixels, frame.stride, frame.bpp = pixels.view(np.uint8), WIDTH * size, size
        frame.timestamp, frame.domain = 5000.0 + number * 1000.0 / RATE_HZ, sdk.timestamp_domain.hardware_clock
        frame.frame_number, frame.profile, frame.depth_units = number, profile, 0.001
        sensor.on_video_frame(frame)


def _same_place():
    extrinsics = sdk.extrinsics()
    extrinsics.rotation, extrinsics.translation = [1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0], [0.0] * 3
    return extrinsics


@pytest.fixture
def software(monkeypatch):
    made = SoftwareCamera()
    context = made.context()
    monkeypatch.setattr(sdk, "context", lambda: context)
    yield made
    made.stop()


def camera(source="", *, depth=False, width=WIDTH):
    settings = Camera(driver="realsense", source=str(source), width=width, height=HEIGHT, rate_hz=RATE_HZ, depth=depth)
    return make_camera("wrist", settings, time.time_ns)


@pytest.mark.parametrize("serial", ["", SERIAL])
def test_colour_and_depth_come_with_host_times_a_period_apart(software, serial):
    source = camera(serial, depth=True)
    source.open()
    software.start()
    frames = [source.read() for _ in range(20)]
    now_ns = time.time_ns()
    source.close()
    for frame in frames:
        assert frame.image.shape == (HEIGHT, WIDTH, 3) and (frame.image[0, 0, 1:] == (7, 9)).all()
        assert frame.depth_mm is not None and frame.depth_mm.shape == (HEIGHT, WIDTH)
        apart = int(frame.depth_mm[HEIGHT // 2, WIDTH // 2]) - 500 - int(frame.image[0, 0, 0])
        assert abs(apart) <= 1, "the SDK matches by time, to within one frame"
    times_ns = np.array([frame.time_ns for frame in frames])
    assert 0 <= now_ns - times_ns[-1] < NS_PER_S
    numbers = np.array([int(frame.image[0, 0, 0]) for frame in frames])
    assert (np.diff(numbers) > 0).all(), "the SDK repeats a colour image when only depth is new; the driver must not"
    np.testing.assert_allclose(np.diff(times_ns)[5:] / np.diff(numbers)[5:], NS_PER_S / RATE_HZ, rtol=0.1)
    assert source.lens is not None
    assert source.lens.focal_px == (FOCAL_PX, FOCAL_PX) and source.lens.centre_px == (31.0, 23.0)


def test_a_camera_that_falls_silent_is_said_and_comes_back(software, monkeypatch):
    monkeypatch.setattr("defi_ros.drivers.cameras.realsense.READ_TIMEOUT_MS", 200)
    source = camera()
    source.open()
    with pytest.raises(CameraError, match="camera 'wrist': the RealSense sends no frames"):
        source.read()
    source.close()
    source.open()
    software.start()
    assert source.read().image.shape == (HEIGHT, WIDTH, 3)
    source.close()


def test_a_camera_that_is_not_there_is_named_with_those_that_are(software):
    with pytest.raises(CameraError, match=rf"got no RealSense 771, expected it on USB. Serial numbers here: {SERIAL}"):
        camera("771").open()


def test_a_size_it_does_not_have_is_refused(software):
    with pytest.raises(CameraError, match="refuses 640x48 rgb8 at 30 Hz"):
        camera(width=640).open()


@pytest.fixture
def recording(software, tmp_path):
    """A file of the SDK's recorder, of half a second."""
    path = tmp_path / "camera.db3"
    pipeline, config = sdk.pipeline(sdk.context()), sdk.config()
    config.enable_device(SERIAL)
    config.enable_stream(sdk.stream.color, WIDTH, HEIGHT, sdk.format.rgb8, RATE_HZ)
    config.enable_stream(sdk.stream.depth, WIDTH, HEIGHT, sdk.format.z16, RATE_HZ)
    config.enable_record_to_file(str(path))
    pipeline.start(config)
    software.start()
    for _ in range(RATE_HZ // 2):
        pipeline.wait_for_frames(1000)
    pipeline.stop()
    software.stop()
    return path


def test_a_recording_plays_in_a_loop_as_if_it_were_seen_now(recording):
    source = camera(recording, depth=True)
    source.open()
    frames = [source.read() for _ in range(RATE_HZ)]
    now_ns = time.time_ns()
    source.close()
    reds = [int(frame.image[0, 0, 0]) for frame in frames]
    assert any(later < earlier for earlier, later in itertools.pairwise(reds)), "it began anew"
    assert all(frame.depth_mm is not None and frame.depth_mm.max() >= 500 for frame in frames)
    assert all(0 <= now_ns - frame.time_ns < 5 * NS_PER_S for frame in frames)


def test_a_recording_that_is_missing_is_named(tmp_path):
    with pytest.raises(CameraError, match=r"got no file '.*gone.bag', expected a recording"):
        camera(tmp_path / "gone.bag").open()
