"""The box of the workspace and the planes that cut it."""

import dataclasses

import numpy as np
import pytest

from defi_models.contract import TIP_LIMITS, ConfigError, ContractError, Workspace
from defi_ros.control.monitor import LimitMonitor
from defi_ros.control.safety import SafetyFilter, Verdict
from defi_ros.robot import parse_robot, robots_folder

RATE_HZ = 200
WALLS = """
  planes:
    pane: {normal: [0, -2, 0], distance_m: -0.2}
    pillar: {normal: [-1, -1, 0], distance_m: -0.5}
"""


@pytest.fixture(scope="module")
def text():
    return (robots_folder() / "franka.yaml").read_text()


@pytest.fixture(scope="module")
def walled(text):
    """The shipped robot between two walls: y < 0.2 m, and (x + y) / sqrt(2) < 0.5 m."""
    return parse_robot(text.replace("\nhome:", f"{WALLS}\nhome:", 1), "walled.yaml").spec


def test_a_robot_file_names_walls_with_a_normal_of_any_length(walled):
    np.testing.assert_allclose(walled.workspace.planes, [[0, -1, 0, -0.2], [-(0.5**0.5), -(0.5**0.5), 0, -0.5]])


@pytest.mark.parametrize(
    ("normal", "message"),
    [
        ("[0, 0, 0]", r"line \d+: workspace.planes.pane.normal: got \[0.0, 0.0, 0.0\], expected a direction x, y, z"),
        ("[0, 1]", r"workspace.planes.pane.normal: got \[0.0, 1.0\], expected a direction x, y, z"),
    ],
)
def test_a_wall_without_a_direction_is_refused(text, normal, message):
    walls = WALLS.replace("[0, -2, 0]", normal)
    with pytest.raises(ConfigError, match=message):
        parse_robot(text.replace("\nhome:", f"{walls}\nhome:", 1), "walled.yaml")


def test_normals_must_be_of_unit_length():
    with pytest.raises(ContractError, match="expected normals of unit length"):
        Workspace(np.zeros(3), np.ones(3), 0.5, np.array([[0.0, 2.0, 0.0, 0.1]]), **dict.fromkeys(TIP_LIMITS[1:], 1.0))


@pytest.mark.parametrize("seed", range(20))
def test_the_nearest_point_inside_is_inside_and_the_point_itself_where_that_is(walled, seed):
    point, box = np.random.default_rng(seed).uniform(-1, 1.5, 3), walled.workspace
    inside = box.nearest(point)
    assert (inside >= box.lower - 1e-9).all() and (inside <= box.upper + 1e-9).all()
    assert (box.planes[:, :3] @ inside >= box.planes[:, 3] - 1e-3).all()
    np.testing.assert_allclose(box.nearest(inside), inside, atol=1e-3)


def test_the_tip_stops_at_the_plane_and_says_why(walled, kinematics):
    safety, monitor = SafetyFilter(walled, kinematics, RATE_HZ), LimitMonitor(walled, RATE_HZ)
    monitor.check(np.array(walled.home), kinematics.tip(walled.home))
    target = np.array(walled.home)
    target[0] = 0.8  # turns the tip to y = 0.22 m
    for _ in range(3 * RATE_HZ):
        command = safety.step(target)
        tip = kinematics.tip(command.positions)
        assert not monitor.check(command.positions, tip), monitor.last
        assert tip[1] < 0.2 + 1e-3
    assert tip[1] > 0.19
    assert command.verdict == Verdict.LIMITED and "outside the workspace" in command.reason
    assert "and its 2 planes" in command.reason


def test_the_monitor_sees_a_tip_behind_a_plane(walled, kinematics):
    monitor = LimitMonitor(walled, RATE_HZ)
    home = np.array(walled.home)
    assert monitor.check(home, np.array([0.3, 0.1999, 0.5])) == ""
    assert "outside the workspace" in monitor.check(home, np.array([0.3, 0.2015, 0.5]))


@pytest.mark.parametrize("moved", [False, True])
def test_the_monitor_lets_an_arm_stand_where_others_put_it_and_not_where_it_went_by_itself(walled, moved):
    monitor = LimitMonitor(walled, RATE_HZ)
    home = np.array(walled.home)
    monitor.check(home, np.array([0.3, 0.1999, 0.5]))
    monitor.restart(moved=moved)
    for _ in range(RATE_HZ):
        assert monitor.check(home, np.array([0.3, 0.21, 0.5])) == ""
    assert ("going further" in monitor.check(home, np.array([0.3, 0.2115, 0.5]))) is not moved


def test_a_robot_without_walls_is_cut_by_none(spec):
    assert spec.workspace.planes.shape == (0, 4)
    assert dataclasses.replace(spec.workspace).planes.shape == (0, 4)
