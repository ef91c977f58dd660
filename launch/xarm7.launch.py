"""Starts the graph of an xArm7: `ros2 launch defi_ros xarm7.launch.py`. The list is that of `defi up xarm7`."""

from defi_ros.launch import describe
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return describe("xarm7")
