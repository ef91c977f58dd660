"""Robot file values as ROS parameters."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy")

import rclpy
from rclpy.context import Context
from rclpy.parameter import Parameter

from defi_models.contract import ConfigError
from defi_ros.bridge.lifecycle import DefiNode
from defi_ros.robot import load_robot

pytestmark = pytest.mark.ros


class Node(DefiNode):
    NAME = "params"
    SECTIONS = ("control", "cameras")


@pytest.fixture
def make():
    context = Context()
    rclpy.init(args=[], context=context)
    made: list[Node] = []

    def node(**parameters):
        made.append(Node(context=context, parameters=parameters))
        return made[-1]

    yield node
    for one in made:
        one.destroy_node()
    context.try_shutdown()


def test_without_overrides_a_node_reads_the_robot_file_as_it_is(make):
    assert make(robot="franka").robot_file() == load_robot("franka")


def test_a_parameter_overrides_a_single_value_and_is_visible(make):
    node = make(**{"robot": "franka", "control.rate_hz": 100, "cameras.wrist.max_age_s": 0.5})
    robot = node.robot_file()
    assert robot.control.rate_hz == 100.0 and robot.cameras["wrist"].max_age_s == 0.5
    assert node.get_parameter("control.rate_hz").value == 100.0
    assert node.get_parameter("control.blend_s").value == load_robot("franka").control.blend_s
    assert node.describe_parameter("control.rate_hz").description.startswith("Rate of the command loop")


def test_a_list_can_be_overridden(make):
    robot = make(**{"robot": "franka", "workspace.lower": [0.2, -0.5, 0.0]}).robot_file()
    assert robot.workspace.lower == (0.2, -0.5, 0.0)


def test_values_of_the_robot_file_cannot_change_under_a_running_node(make):
    node = make(robot="franka")
    node.robot_file()
    result = node.set_parameters([Parameter("control.rate_hz", value=50.0)])
    assert not result[0].successful


def test_no_robot_says_how_to_name_one(make):
    with pytest.raises(ConfigError, match=r"got no robot, expected the parameter 'robot' .* -p robot:=franka"):
        make().robot_file()


def test_an_unknown_robot_names_those_that_exist(make):
    with pytest.raises(ConfigError, match="Did you mean 'franka'"):
        make(robot="frankaa").robot_file()


def test_a_misspelt_parameter_is_refused_with_the_nearest(make):
    with pytest.raises(ConfigError, match=r"parameters of params: control.rate_h: .*Did you mean 'rate_hz'"):
        make(**{"robot": "franka", "control.rate_h": 100.0}).robot_file()


def test_a_parameter_out_of_range_is_refused_with_range_and_unit(make):
    with pytest.raises(ConfigError, match=r"got 5 Hz, expected 50..1000 Hz"):
        make(**{"robot": "franka", "control.rate_hz": 5.0}).robot_file()
