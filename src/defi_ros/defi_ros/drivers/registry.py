"""Robot file -> drivers. A driver's module is imported only when it is chosen, with the messages it needs."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node

from defi_models.contract import FloatArray, RobotSpec
from defi_ros.drivers.interface import ArmDriver, DriverError, GripperDriver, Speaker
from defi_ros.sections import Driver, Gripper


def make_arm_driver(
    node: Speaker, settings: Driver, spec: RobotSpec, forward: Callable[[FloatArray], FloatArray]
) -> ArmDriver:
    """The driver that `driver.kind` names; `forward` gives the pose, shape (7,), for joints, shape (joints,) [rad].

    Raises:
        DriverError: no such kind.
    """
    if settings.kind == "forward_position":
        from defi_ros.drivers.forward_position import ForwardPositionDriver

        return ForwardPositionDriver(node, settings.topic)
    if settings.kind == "joint_trajectory":
        from defi_ros.drivers.joint_trajectory import JointTrajectoryDriver

        return JointTrajectoryDriver(node, spec.joint_names, spec.limits, settings.horizon_s, settings.topic)
    if settings.kind == "cartesian_pose":
        from defi_ros.drivers.cartesian_pose import CartesianPoseDriver

        return CartesianPoseDriver(node, forward, settings.base_frame, settings.topic)
    raise DriverError(
        f"driver.kind: got {settings.kind!r}, expected one of forward_position, joint_trajectory, cartesian_pose"
    )


def make_gripper_driver(node: Node, settings: Gripper) -> GripperDriver | None:
    """The driver that `gripper.kind` names; None for an arm without a gripper.

    Raises:
        DriverError: no such kind.
    """
    if settings.kind == "none":
        return None
    if settings.kind == "parallel_gripper_command":
        from defi_ros.drivers.parallel_gripper_command import ParallelGripperCommandDriver

        return ParallelGripperCommandDriver(node, settings)
    if settings.kind == "gripper_command":
        from defi_ros.drivers.gripper_command import GripperCommandDriver

        return GripperCommandDriver(node, settings)
    raise DriverError(
        f"gripper.kind: got {settings.kind!r}, expected one of none, parallel_gripper_command, gripper_command"
    )
