"""The gripper controllers of ROS 2 Jazzy and franka_gripper (control_msgs/action/GripperCommand)."""

from __future__ import annotations

from control_msgs.action import GripperCommand
from rclpy.node import Node

from defi_ros.drivers.gripper_action import GripperAction
from defi_ros.sections import Gripper


class GripperCommandDriver(GripperAction):
    """Goals are the position of the joint [m or rad]; for franka_gripper that is half the width."""

    def __init__(self, node: Node, settings: Gripper) -> None:
        """Makes the action client."""
        self._settings = settings
        super().__init__(node, GripperCommand, settings.action, self.goal)

    def goal(self, opening: float) -> GripperCommand.Goal:
        """The goal for an opening, 0 closed .. 1 open."""
        goal = GripperCommand.Goal()
        goal.command.position = self._settings.position(opening)
        goal.command.max_effort = self._settings.max_effort_n
        return goal
