"""The parallel gripper controllers of ROS 2 Kilted and later (control_msgs/action/ParallelGripperCommand)."""

from __future__ import annotations

from control_msgs.action import ParallelGripperCommand
from rclpy.node import Node

from defi_ros.drivers.gripper_action import GripperAction
from defi_ros.sections import Gripper


class ParallelGripperCommandDriver(GripperAction):
    """Goals name the finger joint and its position [m or rad]."""

    def __init__(self, node: Node, settings: Gripper) -> None:
        """Makes the action client."""
        self._settings = settings
        super().__init__(node, ParallelGripperCommand, settings.action, self.goal)

    def goal(self, opening: float) -> ParallelGripperCommand.Goal:
        """The goal for an opening, 0 closed .. 1 open."""
        goal = ParallelGripperCommand.Goal()
        goal.command.name = [self._settings.joint]
        goal.command.position = [self._settings.position(opening)]
        goal.command.effort = [self._settings.max_effort_n]
        return goal
