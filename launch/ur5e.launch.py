"""Starts the graph of a UR5e: `ros2 launch defi_ros ur5e.launch.py`. The list is that of `defi up ur5e`."""

from defi_ros.launch import describe
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return describe("ur5e")
