"""camera_node with a video file for a camera."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("cv2")

import cv2
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from defi_ros.bridge import qos
from defi_ros.bridge.convert import to_ns
from defi_ros.bridge.images import compressed_to, image_from, image_to
from defi_ros.drivers.cameras import Frame
from defi_ros.nodes.camera_inputs import CameraInputs, wait_for_cameras
from defi_ros.nodes.camera_node import CameraNode
from defi_ros.nodes.joint_inputs import JointInputs
from defi_ros.robot import load_robot
from defi_ros.settings import with_values

pytestmark = pytest.mark.ros


def write_video(path, frames):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (64, 48))
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def noise(seed):
    return np.random.default_rng(seed).integers(0, 255, (48, 64, 3), dtype=np.uint8)


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "camera.avi", [noise(seed) for seed in range(10)])


def parameters(source, **changes):
    camera = "cameras.wrist."
    values = {
        "camera": "wrist",
        camera + "driver": "opencv",
        camera + "source": str(source),
        camera + "width": 64,
        camera + "height": 48,
        camera + "rate_hz": 60.0,
    }
    return {**values, **changes}


def test_images_and_camera_info_carry_the_time_of_capture(graph, video):
    images = graph.listen("camera/wrist/image_raw", Image, qos.IMAGES)
    infos = graph.listen("camera/wrist/camera_info", CameraInfo, qos.IMAGES)
    node = graph.start(CameraNode, **parameters(video))
    graph.until(lambda: len(images) > 5 and len(infos) > 5)
    assert image_from(images[-1]).shape == (48, 64, 3)
    assert images[-1].header.frame_id == "camera_wrist_optical_frame"
    assert 0 <= node.now_ns() - to_ns(images[-1].header.stamp) < 10**9
    assert (infos[-1].width, infos[-1].height) == (64, 48)
    assert {to_ns(m.header.stamp) for m in images} & {to_ns(m.header.stamp) for m in infos}


def test_a_jpeg_twin_is_made_while_somebody_hears_it(graph, video):
    node = graph.start(CameraNode, **parameters(video))
    images = graph.listen("camera/wrist/image_raw", Image, qos.IMAGES)
    graph.until(lambda: images)
    twins = graph.listen("camera/wrist/image_raw/compressed", CompressedImage, qos.IMAGES)
    graph.until(lambda: len(twins) > 2)
    assert image_from(twins[-1]).shape == (48, 64, 3)
    assert 0 <= node.now_ns() - to_ns(twins[-1].header.stamp) < 10**9


class DepthCamera:
    """A camera that also measures distance."""

    lens = None
    clock_ns = staticmethod(time.time_ns)

    def open(self):
        self.number = 0

    def read(self):
        time.sleep(0.02)
        self.number += 1
        return Frame(self.clock_ns(), noise(self.number), np.full((48, 64), 500, dtype=np.uint16))

    def close(self):
        pass


def test_depth_goes_out_under_the_stamp_of_its_colour_image(graph, monkeypatch):
    monkeypatch.setattr("defi_ros.nodes.camera_node.make_camera", lambda *_: DepthCamera())
    node = graph.add(CameraNode, **parameters("", **{"cameras.wrist.driver": "realsense", "cameras.wrist.depth": True}))
    images = graph.listen("camera/wrist/image_raw", Image, qos.IMAGES)
    depths = graph.listen("camera/wrist/depth/image_raw", Image, qos.IMAGES)
    assert node.bring_up(), node.failure
    graph.until(lambda: len(images) > 3 and len(depths) > 3)
    assert depths[-1].encoding == "16UC1" and depths[-1].header.frame_id == images[-1].header.frame_id
    assert {to_ns(message.header.stamp) for message in depths} & {to_ns(message.header.stamp) for message in images}


@pytest.mark.parametrize("topic", ["elsewhere/image_raw", "elsewhere/image_raw/compressed"])
@pytest.mark.parametrize("profile", [qos.IMAGES, qos_profile_sensor_data], ids=["reliable", "best effort"])
def test_a_camera_of_another_driver_is_heard_raw_or_compressed_reliable_or_not(graph, video, topic, profile):
    """Many camera drivers offer best effort only; asked for more, the middleware connects nobody and says little."""
    robot = with_values(
        load_robot("franka"),
        {
            "cameras.wrist.source": topic,
            "cameras.wrist.width": 64,
            "cameras.wrist.height": 48,
            "cameras.wrist.latency_s": 0.1,
        },
        "test",
    )
    node = graph.start(CameraNode, **parameters(video))  # any node of ours that can listen
    message_to, kind = (compressed_to, CompressedImage) if "compressed" in topic else (image_to, Image)
    speaker = graph.speaker(topic, kind, profile)
    image, number = noise(0), iter(range(10**6))
    graph.peer.create_timer(0.02, lambda: speaker.publish(message_to(noise(next(number)), node.now_ns())))
    graph.until(lambda: node.get_publishers_info_by_topic(topic))
    spinning = threading.Event()
    thread = threading.Thread(target=lambda: _spin(graph, spinning), name="spinning")
    thread.start()
    try:
        wait_for_cameras(node, robot, ["wrist"])
        aligned = CameraInputs(node, robot, ["wrist"], JointInputs(node, robot)).wait(5.0)
    finally:
        spinning.set()
        thread.join()
    assert aligned is not None and aligned.images["wrist"].shape == image.shape
    assert aligned.time_ns < node.now_ns() - 100_000_000, "this driver stamps 0.1 s late, says the robot file"


def _spin(graph, stop):
    while not stop.is_set():
        graph.executor.spin_once(timeout_sec=0.02)


def test_frames_of_the_wrong_size_are_withheld_and_said(graph, video):
    images = graph.listen("camera/wrist/image_raw", Image, qos.IMAGES)
    node = graph.start(CameraNode, **parameters(video, **{"cameras.wrist.width": 128}))
    graph.until(lambda: "got frames of 64x48 px, expected 128x48" in graph.diagnostics(node)["message"])
    assert not images


def test_a_camera_that_vanishes_is_said_and_comes_back(graph, video, monkeypatch):
    monkeypatch.setattr("defi_ros.nodes.camera_node.RECONNECT_S", 0.05)
    images = graph.listen("camera/wrist/image_raw", Image, qos.IMAGES)
    node = graph.start(CameraNode, **parameters(video))
    graph.until(lambda: images)
    hidden = video.with_suffix(".hidden")
    video.rename(hidden)
    node._camera._capture.release()  # as if the cable had been pulled
    graph.until(lambda: "camera 'wrist'" in graph.diagnostics(node)["message"])
    hidden.rename(video)
    count = len(images)
    graph.until(lambda: len(images) > count + 3 and not graph.diagnostics(node)["error"])


def test_a_camera_that_is_not_there_fails_configure_by_name(graph, tmp_path):
    node = graph.add(CameraNode, **parameters(tmp_path / "nothing.avi"))
    assert not node.bring_up()
    assert "camera 'wrist': got no file" in node.failure


def test_a_camera_the_robot_does_not_have_is_refused_with_those_it_has(graph, video):
    node = graph.add(CameraNode, **parameters(video, camera="wirst"))
    assert not node.bring_up()
    assert "got camera 'wirst', expected one of static, wrist" in node.failure
