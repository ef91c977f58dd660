"""camera_node with a video file for a camera."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("cv2")

import cv2
from sensor_msgs.msg import CameraInfo, Image

from defi_ros.bridge import qos
from defi_ros.bridge.convert import image_from, to_ns
from defi_ros.nodes.camera_node import CameraNode

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
