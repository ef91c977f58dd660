"""Starts the graph of a Franka Research 3: `ros2 launch defi_ros fr3.launch.py`. The list is that of `defi up fr3`."""

from defi_ros.launch import describe
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return describe("fr3")
