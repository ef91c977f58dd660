"""Emulators of the controllers a real arm has: time and commands in, joint set points out; no ROS, no thread, no clock.

| class                       | behaves like                                                        |
|-----------------------------|---------------------------------------------------------------------|
| `ForwardPositionController` | forward_command_controller/ForwardCommandController on position     |
| `ForwardVelocityController` | the same on velocity                                                |
| `JointTrajectoryController` | joint_trajectory_controller, topic and action                       |
| `CartesianPoseController`   | a crisp-like Cartesian impedance controller following `target_pose` |
| `ServoController`           | MoveIt Servo following twists or poses                              |
| `GripperController`         | parallel_gripper_action_controller and GripperActionController      |
| `FrankaHand`                | franka_gripper's own actions, on a `GripperController`              |
| `FrankaStatus`, `UrStatus`  | what the robots say of themselves, and their recovery               |
| `EmulatedArm`               | the controller manager: one controller owns the arm, restarts       |
"""

from defi_sim.controllers.cartesian_pose import CartesianPoseController, ImpedanceOptions, PoseCommand, PostureCommand
from defi_sim.controllers.emulated_arm import RESTART_S, EmulatedArm, Refusal
from defi_sim.controllers.forward_position import ForwardPositionController
from defi_sim.controllers.forward_velocity import ForwardVelocityController
from defi_sim.controllers.franka_gripper import FrankaHand, HandGoal, HandResult
from defi_sim.controllers.gripper import FINGER_STROKE_M, GripperController, GripperOptions, GripperResult
from defi_sim.controllers.interface import ArmController, CommandRefusedError
from defi_sim.controllers.joint_trajectory import (
    ErrorCode,
    GoalResult,
    JointTrajectoryController,
    TrajectoryGoal,
    TrajectoryOptions,
    TrajectoryRefusedError,
)
from defi_sim.controllers.robot_status import FrankaMode, FrankaStatus, UrMode, UrSafety, UrStatus
from defi_sim.controllers.servo import CommandType, ServoCode, ServoCommand, ServoController, ServoOptions
from defi_sim.controllers.trajectory import JointState, Trajectory, TrajectoryPoint

__all__ = [
    "FINGER_STROKE_M",
    "RESTART_S",
    "ArmController",
    "CartesianPoseController",
    "CommandRefusedError",
    "CommandType",
    "EmulatedArm",
    "ErrorCode",
    "ForwardPositionController",
    "ForwardVelocityController",
    "FrankaHand",
    "FrankaMode",
    "FrankaStatus",
    "GoalResult",
    "GripperController",
    "GripperOptions",
    "GripperResult",
    "HandGoal",
    "HandResult",
    "ImpedanceOptions",
    "JointState",
    "JointTrajectoryController",
    "PoseCommand",
    "PostureCommand",
    "Refusal",
    "ServoCode",
    "ServoCommand",
    "ServoController",
    "ServoOptions",
    "Trajectory",
    "TrajectoryGoal",
    "TrajectoryOptions",
    "TrajectoryPoint",
    "TrajectoryRefusedError",
    "UrMode",
    "UrSafety",
    "UrStatus",
]
