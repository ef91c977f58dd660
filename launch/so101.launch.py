"""Starts the graph of an SO-101: `ros2 launch defi_ros so101.launch.py`. The list is that of `defi up so101`."""

from defi_ros.launch import describe
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return describe("so101")
