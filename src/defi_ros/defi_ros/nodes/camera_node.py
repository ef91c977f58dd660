"""One camera on the graph: reads it in its own thread, stamps at capture, withholds what is no live image."""

from __future__ import annotations

import threading

from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from defi_models.contract import ConfigError
from defi_ros.bridge import qos
from defi_ros.bridge.images import COMPRESSED, camera_info_to, compressed_to, depth_to, image_to
from defi_ros.bridge.lifecycle import DefiNode, run
from defi_ros.drivers.cameras import CameraError, CameraSource, Frame, make_camera
from defi_ros.drivers.cameras.watch import CameraWatch

RECONNECT_S = 1.0


class CameraNode(DefiNode):
    """Publishes camera/<name>/image_raw, its JPEG twin, camera_info and, where the camera has it, depth.

    The parameter `camera` names a camera of the robot file. JPEG is made only while somebody hears it.
    """

    NAME = "camera_node"
    SECTIONS = ("cameras",)

    def __init__(self, **options) -> None:
        """See `DefiNode`."""
        super().__init__(**options)
        self.declare_parameter("camera", "")

    def configure(self) -> None:
        """Opens the camera, so that one that is missing is named at once."""
        robot = self.robot_file()
        name = str(self.get_parameter("camera").value)
        settings = robot.cameras.get(name)
        if settings is None:
            raise ConfigError(
                f"{self.get_name()}: got camera {name!r}, expected one of {', '.join(robot.cameras)} (parameter 'camera')"
            )
        self._name, self._frame_id = name, f"camera_{name}_optical_frame"
        self._watch = CameraWatch(name, settings.width, settings.height)
        self._camera: CameraSource = make_camera(name, settings, self.now_ns)
        self._camera.open()
        self._images = self.say(f"camera/{name}/image_raw", Image, qos.IMAGES)
        self._compressed = self.say(f"camera/{name}/image_raw{COMPRESSED}", CompressedImage, qos.IMAGES)
        self._infos = self.say(f"camera/{name}/camera_info", CameraInfo, qos.IMAGES)
        self._depths = self.say(f"camera/{name}/depth/image_raw", Image, qos.IMAGES) if settings.depth else None

    def activate(self) -> None:
        """Starts the reading thread."""
        self.start_worker(f"camera_{self._name}", self._read)

    def cleanup(self) -> None:
        """Closes the camera."""
        self._camera.close()

    def _read(self, stop: threading.Event) -> None:
        connected = True
        while not stop.is_set():
            try:
                if not connected:
                    self._camera.open()
                    connected = True
                frame = self._camera.read()
            except CameraError as error:
                self.health.trouble("connection", str(error))
                self._camera.close()
                connected = False
                stop.wait(RECONNECT_S)
                continue
            self.health.trouble("connection", None)
            reason = self._watch.judge(frame.image, frame.time_ns)
            self.health.trouble("image", reason)
            if reason is None:
                self._publish(frame)

    def _publish(self, frame: Frame) -> None:
        height, width = frame.image.shape[:2]
        self._images.publish(image_to(frame.image, frame.time_ns, self._frame_id))
        if self._compressed.get_subscription_count():
            self._compressed.publish(compressed_to(frame.image, frame.time_ns, self._frame_id))
        if self._depths is not None and frame.depth_mm is not None:
            self._depths.publish(depth_to(frame.depth_mm, frame.time_ns, self._frame_id))
        self._infos.publish(camera_info_to(height, width, self._camera.lens, frame.time_ns, self._frame_id))
        self.health.count((self.now_ns() - frame.time_ns) / 1e6)


def main() -> None:
    """Runs the node."""
    raise SystemExit(run(CameraNode))


if __name__ == "__main__":
    main()
