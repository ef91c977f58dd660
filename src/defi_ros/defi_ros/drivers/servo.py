"""MoveIt Servo: every tick a stamped twist or pose; it halts by itself 0.1 s after the last one.

Servo compares the stamp with its own clock, so both computers must agree on the time. Before it listens it must be told
which kind of command comes, and be un-paused; `prepare` does both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from geometry_msgs.msg import TwistStamped
from moveit_msgs.msg import ServoStatus
from moveit_msgs.srv import ServoCommandType
from scipy.spatial.transform import Rotation
from std_srvs.srv import SetBool

from defi_models.contract import FloatArray, Workspace
from defi_ros.bridge import qos
from defi_ros.bridge.caller import Caller, CallError
from defi_ros.bridge.convert import to_stamp
from defi_ros.control.command import Alone
from defi_ros.drivers.cartesian_pose import PoseStream
from defi_ros.drivers.catching_up import CatchingUp
from defi_ros.drivers.interface import DriverError, KinematicsLike, Speaker, TopicDriver

STATUS_SILENCE_S = 1.0  # Servo says how it fares in every one of its periods of 10 ms
HALTS = {
    ServoStatus.INVALID: "is in an invalid state",
    ServoStatus.HALT_FOR_SINGULARITY: "halted before a singularity",
    ServoStatus.HALT_FOR_COLLISION: "halted before a collision",
}
# See `CatchingUp`, of a twist [m, m, m, rad, rad, rad].
MOST_MADE_UP_FOR, REST_TOLERANCE = np.repeat([0.15, 0.3], 3), 1e-3
GOES_ON_S = 0.05  # half of the patience of Servo; a message may take its time


class ServoDriver(TopicDriver):
    """What both kinds of command share: making Servo listen, and hearing how it fares."""

    COMMAND_TYPE: int

    def __init__(self, node: Speaker, servo_node: str, publisher: Any) -> None:
        """Hears the status of the node named `servo_node`."""
        super().__init__(publisher)
        self._servo = servo_node
        self._heard_s: float | None = None
        self._halt: str | None = None
        node.hear(f"{servo_node}/status", ServoStatus, self._on_status, qos.STATES)

    def _on_status(self, message: ServoStatus) -> None:
        self._heard_s = time.monotonic()
        what = HALTS.get(message.code)
        self._halt = None if what is None else f"{self._servo} {what}: {message.message}"

    def prepare(self, call: Caller, timeout_s: float) -> None:
        """Tells Servo which kind of command comes, and un-pauses it.

        Raises:
            DriverError: it does not answer or refuses.
        """
        switch, pause = f"{self._servo}/switch_command_type", f"{self._servo}/pause_servo"
        try:
            request = ServoCommandType.Request(command_type=self.COMMAND_TYPE)
            if not call.service(ServoCommandType, switch, request, timeout_s).success:
                raise CallError(f"{switch}: refused command type {self.COMMAND_TYPE}")
            answer = call.service(SetBool, pause, SetBool.Request(data=False), timeout_s)
            if not answer.success:
                raise CallError(f"{pause}: refused to go on: {answer.message}")
        except CallError as error:
            raise DriverError(
                f"servo: {error}. Start MoveIt Servo, or correct `driver.servo_node` in the robot file."
            ) from error
        self._heard_s = None

    def poll(self) -> str | None:
        """Whether Servo halts, or has fallen silent after it had spoken."""
        if self._heard_s is not None and time.monotonic() - self._heard_s > STATUS_SILENCE_S:
            return f"servo: got no {self._servo}/status for {STATUS_SILENCE_S:g} s, expected one in each of its periods"
        return self._halt


class ServoPoseDriver(ServoDriver):
    """Publishes geometry_msgs/PoseStamped in the base frame; Servo moves there at its own speed."""

    COMMAND_TYPE = ServoCommandType.Request.POSE

    def __init__(
        self,
        node: Speaker,
        forward: Callable[[FloatArray], FloatArray],
        base_frame: str,
        servo_node: str,
        topic: str = "",
    ) -> None:
        """Makes the publisher; `forward` gives the pose, shape (7,), for joints, shape (joints,) [rad]."""
        self._pose = PoseStream(node, topic or f"{servo_node}/pose_target_cmds", forward, base_frame)
        super().__init__(node, servo_node, self._pose.publisher)

    def send(self, positions: FloatArray, velocities: FloatArray, measured: FloatArray | None, time_ns: int) -> None:
        """See `ArmDriver.send`."""
        del velocities, measured
        self._pose.send(positions, time_ns)


class ServoTwistDriver(ServoDriver):
    """Publishes geometry_msgs/TwistStamped of the tool centre point in the base frame [m/s, rad/s].

    Servo's `command_in_type` must be `speed_units`.
    """

    COMMAND_TYPE = ServoCommandType.Request.TWIST

    def __init__(
        self,
        node: Speaker,
        kinematics: KinematicsLike,
        base_frame: str,
        servo_node: str,
        workspace: Workspace,
        correction_hz: float,
        topic: str = "",
    ) -> None:
        """Makes the publisher.

        Args:
            node: Owns it.
            kinematics: Of the arm.
            base_frame: Frame of the twists.
            servo_node: Name of Servo's node.
            workspace: Its speeds bound what is sent, its accelerations how fast what is made up for changes.
            correction_hz: How fast a distance between measured and wanted pose is made up for [1/s].
            topic: Command topic.
        """
        publisher = node.say(topic or f"{servo_node}/delta_twist_cmds", TwistStamped, qos.COMMANDS)
        super().__init__(node, servo_node, publisher)
        self._publisher = publisher
        self._kinematics = kinematics
        self._fastest = workspace.velocity_m_s, workspace.velocity_rad_s
        self._catching_up = CatchingUp(
            correction_hz,
            most=MOST_MADE_UP_FOR,
            tolerance=REST_TOLERANCE,
            acceleration=np.repeat([workspace.acceleration_m_s2, workspace.acceleration_rad_s2], 3),
        )
        self._message = TwistStamped()
        self._message.header.frame_id = base_frame

    def send(self, positions: FloatArray, velocities: FloatArray, measured: FloatArray | None, time_ns: int) -> None:
        """See `ArmDriver.send`; the tool is asked for no more than its own speed, whatever is to be made up for."""
        away = None if measured is None else self._away(positions, measured)
        twist = self._catching_up.step(away, moving=bool(velocities.any()), time_ns=time_ns)
        twist = twist + self._kinematics.jacobian(positions) @ velocities
        for part, fastest in zip(np.split(twist, 2), self._fastest, strict=True):  # views
            part *= min(1.0, fastest / max(float(np.linalg.norm(part)), 1e-9))
        self._say(twist, time_ns)

    def alone(self, time_ns: int) -> Alone:
        """See `ArmDriver.alone`: it goes on for 0.1 s, then halts."""
        return Alone.GOES_ON if self._catching_up.is_recent(time_ns, GOES_ON_S) else Alone.STOPS

    def _away(self, positions: FloatArray, measured: FloatArray) -> FloatArray:
        """The way from the measured pose of the tool to the wanted one, shape (6,) [m, rad]."""
        wanted, present = self._kinematics.forward(positions), self._kinematics.forward(measured)
        turn = Rotation.from_quat(wanted[3:]) * Rotation.from_quat(present[3:]).inv()
        return np.concatenate([wanted[:3] - present[:3], turn.as_rotvec()])

    def let_go(self, time_ns: int) -> None:
        """See `ArmDriver.let_go`."""
        self._say(np.zeros(6), time_ns)

    def stop(self, positions: FloatArray, time_ns: int) -> None:
        """See `ArmDriver.stop`."""
        del positions
        self.let_go(time_ns)

    def _say(self, twist: FloatArray, time_ns: int) -> None:
        linear, angular = self._message.twist.linear, self._message.twist.angular
        linear.x, linear.y, linear.z, angular.x, angular.y, angular.z = twist.tolist()
        self._message.header.stamp = to_stamp(time_ns)
        self._publisher.publish(self._message)
