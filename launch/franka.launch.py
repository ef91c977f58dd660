"""Starts the graph of a Franka: `ros2 launch defi_ros franka.launch.py sim:=true`. The list is that of `defi up`."""

import os
import sys

from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration

from defi_ros.bringup import BringupOptions, Process, processes
from defi_ros.robot import load_robot
from launch import LaunchContext, LaunchDescription

ARGUMENTS = {
    "robot": ("franka", "name of a robot file in config/robots, or the path of one"),
    "sim": ("false", "true: a simulated robot and cameras in place of the real ones"),
    "policy": ("", "a checkpoint folder, nano, or scripted; empty: the robot file's"),
    "composed": ("", "true: both models in one process, false: in two; empty: the robot file's"),
    "seed": ("0", "seed of the simulated scene"),
    "namespace": ("", "namespace of every node"),
}


def truth(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{name}:={text}: got {text!r}, expected true or false")
    return text.lower() == "true"


def action(process: Process) -> ExecuteProcess:
    return ExecuteProcess(
        cmd=["nice", "-n", str(min(process.nice, 0)), *process.command(sys.executable)],
        name=process.name,
        additional_env={key: value for key, value in process.environment.items() if key not in os.environ},
        output="screen",
        respawn=process.respawn,
        respawn_delay=0.2,
        respawn_max_retries=4,
        on_exit=None if process.respawn else [Shutdown(reason=f"{process.name} ended")],
    )


def start(context: LaunchContext) -> list[ExecuteProcess]:
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    options = BringupOptions(
        robot=given["robot"],
        sim=truth("sim", given["sim"]),
        policy=given["policy"] or None,
        composed=truth("composed", given["composed"]) if given["composed"] else None,
        seed=int(given["seed"]),
        namespace=given["namespace"],
    )
    return [action(process) for process in processes(load_robot(options.robot), options)]


def generate_launch_description() -> LaunchDescription:
    declared = [DeclareLaunchArgument(name, default_value=d, description=text) for name, (d, text) in ARGUMENTS.items()]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
