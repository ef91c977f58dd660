"""Cameras: the video file is real, the RealSense is played, the watch judges made-up frames."""

from __future__ import annotations

import re
import sys
import types

import numpy as np
import pytest

pytest.importorskip("cv2")

import cv2

from defi_ros.drivers.cameras import CameraError, CameraSource, make_camera
from defi_ros.drivers.cameras.clock import CameraClock
from defi_ros.drivers.cameras.watch import CameraWatch
from defi_ros.sections import Camera

WIDTH, HEIGHT, FRAMES = 64, 48, 5


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "camera.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for number in range(FRAMES):
        frame = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
        frame[:] = (255, 40 * number, 0)  # BGR: blue, more green with every frame
        writer.write(frame)
    writer.release()
    return path


def camera(source, driver="opencv", rate_hz=200.0):
    settings = Camera(driver=driver, source=str(source), width=WIDTH, height=HEIGHT, rate_hz=rate_hz)
    return make_camera("wrist", settings, lambda: 123)


def test_a_video_file_plays_in_a_loop_as_rgb(video):
    source = camera(video)
    assert isinstance(source, CameraSource)
    source.open()
    frames = [source.read() for _ in range(FRAMES + 1)]
    source.close()
    assert frames[0].image.shape == (HEIGHT, WIDTH, 3) and frames[0].time_ns == 123
    red, green, blue = frames[2].image[10, 10]
    assert red < 30 and abs(int(green) - 80) < 30 and blue > 220
    np.testing.assert_array_equal(frames[0].image, frames[FRAMES].image)


def test_a_video_file_keeps_its_pace(video, monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr("defi_ros.drivers.cameras.opencv.time.sleep", slept.append)
    source = camera(video, rate_hz=20.0)
    source.open()
    for _ in range(3):
        source.read()
    source.close()
    assert len(slept) == 2 and all(0.0 < pause_s <= 0.15 for pause_s in slept)


def test_a_file_that_is_missing_is_named_with_the_devices_there_are(tmp_path):
    with pytest.raises(CameraError, match=r"camera 'wrist': got no file '.*nothing.avi'.*Video devices here: "):
        camera(tmp_path / "nothing.avi").open()


def test_a_file_that_is_no_video_is_refused(tmp_path):
    path = tmp_path / "text.avi"
    path.write_text("no video")
    with pytest.raises(CameraError, match="OpenCV cannot open"):
        camera(path).open()


def test_reading_a_closed_camera_is_refused(video):
    source = camera(video)
    with pytest.raises(CameraError, match="sends no more frames"):
        source.read()


def test_a_camera_on_a_topic_needs_no_node():
    with pytest.raises(CameraError, match="got driver 'topic', expected one of opencv, realsense"):
        camera("camera/wrist/image_raw", driver="topic")


def test_a_missing_realsense_sdk_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyrealsense2", None)
    command = re.escape(f"`{sys.executable} -m pip install -r requirements/realsense.txt`")  # not another Python's
    with pytest.raises(CameraError, match=f"Install it with {command}"):
        camera("", driver="realsense").open()


class FakeSdk(types.ModuleType):
    """The part of pyrealsense2 that the camera uses."""

    def __init__(self, serials=("111",), domain="global_time"):
        super().__init__("pyrealsense2")
        self.serials, self.domain, self.stopped = serials, domain, 0
        self.stream = types.SimpleNamespace(color="color", depth="depth")
        self.format = types.SimpleNamespace(rgb8="rgb8", z16="z16")
        self.camera_info = types.SimpleNamespace(serial_number="serial")
        self.timestamp_domain = types.SimpleNamespace(hardware_clock="hardware_clock", global_time="global_time")

    def context(self):
        devices = [types.SimpleNamespace(get_info=lambda _, serial=serial: serial) for serial in self.serials]
        return types.SimpleNamespace(query_devices=lambda: devices)

    def config(self):
        return types.SimpleNamespace(enable_device=lambda *_: None, enable_stream=lambda *_: None)

    def pipeline(self, _):
        intrinsics = types.SimpleNamespace(fx=610.0, fy=611.0, ppx=31.0, ppy=23.0, coeffs=[0.0] * 5)
        stream = types.SimpleNamespace(
            as_video_stream_profile=lambda: types.SimpleNamespace(get_intrinsics=lambda: intrinsics)
        )
        frame = types.SimpleNamespace(
            get_data=lambda: np.full((HEIGHT, WIDTH, 3), 9, dtype=np.uint8),
            get_timestamp=lambda: 0.0001,
            get_frame_number=lambda: next(numbers),
            get_frame_timestamp_domain=lambda: self.domain,
        )

        numbers = iter(range(100))

        def stop():
            self.stopped += 1
            if self.domain == "hardware_clock":  # which this test also uses for a camera that was pulled out
                raise RuntimeError("no device")

        return types.SimpleNamespace(
            start=lambda _: types.SimpleNamespace(get_stream=lambda _: stream),
            wait_for_frames=lambda _: types.SimpleNamespace(get_color_frame=lambda: frame),
            stop=stop,
        )


@pytest.mark.parametrize(("domain", "time_ns"), [("global_time", 100), ("hardware_clock", 123)])
def test_a_realsense_stamps_with_its_own_time_only_when_it_is_the_host_s(monkeypatch, domain, time_ns):
    sdk = FakeSdk(domain=domain)
    monkeypatch.setitem(sys.modules, "pyrealsense2", sdk)
    source = camera("", driver="realsense")
    source.open()
    frame = source.read()
    source.close()
    source.close()
    assert frame.time_ns == time_ns and frame.image[0, 0, 0] == 9
    assert source.lens is not None and source.lens.focal_px == (610.0, 611.0) and sdk.stopped == 1


def test_a_realsense_that_is_not_there_is_named_with_those_that_are(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyrealsense2", FakeSdk(serials=("111", "222")))
    with pytest.raises(CameraError, match=r"got no RealSense 333.*Serial numbers here: 111, 222"):
        camera("333", driver="realsense").open()


# The clock of a camera ----------------------------------------------------------------------------------------------


def test_stamps_of_a_camera_s_own_clock_lose_the_jitter_of_the_way():
    """Arrivals vary by 20 ms, as over a busy USB; the distances of the stamps stay those of the camera."""
    clock, rng = CameraClock(), np.random.default_rng(0)
    captured_ns = np.arange(300) * 33_333_333 + 1_000_000_000
    arrived_ns = captured_ns + 5_000_000 + rng.integers(0, 20_000_000, 300)
    camera_ns = captured_ns - 900_000_000
    told_ns = np.array([clock.host_ns(int(c), int(a)) for c, a in zip(camera_ns, arrived_ns, strict=True)])
    assert (told_ns <= arrived_ns).all()
    late_ns = told_ns - captured_ns
    assert np.ptp(late_ns[60:]) < 1_000_000 and late_ns[60:].max() < 6_000_000


def test_a_camera_s_clock_that_drifts_is_followed():
    clock = CameraClock()
    captured_ns = np.arange(3000) * 33_333_333  # 100 s, 50 parts in a million fast
    told_ns = [clock.host_ns(int(c * 1.00005), int(c) + 5_000_000) for c in captured_ns]
    assert abs(told_ns[-1] - captured_ns[-1] - 5_000_000) < 1_000_000


@pytest.mark.parametrize("jump_ns", [-3_600_000_000_000, 3_600_000_000_000])
def test_a_camera_s_clock_that_jumps_is_read_anew(jump_ns):
    clock = CameraClock()
    for number in range(10):
        clock.host_ns(number * 33_000_000, 10**12 + number * 33_000_000)
    assert clock.host_ns(330_000_000 + jump_ns, 10**12 + 330_000_000) == 10**12 + 330_000_000


# The watch -----------------------------------------------------------------------------------------------------------


def noise(seed):
    return np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def test_live_images_pass():
    watch = CameraWatch("wrist", WIDTH, HEIGHT)
    assert [watch.judge(noise(number), number * 33_000_000) for number in range(60)] == [None] * 60


def test_images_of_another_size_are_withheld_with_both_sizes():
    reason = CameraWatch("wrist", 640, 480).judge(noise(0), 0)
    assert reason is not None and "got frames of 64x48 px, expected 640x480" in reason


def test_a_black_image_is_withheld():
    reason = CameraWatch("wrist", WIDTH, HEIGHT).judge(np.ones((HEIGHT, WIDTH, 3), dtype=np.uint8), 0)
    assert reason is not None and "is black" in reason


def capped(seed, sigma, black_level=2.0, size=(480, 640)):
    """What a sensor with noise sees behind a lens cap [of 255]."""
    values = np.random.default_rng(seed).normal(black_level, sigma, (*size, 3))
    return values.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(480, 640), (HEIGHT, WIDTH), (720, 1280)])
@pytest.mark.parametrize(("black_level", "sigma"), [(2, 1), (2, 2), (2, 4), (2, 8), (10, 4), (16, 2)])
def test_a_lens_cap_is_found_behind_the_noise_of_the_sensor(black_level, sigma, size):
    """It was once found by its brightest pixel: noise alone made one, and the policy drove on without eyes."""
    watch = CameraWatch("wrist", size[1], size[0])
    for number in range(5):
        reason = watch.judge(capped(number, sigma, black_level, size), number * 33_000_000)
        assert reason is not None and "camera 'wrist': is black (99 % of it below " in reason


@pytest.mark.parametrize("size", [(480, 640), (HEIGHT, WIDTH), (720, 1280)])
def test_a_black_image_with_stuck_pixels_is_black(size):
    image = capped(0, 1.0, size=size)
    image[7, 7] = image[14, 21] = image[14, 22] = 255
    reason = CameraWatch("wrist", size[1], size[0]).judge(image, 0)
    assert reason is not None and "is black" in reason


@pytest.mark.parametrize("size", [(480, 640), (HEIGHT, WIDTH), (720, 1280)])
@pytest.mark.parametrize("sigma", [0.0, 1.0, 4.0])
def test_a_dim_scene_in_which_something_is_seen_passes(size, sigma):
    """A table of 5 to 9 of 255, darker away from the lamp, and a block of 14 on it that covers a fiftieth."""
    rows, columns = size
    scene = np.repeat(np.linspace(5.0, 9.0, columns)[None, :, None], rows, axis=0).repeat(3, axis=2)
    scene[rows // 2 : rows // 2 + rows // 7, columns // 3 : columns // 3 + columns // 7] = 14.0
    watch, rng = CameraWatch("wrist", columns, rows), np.random.default_rng(0)
    for number in range(5):
        image = (scene + rng.normal(0.0, sigma, scene.shape)).clip(0, 255).astype(np.uint8)
        assert watch.judge(image, number * 33_000_000) is None


def test_a_lamp_in_a_hundredth_of_the_image_is_something_to_see():
    image = np.zeros((480, 640, 3), dtype=np.uint8)
    image[200:260, 300:360] = 200
    assert CameraWatch("wrist", 640, 480).judge(image, 0) is None


def test_a_dim_image_without_anything_in_it_is_withheld_with_what_was_found():
    reason = CameraWatch("wrist", WIDTH, HEIGHT).judge(np.full((HEIGHT, WIDTH, 3), 16, dtype=np.uint8), 0)
    assert reason == (
        "camera 'wrist': is black (99 % of it below 24 of 255, and its parts differ by 0.0, as noise does); "
        "its frames are withheld"
    )


def test_a_frozen_camera_is_withheld_after_a_second_and_used_again_once_it_moves():
    watch = CameraWatch("wrist", WIDTH, HEIGHT)
    reasons = [watch.judge(noise(0), number * 100_000_000) for number in range(13)]
    assert reasons[:11] == [None] * 11
    assert reasons[12] is not None and "is frozen, the same image for 1.2 s" in reasons[12]
    assert watch.judge(noise(1), 1_300_000_000) is None


def rendered(moves_after_s, seconds=3.0, image=None):
    """What a watch says of a camera without noise that shows the same image, 10 times a second, while a joint moves."""
    watch = CameraWatch("static", WIDTH, HEIGHT, noisy=False)
    image = noise(0) if image is None else image
    reasons = []
    for tick in range(round(10 * seconds)):
        reasons.append(watch.judge(image.copy(), tick * 100_000_000, moving(moves_after_s)))
    return reasons


def moving(after_s):
    """A joint that stands still at first, then turns at 0.3 rad/s."""
    return lambda time_ns: np.array([0.0, 0.3 * max(time_ns / 1e9 - after_s, 0.0)])


def test_a_rendered_camera_is_not_frozen_while_nothing_moves():
    assert rendered(moves_after_s=10.0, seconds=9.0) == [None] * 90


def test_a_camera_whose_image_stays_the_same_while_the_arm_moves_is_frozen():
    reasons = rendered(moves_after_s=1.0)
    assert reasons[:13] == [None] * 13
    assert reasons[15] == (
        "camera 'static': is frozen, the same image for 1.5 s although the arm moved by 0.12 rad; its frames are withheld"
    )


@pytest.mark.parametrize("image_first", [True, False])
@pytest.mark.parametrize("behind", [0, 25])
def test_a_scene_that_is_set_up_anew_at_once_and_then_stands_still_is_not_frozen(image_first, behind):
    """The image came before the joint state of the same moment, was taken for one of before, and never changed again.

    `behind`: how many frames later joint states arrive than images.
    """
    watch, frozen = CameraWatch("static", WIDTH, HEIGHT, noisy=False), []
    period_ns = 33_000_000
    jumped_ns = (50 + 2 * image_first) * period_ns
    for tick in range(150):
        known_ns = max(tick - behind, 0) * period_ns
        image = noise(0 if tick < 50 + 2 * (not image_first) else 1)

        def joints_at(time_ns, known_ns=known_ns):
            return np.full(7, 0.0 if min(time_ns, known_ns) < jumped_ns else 0.4)

        frozen.append(watch.judge(image, tick * period_ns, joints_at))
    assert not any(frozen)


def test_one_pixel_that_changes_anywhere_shows_that_a_camera_lives():
    watch = CameraWatch("static", 640, 480, noisy=False)
    still = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    for tick in range(30):
        image = still.copy()
        image[1, 2, 0] = tick  # not one of the pixels of the sample
        assert watch.judge(image, tick * 100_000_000, moving(0.0)) is None


def test_without_anybody_who_says_where_the_arm_is_a_rendered_camera_is_not_judged():
    watch = CameraWatch("static", WIDTH, HEIGHT, noisy=False)
    assert [watch.judge(noise(0), tick * 100_000_000) for tick in range(30)] == [None] * 30
