"""The graph of one robot as a launch description: what `ros2 launch` starts is the list that `defi up` starts."""

from __future__ import annotations

import os
import sys

from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration

from defi_ros.bringup import BringupOptions, Process, processes
from defi_ros.robot import load_robot
from launch import LaunchContext, LaunchDescription  # pyright: ignore[reportAttributeAccessIssue]

ARGUMENTS = {
    "sim": ("false", "true: a simulated robot and cameras in place of the real ones"),
    "policy": ("", "a checkpoint folder, nano, scripted, or none; empty: the robot file's"),
    "composed": ("", "true: both models in one process, false: in two; empty: the robot file's"),
    "seed": ("0", "seed of the simulated scene"),
    "namespace": ("", "namespace of every node"),
}


def describe(robot: str) -> LaunchDescription:
    """The launch description of a robot file; the argument `robot` names another one."""
    declared = [
        DeclareLaunchArgument("robot", default_value=robot, description="name of a robot file, or the path of one"),
        *(DeclareLaunchArgument(name, default_value=d, description=text) for name, (d, text) in ARGUMENTS.items()),
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[ExecuteProcess]:
    """The processes that the launch arguments ask for."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ("robot", *ARGUMENTS)}
    options = BringupOptions(
        robot=given["robot"],
        sim=_truth("sim", given["sim"]),
        policy=given["policy"] or None,
        composed=_truth("composed", given["composed"]) if given["composed"] else None,
        seed=int(given["seed"]),
        namespace=given["namespace"],
    )
    return [_action(process) for process in processes(load_robot(options.robot), options)]


def _truth(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{name}:={text}: got {text!r}, expected true or false")
    return text.lower() == "true"


def _action(process: Process) -> ExecuteProcess:
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
