"""Each launch file starts what `defi up` starts. Needs ROS 2's launch, which is not on PyPI: skipped by name without."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("launch.actions", reason="ROS 2's `launch` is not installed (it is not on PyPI)")

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from launch.actions import IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.utilities import perform_substitutions
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from defi_msgs.msg import ControlState
from defi_ros.bridge import qos
from defi_ros.bringup import BringupOptions, processes
from defi_ros.robot import available_robots, load_robot
from defi_ros.up.surroundings import surroundings
from launch import LaunchContext, LaunchDescription, LaunchService  # pyright: ignore[reportAttributeAccessIssue]

FOLDER = Path(__file__).resolve().parents[2] / "launch"
UP_WITHIN_S = 60.0


def described(robot):
    """The launch description of a robot's own launch file."""
    specification = importlib.util.spec_from_file_location(f"{robot}_launch", FOLDER / f"{robot}.launch.py")
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.generate_launch_description()


def actions(robot="franka", **given):
    """Name -> command line of every process that a launch file starts."""
    context = LaunchContext()
    *declared, opaque = described(robot).entities
    defaults = {argument.name: perform_substitutions(context, argument.default_value) for argument in declared}
    context.launch_configurations.update(defaults | given)
    return {
        perform_substitutions(context, action.name): [perform_substitutions(context, part) for part in action.cmd]
        for action in opaque.execute(context)
    }


@pytest.mark.parametrize("robot", available_robots())
def test_a_launch_file_starts_the_processes_of_its_robot(robot):
    launched = actions(robot)
    wanted = processes(load_robot(robot), BringupOptions(robot))
    assert {name: command[3:] for name, command in launched.items()} == {
        process.name: process.command(sys.executable) for process in wanted
    }


@pytest.mark.parametrize("composed", [True, False])
def test_the_launch_file_starts_the_processes_of_defi_up(composed):
    options = BringupOptions("franka", sim=True, policy="scripted", composed=composed, seed=3)
    launched = actions(sim="true", policy="scripted", composed=str(composed).lower(), seed="3")
    assert {name: command[3:] for name, command in launched.items()} == {
        process.name: process.command(sys.executable) for process in processes(load_robot("franka"), options)
    }


def test_a_word_that_is_no_truth_value_is_refused():
    with pytest.raises(ValueError, match="sim:=yes: got 'yes', expected true or false"):
        actions(sim="yes")


@pytest.mark.ros
@pytest.mark.slow
def test_the_launched_graph_comes_up_and_ends_in_order():
    with surroundings(sim=True):
        heard, exits = asyncio.run(launch_until_heard())
    assert heard is not None and heard.mode == ControlState.HOLD
    assert set(exits) == {p.name for p in processes(load_robot("franka"), BringupOptions("franka", sim=True))}
    assert set(exits.values()) == {0}


async def launch_until_heard():
    """The first control_state that comes with joints, and the exit codes after the shutdown that follows it."""
    exits: dict[str, int] = {}
    included = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(FOLDER / "franka.launch.py")),
        launch_arguments={"sim": "true", "policy": "scripted"}.items(),
    )
    note = OnProcessExit(
        on_exit=lambda event, _: exits.update({event.process_name.rpartition("-")[0]: event.returncode})
    )
    service = LaunchService(noninteractive=True)
    service.include_launch_description(LaunchDescription([RegisterEventHandler(note), included]))
    running = asyncio.create_task(service.run_async())
    heard = await control_state_once_all_are_active()
    await asyncio.to_thread(service.shutdown)
    await asyncio.wait_for(running, 20.0)
    return heard, exits


async def control_state_once_all_are_active():
    """The newest control_state with joints once every node says that it is active: earlier ones still import."""
    context, heard, active = Context(), [], set()
    rclpy.init(args=[], context=context, domain_id=int(os.environ["ROS_DOMAIN_ID"]))
    node = Node("observer", context=context)
    node.create_subscription(ControlState, "control_state", heard.append, qos.STREAM)

    def note(message):
        for status in message.status:
            if {value.key: value.value for value in status.values}.get("state") == "active":
                active.add(status.name)

    node.create_subscription(DiagnosticArray, "/diagnostics", note, qos.EVENTS)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    wanted = {process.name for process in processes(load_robot("franka"), BringupOptions("franka", sim=True))}
    end_s = time.monotonic() + UP_WITHIN_S
    while not (wanted <= active and any(message.joint_names for message in heard)) and time.monotonic() < end_s:
        executor.spin_once(timeout_sec=0.0)
        await asyncio.sleep(0.02)
    node.destroy_node()
    context.try_shutdown()
    return heard[-1] if heard else None
