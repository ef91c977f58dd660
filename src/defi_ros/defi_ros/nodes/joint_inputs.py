"""Where the arm was when an image was taken: joint states in by reference, the interpolated state at a time out."""

from __future__ import annotations

import threading
import time

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState

from defi_models.contract import ContractError
from defi_ros.bridge import qos
from defi_ros.bridge.convert import JointReader
from defi_ros.bridge.lifecycle import DefiNode
from defi_ros.control.alignment import JointHistory, JointSample
from defi_ros.robot import RobotFile

# Joint states may come a thousand times a second, and each that is read costs 0.2 ms. Between two that lie this far apart
# the arm is where a straight line says within a t^2 / 8: 0.1 mrad at 10 rad/s^2. A little less, so that a publisher of
# that very rate is not halved by its jitter.
APART_S = 0.009


class JointInputs:
    """Subscribes to joint_states; the callback keeps what it needs, `at` belongs to any thread.

    Args:
        node: Hears the topic; a joint state that cannot be used is its trouble.
        robot: The robot file.
    """

    def __init__(self, node: DefiNode, robot: RobotFile) -> None:
        self._node = node
        self._reader = JointReader(robot.spec.joint_names, robot.gripper)
        self._gripper_joint = robot.gripper.joint
        self._history = JointHistory(len(robot.spec.joint_names), robot.alignment)
        self._lock = threading.Lock()
        # When the last of each size came: publishers of arm and gripper are told apart by it without reading.
        self._kept_s: dict[int, float] = {}
        node.hear("joint_states", JointState, self._on_joints, qos.STATES, raw=True)

    def _on_joints(self, raw: bytes) -> None:
        now_s, size = time.monotonic(), len(raw)
        if now_s - self._kept_s.get(size, 0.0) < APART_S:
            return
        try:
            refused = self._try_keep(deserialize_message(raw, JointState))
        except ContractError as error:
            refused = str(error)
        if refused is None:
            self._kept_s[size] = now_s
        self._node.health.trouble("joint_states", refused)

    def _try_keep(self, message: JointState) -> str | None:
        """Keeps a joint state, or says why not; one without the arm, as drivers of grippers send them, is no trouble."""
        reading = self._reader.read(message)
        if reading is None:
            return None
        if reading.opening is None:
            return f"joint_states: got no gripper joint {self._gripper_joint!r}, expected it; check `gripper.joint`"
        with self._lock:
            return self._history.add(reading.time_ns, reading.positions, reading.opening, self._node.now_ns())

    def at(self, time_ns: int) -> JointSample | str:
        """The arm at `time_ns` [ns], or the reason it is not known."""
        with self._lock:
            return self._history.at(time_ns)
