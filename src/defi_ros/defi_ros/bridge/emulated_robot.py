"""A robot without scene and physics that speaks every interface of its robot file; for trying drivers, not policies."""

from __future__ import annotations

import threading
import time

import numpy as np
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from defi_ros.bridge import qos
from defi_ros.bridge.convert import float_array, to_stamp
from defi_ros.bridge.emulated_controllers import EmulatedControllers, endpoint_names, make_controllers
from defi_ros.bridge.emulated_status import EmulatedFranka, EmulatedUr
from defi_ros.bridge.lifecycle import DefiNode
from defi_ros.control.kinematics import Kinematics
from defi_sim.controllers import EmulatedArm, GripperController, GripperOptions
from defi_sim.kinematic import KinematicSimulation

PERIOD_S = 0.004
GRIPPER_TOLERANCE = 0.05  # part of the stroke


class EmulatedRobot(DefiNode):
    """Joints that follow the emulated controllers at once, a gripper, and what the robot says of itself.

    Parameters besides the robot file's: `description`, the text of the URDF.

    Attributes:
        simulation: The arm; its own thread steps it.
        franka: The status of a Franka, or None.
        ur: The status of a UR, or None.
        silent: Whether it tells no joint states.
    """

    NAME = "emulated_robot"

    def __init__(self, **options) -> None:
        """See `DefiNode`."""
        super().__init__(**options)
        self.declare_parameter("description", "")
        self.silent = False

    def configure(self) -> None:
        """Opens everything that the robot has."""
        robot = self.robot_file()
        spec, self._gripper = robot.spec, robot.gripper
        self._description = str(self.get_parameter("description").value)
        kinematics = Kinematics(self._description, spec.joint_names, spec.tip_frame, spec.limits)
        self.controllers = make_controllers(spec.joint_names, kinematics)
        stroke = (self._gripper.joint_closed, self._gripper.joint_open)
        tolerance = GRIPPER_TOLERANCE * abs(stroke[1] - stroke[0])
        gripper = GripperController(GripperOptions(goal_tolerance=tolerance, allow_stalling=True), stroke)
        arm = EmulatedArm(self.controllers)
        self.simulation = KinematicSimulation(arm, gripper, spec.home, np.array(robot.joints.velocity))
        joints = (*spec.joint_names, self._gripper.joint)
        self._endpoints = EmulatedControllers(self, self.simulation, self.controllers, joints, endpoint_names(robot))
        self.franka = EmulatedFranka(self, robot.interlock, self._changed) if robot.interlock.kind == "franka" else None
        self.ur = EmulatedUr(self, robot.interlock, self._changed) if robot.interlock.kind == "ur" else None
        self._states = self.say("joint_states", JointState, qos.STREAM)
        self._says_description = self.say("robot_description", String, qos.LATCHED)
        self._message = JointState(name=list(joints))

    def activate(self) -> None:
        """Begins to move and to speak."""
        self._says_description.publish(String(data=self._description))
        if self.ur is not None:
            self.ur.tell()
        self.start_worker("joints", self._run)

    def deactivate(self) -> None:
        """Ends all goals."""
        self._endpoints.abandon()

    def _changed(self, why: str | None, deactivated: bool) -> None:
        arm, simulation = self.simulation.arm, self.simulation

        def apply(now_ns: int) -> None:
            if why is None:
                arm.resume(now_ns, simulation.positions)
            elif arm.stopped is None or deactivated:
                arm.suspend(why, now_ns, simulation.positions, deactivate=deactivated)

        simulation.request(apply)

    def _run(self, stop: threading.Event) -> None:
        due_s = time.monotonic()
        while not stop.is_set():
            now_ns = self.now_ns()
            readings = self.simulation.advance(now_ns)
            for refusal in self._endpoints.settle(readings, now_ns):
                self.get_logger().warning(f"command refused: {refusal.reason}", throttle_duration_sec=1.0)
            message = self._message
            message.header.stamp = to_stamp(now_ns)
            message.position = float_array([*readings.positions, readings.finger_m])
            message.velocity = float_array([*readings.velocities, 0.0])
            if not self.silent:
                self._states.publish(message)
            due_s = max(due_s + PERIOD_S, time.monotonic() - PERIOD_S)
            time.sleep(max(due_s - time.monotonic(), 0.0))
