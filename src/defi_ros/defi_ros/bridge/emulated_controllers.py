"""The ROS face of the emulated controllers: the topics and services that real controllers have. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from control_msgs.msg import JointTrajectoryControllerState
from control_msgs.srv import QueryTrajectoryState
from geometry_msgs.msg import PoseStamped, TwistStamped
from moveit_msgs.msg import ServoStatus
from moveit_msgs.srv import ServoCommandType
from sensor_msgs.msg import JointState as JointStateMessage
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory

from defi_models.contract import FloatArray
from defi_ros.bridge import qos
from defi_ros.bridge.convert import float_array, to_ns, to_stamp
from defi_ros.bridge.emulated_goals import EmulatedGoals, point_to, trajectory_from
from defi_ros.bridge.lifecycle import DefiNode
from defi_ros.robot import RobotFile
from defi_sim.controllers import (
    ArmController,
    CartesianPoseController,
    CommandType,
    EmulatedArm,
    ForwardPositionController,
    ForwardVelocityController,
    JointTrajectoryController,
    PoseCommand,
    PostureCommand,
    Refusal,
    ServoCommand,
    ServoController,
    TrajectoryGoal,
)
from defi_sim.simulation import Readings

FORWARD, VELOCITY, TRAJECTORY = "forward_position", "forward_velocity", "joint_trajectory"
CARTESIAN, SERVO_TWIST, SERVO_POSE = "cartesian_pose", "servo_twist", "servo_pose"
SERVO = "servo"
# What is served, and the usual name of each.
ENDPOINTS = {
    FORWARD: "forward_position_controller/commands",
    VELOCITY: "forward_velocity_controller/commands",
    TRAJECTORY: "joint_trajectory_controller/joint_trajectory",
    CARTESIAN: "target_pose",
    "nullspace": "target_joint",
    SERVO: "servo_node",
    "parallel_gripper_command": "panda_gripper/gripper_cmd",
    "gripper_command": "panda_gripper/gripper_action",
    "franka_gripper": "franka_gripper",
    "gripper_position": "gripper_position_controller/commands",
}
STATE_PERIOD_S = 0.02  # of the topics that a controller speaks on: state_publish_rate 50 Hz, Servo's period 10 ms


class SimulationLike(Protocol):
    """The part of `Simulation` and `KinematicSimulation` needed here."""

    arm: EmulatedArm
    gripper: Any

    def request(self, work: Any) -> None:
        """Leaves work for the next slice."""
        ...

    def cancel(self, now_ns: int, goal_id: str, trajectory: JointTrajectoryController) -> None:
        """Ends a goal."""
        ...

    def check_gripper(self, position_m: float, now_ns: int) -> None:
        """Refuses a goal of the gripper."""
        ...


class KinematicsLike(Protocol):
    """What controllers that work on poses need; see `defi_sim.controllers.cartesian_pose.CartesianSolver`."""

    def forward(self, q: FloatArray) -> FloatArray:
        """Pose of the tool."""
        ...

    def inverse(self, pose: FloatArray, seed: FloatArray, posture: FloatArray | None = None) -> Any:
        """Joints for a pose."""
        ...


def make_controllers(joint_names: tuple[str, ...], kinematics: KinematicsLike) -> dict[str, ArmController]:
    """One controller of each kind; all belong to one thread, so those that work on poses share the kinematics."""
    return {
        FORWARD: ForwardPositionController(joint_names),
        VELOCITY: ForwardVelocityController(joint_names),
        TRAJECTORY: JointTrajectoryController(joint_names),
        CARTESIAN: CartesianPoseController(kinematics),
        SERVO: ServoController(kinematics),
    }


def endpoint_names(robot: RobotFile) -> dict[str, str]:
    """The usual names, except where the robot file gives what it commands another."""
    names = dict(ENDPOINTS)
    driver, gripper = robot.driver, robot.gripper
    if driver.topic and driver.kind in names:
        names[driver.kind] = driver.topic
    names["nullspace"] = driver.nullspace_topic or names["nullspace"]
    names[SERVO] = driver.servo_node
    kind = "gripper_position" if gripper.kind == FORWARD else gripper.kind
    if gripper.action and kind in names:
        names[kind] = gripper.action
    return names


class EmulatedControllers:
    """Subscribes and serves for the controllers of one simulation; made in configure, released with the node.

    Callbacks run in the thread that spins the node and leave their commands for the physics thread, which calls
    `settle` after every slice.
    """

    def __init__(
        self,
        node: DefiNode,
        simulation: SimulationLike,
        controllers: Mapping[str, ArmController],
        joint_names: tuple[str, ...],
        names: Mapping[str, str],
    ) -> None:
        """Opens topics, services and actions.

        Args:
            node: The node that owns them.
            simulation: Takes the commands.
            controllers: Its controllers, as `make_controllers` gives them.
            joint_names: The arm's joints and the finger, in the order of `joint_states`.
            names: Topic, action or node of each entry of `ENDPOINTS`.
        """
        self._node = node
        self._arm = simulation.arm
        self._simulation = simulation
        trajectory, servo = controllers[TRAJECTORY], controllers[SERVO]
        assert isinstance(trajectory, JointTrajectoryController) and isinstance(servo, ServoController)
        self._trajectory, self._servo = trajectory, servo
        self._joint_names = list(joint_names[:-1])
        self._readings: Readings | None = None
        base = names[TRAJECTORY].removesuffix("/joint_trajectory")
        self._goals = EmulatedGoals(node, simulation, trajectory, joint_names, {**names, TRAJECTORY: base})
        self._listen(names)
        self._offer_trajectory(base)
        self._offer_servo(names[SERVO])
        node.every(STATE_PERIOD_S, self._tell)

    def settle(self, readings: Readings, now_ns: int) -> list[Refusal]:
        """Ends the goals that ended in the last slice; physics thread. Returns the commands that were refused."""
        self._readings = readings
        refusals = self._arm.take_refusals()
        self._goals.settle(readings, refusals, now_ns)
        return refusals

    def abandon(self) -> None:
        """Aborts every goal, because nothing moves any more; after the physics thread ended."""
        self._goals.abandon()

    # Topics ----------------------------------------------------------------------------------------------------------

    def _listen(self, names: Mapping[str, str]) -> None:
        hear = self._node.hear
        post = self._arm.post
        hear(names[FORWARD], Float64MultiArray, lambda message: post(FORWARD, message.data), qos.COMMANDS)
        hear(names[VELOCITY], Float64MultiArray, lambda message: post(VELOCITY, message.data), qos.COMMANDS)
        hear(names[TRAJECTORY], JointTrajectory, self._hear_trajectory, qos.EVENTS)
        self._poses = hear(names[CARTESIAN], PoseStamped, self._hear_pose, qos.COMMANDS)
        self._postures = hear(names["nullspace"], JointStateMessage, self._hear_posture, qos.COMMANDS)
        hear(names["gripper_position"], Float64MultiArray, self._hear_gripper, qos.COMMANDS)
        servo = names[SERVO]
        twists = names.get(SERVO_TWIST, f"{servo}/delta_twist_cmds")
        poses = names.get(SERVO_POSE, f"{servo}/pose_target_cmds")
        hear(twists, TwistStamped, self._hear_servo_twist, qos.COMMANDS)
        hear(poses, PoseStamped, self._hear_servo_pose, qos.COMMANDS)

    def _hear_trajectory(self, message: JointTrajectory) -> None:
        self._arm.post(TRAJECTORY, TrajectoryGoal(trajectory_from(message)))

    def _hear_pose(self, message: PoseStamped) -> None:
        publishers = self._node.count_publishers(self._poses.topic_name)
        self._arm.post(CARTESIAN, PoseCommand(_pose_from(message), publishers))

    def _hear_posture(self, message: JointStateMessage) -> None:
        publishers = self._node.count_publishers(self._postures.topic_name)
        self._arm.post(CARTESIAN, PostureCommand(np.array(message.position), publishers))

    def _hear_gripper(self, message: Float64MultiArray) -> None:
        if len(message.data) == 1:
            self._goals.move_gripper(message.data[0])

    def _hear_servo_twist(self, message: TwistStamped) -> None:
        linear, angular = message.twist.linear, message.twist.angular
        twist = np.array([linear.x, linear.y, linear.z, angular.x, angular.y, angular.z])
        self._arm.post(SERVO, ServoCommand(CommandType.TWIST, twist, to_ns(message.header.stamp)))

    def _hear_servo_pose(self, message: PoseStamped) -> None:
        self._arm.post(SERVO, ServoCommand(CommandType.POSE, _pose_from(message), to_ns(message.header.stamp)))

    # What controllers say and answer -----------------------------------------------------------------------------------

    def _offer_trajectory(self, base: str) -> None:
        self._states = self._node.say(f"{base}/controller_state", JointTrajectoryControllerState, qos.STREAM)
        self._node.offer(f"{base}/query_state", QueryTrajectoryState, self._on_query)

    def _on_query(self, request: Any, response: Any) -> Any:
        time_ns = to_ns(request.time)
        state = self._trajectory.query(time_ns)
        response.success = state is not None
        if state is None:
            response.message = f"no trajectory runs at {time_ns} ns"
            return response
        response.name = self._joint_names
        response.position = float_array(state.positions)
        response.velocity = [] if state.velocities is None else float_array(state.velocities)
        response.acceleration = [] if state.accelerations is None else float_array(state.accelerations)
        return response

    def _offer_servo(self, servo: str) -> None:
        def switch(request: Any, response: Any) -> Any:
            response.success = self._servo.switch_command_type(request.command_type)
            return response

        def pause(request: Any, response: Any) -> Any:
            self._servo.paused = bool(request.data)
            response.success = True
            return response

        self._node.offer(f"{servo}/switch_command_type", ServoCommandType, switch)
        self._node.offer(f"{servo}/pause_servo", SetBool, pause)
        self._status = self._node.say(f"{servo}/status", ServoStatus, qos.STREAM)

    def _tell(self) -> None:
        """Says the states, where anybody listens."""
        if self._status.get_subscription_count():
            self._status.publish(ServoStatus(code=int(self._servo.code), message=self._servo.code.name.lower()))
        readings, desired = self._readings, self._trajectory.desired
        if readings is None or desired is None or not self._states.get_subscription_count():
            return
        state = JointTrajectoryControllerState(joint_names=self._joint_names, speed_scaling_factor=1.0)
        state.header.stamp = to_stamp(self._node.now_ns())
        state.reference = state.output = point_to(desired.positions, desired.velocities)
        state.feedback = point_to(readings.positions, readings.velocities)
        state.error = point_to(desired.positions - readings.positions)
        self._states.publish(state)


def _pose_from(message: PoseStamped) -> FloatArray:
    at, turn = message.pose.position, message.pose.orientation
    return np.array([at.x, at.y, at.z, turn.x, turn.y, turn.z, turn.w])
