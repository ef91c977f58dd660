"""What the simulated robot's sensors say on the graph: joint states, cameras, the description, and the ground truth."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String

from defi_ros.bridge import qos
from defi_ros.bridge.convert import float_array, scene_to, to_stamp
from defi_ros.bridge.images import camera_info_to, image_to
from defi_ros.bridge.lens import Lens
from defi_ros.bridge.lifecycle import DefiNode
from defi_sim.cameras import CameraRig
from defi_sim.description import ARM_JOINTS, FINGER_JOINTS, robot_description
from defi_sim.scene import STATIC_CAMERA_FOVY_DEG, WRIST_CAMERA_FOVY_DEG
from defi_sim.simulation import Readings
from defi_sim.state import SceneState

FIELD_OF_VIEW_DEG = {"static": STATIC_CAMERA_FOVY_DEG, "wrist": WRIST_CAMERA_FOVY_DEG}  # vertical
JOINTS = (*ARM_JOINTS, FINGER_JOINTS[0])


class SimulatedSensors:
    """Publishers of one simulated robot, silent while the node is inactive.

    `tell_joints` and `tell_scene` belong to the physics thread, `show` to the rendering thread.
    """

    def __init__(self, node: DefiNode, cameras: Sequence[str]) -> None:
        """Opens the topics; `cameras` are names of `defi_sim.cameras.CAMERAS`."""
        self._joint_states = node.say("joint_states", JointState, qos.STREAM)
        self._scene_state = node.say("scene_state", JointState, qos.STREAM)
        self._description = node.say("robot_description", String, qos.LATCHED)
        self._images = {name: node.say(f"camera/{name}/image_raw", Image, qos.IMAGES) for name in cameras}
        self._infos = {name: node.say(f"camera/{name}/camera_info", CameraInfo, qos.IMAGES) for name in cameras}
        self._message = JointState(name=list(JOINTS))  # kept: checking eight names 200 times a second is not free

    def tell_description(self) -> None:
        """Publishes the robot description, latched."""
        self._description.publish(String(data=robot_description()))

    def tell_joints(self, readings: Readings, time_ns: int) -> None:
        """Publishes the arm's joints and the finger (half of the opening)."""
        message = self._message
        message.header.stamp = to_stamp(time_ns)
        message.position = float_array([*readings.positions, readings.finger_m])
        message.velocity = float_array([*readings.velocities, readings.finger_m_s])
        message.effort = float_array([*readings.efforts, 0.0])
        self._joint_states.publish(message)

    def tell_scene(self, scene: SceneState, time_ns: int) -> None:
        """Publishes the ground truth."""
        self._scene_state.publish(scene_to(scene.values, time_ns))

    def show(self, rig: CameraRig, time_ns: int) -> None:
        """Draws what the rig captured and publishes all cameras' images, then what is known of them, under one stamp."""
        for name, publisher in self._images.items():
            publisher.publish(image_to(rig.render(name), time_ns, frame_of(name)))
        height, width = rig.image_size
        for name, publisher in self._infos.items():
            focal_px = 0.5 * height / math.tan(math.radians(FIELD_OF_VIEW_DEG[name]) / 2.0)
            lens = Lens.through_the_middle(height, width, focal_px)
            publisher.publish(camera_info_to(height, width, lens, time_ns, frame_of(name)))


def frame_of(camera: str) -> str:
    """The frame of a camera's images."""
    return f"camera_{camera}_optical_frame"
