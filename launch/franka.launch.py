"""Starts the graph of a simulated Franka: `ros2 launch defi_ros franka.launch.py sim:=true`. The list is that of `defi up franka`."""

from defi_ros.launch import describe
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return describe("franka")
