"""Robot file -> drivers. A driver's module is imported only when it is chosen, with the messages it needs."""

from __future__ import annotations

from typing import Any

from defi_models.contract import RobotSpec
from defi_ros.drivers.interface import ArmDriver, DriverError, GripperDriver, KinematicsLike, Speaker
from defi_ros.sections import ARM_DRIVERS, GRIPPER_DRIVERS, Driver, Gripper


def make_arm_driver(node: Speaker, settings: Driver, spec: RobotSpec, kinematics: KinematicsLike) -> ArmDriver:
    """The driver that `driver.kind` names.

    Raises:
        DriverError: no such kind.
    """
    makers = {
        "forward_position": _forward_position,
        "forward_velocity": _forward_velocity,
        "joint_trajectory": _joint_trajectory,
        "cartesian_pose": _cartesian_pose,
        "servo_twist": _servo,
        "servo_pose": _servo,
    }
    if settings.kind not in makers:
        raise DriverError(f"driver.kind: got {settings.kind!r}, expected one of {', '.join(ARM_DRIVERS)}")
    return makers[settings.kind](node, settings, spec, kinematics)


def _forward_position(node: Speaker, settings: Driver, spec: RobotSpec, kinematics: KinematicsLike) -> ArmDriver:
    from defi_ros.drivers.forward_position import ForwardPositionDriver

    del spec, kinematics
    return ForwardPositionDriver(node, settings.topic)


def _forward_velocity(node: Speaker, settings: Driver, spec: RobotSpec, kinematics: KinematicsLike) -> ArmDriver:
    from defi_ros.drivers.forward_velocity import ForwardVelocityDriver

    del kinematics
    return ForwardVelocityDriver(node, spec.limits, settings.correction_hz, settings.guard_timeout_s, settings.topic)


def _joint_trajectory(node: Speaker, settings: Driver, spec: RobotSpec, kinematics: KinematicsLike) -> ArmDriver:
    from defi_ros.drivers.joint_trajectory import BatchedTrajectoryDriver, JointTrajectoryDriver

    del kinematics
    names, limits = spec.joint_names, spec.limits
    if settings.sending == "batches":
        return BatchedTrajectoryDriver(node, names, limits, settings.horizon_s, settings.batch_s, settings.topic)
    return JointTrajectoryDriver(node, names, limits, settings.horizon_s, settings.topic)


def _cartesian_pose(node: Speaker, settings: Driver, spec: RobotSpec, kinematics: KinematicsLike) -> ArmDriver:
    from defi_ros.drivers.cartesian_pose import CartesianPoseDriver

    frame, topics = settings.base_frame, (settings.topic, settings.nullspace_topic)
    return CartesianPoseDriver(node, kinematics.forward, spec.joint_names, frame, *topics)


def _servo(node: Speaker, settings: Driver, spec: RobotSpec, kinematics: KinematicsLike) -> ArmDriver:
    from defi_ros.drivers.servo import ServoPoseDriver, ServoTwistDriver

    frame, servo = settings.base_frame, settings.servo_node
    if settings.kind == "servo_pose":
        return ServoPoseDriver(node, kinematics.forward, frame, servo, settings.topic)
    return ServoTwistDriver(node, kinematics, frame, servo, spec.workspace, settings.correction_hz, settings.topic)


def make_gripper_driver(node: Any, settings: Gripper) -> GripperDriver | None:
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
    if settings.kind == "franka_gripper":
        from defi_ros.drivers.franka_gripper import FrankaGripperDriver

        return FrankaGripperDriver(node, settings)
    if settings.kind == "forward_position":
        from defi_ros.drivers.forward_position_gripper import ForwardPositionGripperDriver

        return ForwardPositionGripperDriver(node, settings)
    raise DriverError(f"gripper.kind: got {settings.kind!r}, expected one of {', '.join(GRIPPER_DRIVERS)}")
