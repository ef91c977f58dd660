"""Starts the graph of a Franka Panda: `ros2 launch defi_ros panda.launch.py`. The list is that of `defi up panda`."""

from defi_ros.launch import describe
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return describe("panda")
