"""Emulators of the controllers a real arm has: time and commands in, joint set points out; no ROS, no thread, no clock.

| class                       | behaves like                                                        |
|-----------------------------|---------------------------------------------------------------------|
| `ForwardPositionController` | forward_command_controller/ForwardCommandController on position     |
| `JointTrajectoryController` | joint_trajectory_controller, topic and action                       |
| `CartesianPoseController`   | a crisp-like Cartesian impedance controller following `target_pose` |
| `GripperController`         | parallel_gripper_action_controller and GripperActionController      |
| `EmulatedArm`               | the controller manager: one controller owns the arm, restarts       |
"""

from defi_sim.controllers.cartesian_pose import CartesianPoseController, ImpedanceOptions, PoseCommand
from defi_sim.controllers.emulated_arm import RESTART_S, EmulatedArm, Refusal
from defi_sim.controllers.forward_position import ForwardPositionController
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
from defi_sim.controllers.trajectory import JointState, Trajectory, TrajectoryPoint

__all__ = [
    "FINGER_STROKE_M",
    "RESTART_S",
    "ArmController",
    "CartesianPoseController",
    "CommandRefusedError",
    "EmulatedArm",
    "ErrorCode",
    "ForwardPositionController",
    "GoalResult",
    "GripperController",
    "GripperOptions",
    "GripperResult",
    "ImpedanceOptions",
    "JointState",
    "JointTrajectoryController",
    "PoseCommand",
    "Refusal",
    "Trajectory",
    "TrajectoryGoal",
    "TrajectoryOptions",
    "TrajectoryPoint",
    "TrajectoryRefusedError",
]
