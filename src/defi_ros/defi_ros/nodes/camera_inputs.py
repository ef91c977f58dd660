"""The cameras a policy looks through: images in by reference, one aligned and fresh set out, or why there is none."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from defi_models.contract import NS_PER_S, ContractError, FloatArray
from defi_ros.bridge import qos
from defi_ros.bridge.convert import to_ns
from defi_ros.bridge.images import image_from, image_type
from defi_ros.bridge.lifecycle import DefiNode, NodeError
from defi_ros.control.alignment import AlignedFrames, FrameAligner
from defi_ros.drivers.cameras.watch import CameraWatch
from defi_ros.nodes.joint_inputs import JointInputs
from defi_ros.robot import RobotFile

# A set that was completed this long before it is asked for still counts as fresh; the next one comes with the next
# frame, so using an older one saves less time than it adds to the age of what is acted upon.
FRESH_S = 0.004
LOOK_PERIOD_S = 0.05
SILENT_S = 1.0  # a camera that has sent nothing for so long is named


class CameraInputs:
    """Subscribes to cameras; callbacks only copy references in, `wait` belongs to the worker.

    Args:
        node: Hears the topics.
        robot: Says where each camera's images come in and how old they may be.
        cameras: Names of the cameras needed.
        joints: Tell whether the arm moved in front of a camera that shows no change.
    """

    def __init__(self, node: DefiNode, robot: RobotFile, cameras: Sequence[str], joints: JointInputs) -> None:
        self._node, self._joints = node, joints
        self._topics = {name: camera_topic(robot, name) for name in cameras}
        max_age_s = {name: robot.cameras[name].max_age_s for name in cameras}
        self._aligner = FrameAligner(max_age_s, robot.alignment.max_skew_s)
        self._latency_ns = {name: round(robot.cameras[name].latency_s * NS_PER_S) for name in cameras}
        self._changed = threading.Condition()
        self._fresh: AlignedFrames | None = None
        self._fresh_s = 0.0
        self._used_ns: int | None = None
        self._heard_s = dict.fromkeys(cameras, time.monotonic())
        self._refused: dict[str, str | None] = dict.fromkeys(cameras)
        self._watches = {name: make_watch(robot, name) for name in cameras}
        for name, topic in self._topics.items():
            node.hear(
                topic,
                image_type(topic),
                lambda message, name=name: self._on_image(name, message),
                image_qos(node, topic),
            )

    def _on_image(self, name: str, message: Image | CompressedImage) -> None:
        now_ns = self._node.now_ns()
        with self._changed:
            self._heard_s[name] = time.monotonic()
            self._refused[name] = refused = self._try_add(name, message, now_ns)
            aligned = self._aligner.aligned(now_ns, self._used_ns)
            if isinstance(aligned, AlignedFrames) and (self._fresh is None or aligned.time_ns != self._fresh.time_ns):
                self._fresh, self._fresh_s = aligned, time.monotonic()
                self._changed.notify_all()
        self._node.health.trouble(f"camera {name}", refused)

    def _try_add(self, name: str, message: Image | CompressedImage, now_ns: int) -> str | None:
        """Keeps an image, or says why not."""
        try:
            image = image_from(message)
        except ContractError as error:
            return f"camera {name!r}: {error}"
        stamp_ns = to_ns(message.header.stamp) - self._latency_ns[name]
        refused = self._aligner.try_stamp(name, stamp_ns, now_ns)
        refused = refused or self._watches[name].judge(image, stamp_ns, self._joints_at)
        return refused or self._aligner.add(name, stamp_ns, image, now_ns)

    def _joints_at(self, time_ns: int) -> FloatArray | None:
        sample = self._joints.at(time_ns)
        return None if isinstance(sample, str) else sample.positions

    def wait(self, timeout_s: float) -> AlignedFrames | None:
        """The next fresh set of images, each used once; None after `timeout_s`. The worker's thread."""
        asked_s = time.monotonic()
        with self._changed:
            while True:
                if self._fresh is not None and self._fresh_s >= asked_s - FRESH_S:
                    fresh, self._fresh = self._fresh, None
                    self._used_ns = fresh.time_ns
                    return fresh
                left_s = asked_s + timeout_s - time.monotonic()
                if left_s <= 0.0 or not self._changed.wait(left_s):
                    return None

    def why_none(self) -> str | None:
        """Why there are no images to act on, or None when there are, or when a refused image says so. Any thread."""
        now_s, now_ns = time.monotonic(), self._node.now_ns()
        with self._changed:
            for name, heard_s in self._heard_s.items():
                if now_s - heard_s > SILENT_S:
                    return f"camera {name!r} has sent nothing for {now_s - heard_s:.1f} s on {self._topics[name]}"
            if any(self._refused.values()):
                return None
            aligned = self._aligner.aligned(now_ns)
        return aligned if isinstance(aligned, str) else None


def camera_topic(robot: RobotFile, name: str) -> str:
    """Where a camera's images come in."""
    camera = robot.cameras[name]
    return camera.source if camera.driver == "topic" and camera.source else f"camera/{name}/image_raw"


def make_watch(robot: RobotFile, name: str) -> CameraWatch:
    """Judges what comes from a camera. Whether it has a sensor's noise is not known here: it may be a rendered one."""
    camera = robot.cameras[name]
    return CameraWatch(name, camera.width, camera.height, noisy=False)


def image_qos(node: DefiNode, topic: str) -> QoSProfile:
    """How to hear a camera: reliably, unless its driver offers no more than best effort, as many do."""
    offered = [info.qos_profile.reliability for info in node.get_publishers_info_by_topic(topic)]
    return qos.IMAGES_UNRELIABLE if ReliabilityPolicy.BEST_EFFORT in offered else qos.IMAGES


def wait_for_cameras(node: DefiNode, robot: RobotFile, cameras: Sequence[str]) -> None:
    """Returns once every camera has sent an image that can be read; for `configure`.

    A robot that starts at the same time may take a while: patience with each camera begins once there is any of them,
    or after `start_timeout_s`.

    Raises:
        NodeError: a camera has sent nothing for `policy.camera_timeout_s`, or images of another size.
        ContractError: its images cannot be read.
    """
    began_s, timeout_s = time.monotonic(), robot.policy.camera_timeout_s
    topics = {name: camera_topic(robot, name) for name in cameras}
    while not any(node.get_publishers_info_by_topic(topic) for topic in topics.values()):
        if time.monotonic() - began_s > node.start_timeout_s or node.stopping.wait(LOOK_PERIOD_S):
            timeout_s = 0.0  # there is not one camera, and that for long enough
            break
    for name, topic in topics.items():
        message = node.wait_to_hear(topic, image_type(topic), image_qos(node, topic), timeout_s=timeout_s)
        if message is None:
            waited_s = timeout_s or time.monotonic() - began_s
            publishers = [info.node_name for info in node.get_publishers_info_by_topic(topic)]
            raise NodeError(
                f"camera {name!r} has sent nothing for {waited_s:.1f} s on {topic}, expected images there. "
                f"Publishers of that topic: {', '.join(publishers) or 'none'}. The policy looks through {list(cameras)}."
            )
        wrong = make_watch(robot, name).wrong_size(image_from(message))
        if wrong is not None:
            raise NodeError(wrong)
