"""The shipped robot files: explained, within what their robots can do, and startable."""

import argparse
import re

import numpy as np
import pytest

from defi_models.contract import ConfigError
from defi_ros import sections
from defi_ros.bringup import BringupOptions, processes
from defi_ros.control.kinematics import Kinematics
from defi_ros.control.preflight import check_robot_fits_description
from defi_ros.robot import _usual_topic, available_robots, load_robot, parse_robot, robots_folder
from defi_ros.settings import doc_of, unit_of, with_values
from defi_ros.up.processes import StopTimes
from defi_ros.up.request import add_arguments, checked

pinocchio = pytest.importorskip("pinocchio")

REAL = [name for name in available_robots() if name != "franka"]
UNITS = r"rad|rad/s|rad/s\^2|rad/s\^3|m|m/s|s|Hz|px|N|m or rad"


def request(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return checked(parser.parse_args(words))


def test_the_robots_people_have_are_shipped():
    assert set(available_robots()) == {"franka", "fr3", "panda", "ur5e", "xarm7", "so101"}


@pytest.mark.parametrize("name", available_robots())
def test_every_number_with_a_unit_says_its_unit(name):
    units = {
        field.name: unit_of(field)
        for settings in vars(sections).values()
        if hasattr(settings, "__dataclass_fields__")
        for field in settings.__dataclass_fields__.values()
        if doc_of(field)
    }
    silent = []
    text = (robots_folder() / f"{name}.yaml").read_text()
    shares = text[text.index("  limit_scale:") : text.index("workspace:")]  # parts of limits, without a unit
    for line in text.replace(shares, "").splitlines():
        found = re.match(r" +(\w+): +[-\d.\[]", line)
        if found and units.get(found[1]) and not re.search(rf"# ({UNITS})\b", line):
            silent.append(line)
    assert silent == []


@pytest.mark.parametrize("name", available_robots())
def test_limits_name_their_source(name):
    text = (robots_folder() / f"{name}.yaml").read_text()
    limits = text[text.index("joints:") : text.index("limit_scale:")]
    comments = " ".join(re.findall(r"# (.*)", limits))
    assert re.search(r"\w+/[\w/-]+\.(yaml|csv|urdf|xacro|py)\b", comments), "expected the path of a published file"


@pytest.mark.parametrize("name", REAL)
def test_a_real_robot_begins_with_a_tenth_of_its_speed(name):
    robot = load_robot(name)
    assert robot.joints.limit_scale.velocity == 0.1
    assert robot.control.start_mode == "HOLD" and robot.policy.path == sections.NO_POLICY


@pytest.mark.parametrize("name", ["franka", "panda", "ur5e", "so101"])
def test_no_limit_exceeds_that_of_the_robot_s_description(name, description_of):
    joints = load_robot(name).joints
    model = pinocchio.buildModelFromXML(description_of(name))
    order = [model.joints[model.getJointId(joint)].idx_q for joint in joints.names]
    assert (np.array(joints.lower) >= model.lowerPositionLimit[order] - 1e-4).all()
    assert (np.array(joints.upper) <= model.upperPositionLimit[order] + 1e-4).all()
    assert (np.array(joints.velocity) <= model.velocityLimit[order]).all()


def test_the_fr3_is_never_asked_for_more_than_its_speed_limit_at_that_place():
    """Its limits shrink towards the ends of its ranges; the file once went to the very end, where nothing is allowed.

    Both published formulas hold, one for each generation of system images: libfranka `rate_limiting.h`, and "Position-Based
    Velocity Limits" of https://frankarobotics.github.io/docs/robot_specifications.html.
    """
    joints = load_robot("fr3").joints
    upper, lower, speed = (np.array(row) for row in (joints.upper, joints.lower, joints.velocity))
    braking = np.array([12.0, 5.17, 7.0, 8.0, 34.0, 11.0, 34.0])  # twice the deceleration [rad/s^2]
    for offset, highest, lowest in (
        (
            (0.30, 0.20, 0.20, 0.30, 0.35, 0.35, 0.35),
            (2.7501, 1.7918, 2.9065, -0.1458, 2.8101, 4.5205, 3.0196),
            (-2.7501, -1.7918, -2.9065, -3.0481, -2.8101, 0.54092, -3.0196),
        ),
        (
            (0.6599, 0.2517, 0.2, 0.3533, 0.5757, 0.4878, 0.4628),
            (2.9007, 1.8361, 2.9007, -0.1169, 2.8763, 4.6216, 3.0508),
            (-2.9007, -1.8361, -2.9007, -3.0770, -2.8763, 0.4398, -3.0508),
        ),
    ):
        for room in (np.array(highest) - upper, lower - np.array(lowest)):
            assert (speed <= np.sqrt(braking * room) - np.array(offset) + 1e-3).all()


@pytest.mark.parametrize("name", available_robots())
def test_home_lies_inside_the_workspace(name, description_of):
    spec = load_robot(name).spec
    at = Kinematics(description_of(name), spec.joint_names, spec.tip_frame, spec.limits).forward(spec.home)[:3]
    assert (at > spec.workspace.lower).all() and (at < spec.workspace.upper).all(), at


@pytest.mark.parametrize("full_speed", [False, True])
@pytest.mark.parametrize("name", available_robots())
def test_every_robot_file_fits_the_description_of_its_robot(name, full_speed, description_of):
    robot = load_robot(name)
    if full_speed:
        robot = with_values(robot, {"joints.limit_scale.velocity": 1.0}, "test")
    spec = robot.spec
    kinematics = Kinematics(description_of(name), spec.joint_names, spec.tip_frame, spec.limits)
    says = kinematics.described_limits
    check_robot_fits_description(spec, says.lower, says.upper, says.velocity, kinematics.tip(spec.home))


# How far what is mounted reaches beyond tip_frame, and how far the base and what turns on it reach from their axis [m]:
# 149 mm of a 2F-85 and 14 mm of its coupling, foot of a UR5e 149 mm across; collision meshes of franka_description and of
# SO101; link_tcp of xarm_description at the finger tips. For the foot of the xArm7 no source was found: 0.1 is a guess.
BEYOND_TIP_M = {"ur5e": 0.163, "fr3": 0.009, "panda": 0.009, "xarm7": 0.0, "so101": 0.007}
BASE_TO_M = {"ur5e": 0.075, "fr3": 0.072, "panda": 0.072, "xarm7": 0.1, "so101": 0.09}


@pytest.mark.parametrize("name", REAL)
def test_a_tool_that_points_down_stays_above_the_table_and_its_point_off_the_arm_s_own_base(name):
    """The UR5e's file once held the flange at 0.02 m and more: the finger tips of its gripper were 0.14 m in the table."""
    box, beyond_m = load_robot(name).spec.workspace, BEYOND_TIP_M[name]
    assert box.lower[2] - beyond_m >= 0.01
    flange_m = beyond_m if name == "ur5e" else 0.0  # where tip_frame is the flange, what points back is in front of it
    assert box.lower[0] - flange_m >= BASE_TO_M[name]


@pytest.mark.parametrize("name", available_robots())
def test_the_arm_comes_to_rest_from_its_top_speed_before_anybody_kills_its_bridge(name):
    limits = load_robot(name).spec.limits
    rest_s = limits.velocity / limits.acceleration + limits.acceleration / limits.jerk
    assert rest_s.max() < 0.5 * StopTimes().terminate_s


@pytest.mark.parametrize("name", REAL)
def test_defi_up_accepts_it_and_starts_no_inference_without_a_policy(name):
    wanted = request(name)
    assert wanted.policy is None
    assert [process.name for process in wanted.processes] == [
        "camera_node_static",
        "camera_node_wrist",
        "arm_bridge_node",
        "task_node",
    ]


def test_a_task_without_a_policy_is_refused():
    with pytest.raises(ConfigError, match=r"--task: got 'push' for robot 'ur5e', whose policy.path is 'none'"):
        request("ur5e", "--task", "push")


def test_a_policy_for_another_arm_is_still_refused():
    from defi_models.contract import PreflightError

    with pytest.raises(PreflightError, match="got a policy for 'franka_panda', expected 'ur5e'"):
        request("ur5e", "--policy", "nano")


def test_a_velocity_controller_brings_its_guard_along(tmp_path):
    text = (robots_folder() / "ur5e.yaml").read_text()
    file = tmp_path / "ur5e.yaml"
    file.write_text(text.replace("kind: forward_position ", "kind: forward_velocity ", 1))
    names = [process.name for process in processes(load_robot(file), BringupOptions(str(file)))]
    assert names.index("stop_guard_node") < names.index("arm_bridge_node")


@pytest.mark.parametrize("name", available_robots())
def test_a_file_names_a_topic_only_where_its_kind_s_usual_one_is_not_meant_and_says_that_they_go_together(name):
    text = (robots_folder() / f"{name}.yaml").read_text()
    given = re.search(r"\n  topic: (\S+) +# (.*)", text[text.index("\ndriver:") : text.index("\ngripper:")])
    driver = load_robot(name).driver
    if given is None:
        assert driver.topic == ""
    else:
        assert given[1] == driver.topic != _usual_topic(driver)
        assert given[2].startswith("goes with kind: for another one leave it out")


def test_every_kind_that_the_simulated_robot_s_page_invites_to_is_chosen_by_its_kind_alone(tmp_path):
    """The file once named a topic too: with another kind the graph failed in DDS, by two types on one topic."""
    page = (robots_folder().parents[1] / "docs" / "robots" / "franka.md").read_text()
    invited = set(re.findall(r"`(\w+)`", page)) & set(sections.ARM_DRIVERS)
    assert invited == set(sections.ARM_DRIVERS)
    text = (robots_folder() / "franka.yaml").read_text()
    for kind in sorted(invited):
        file = tmp_path / f"{kind}.yaml"
        file.write_text(text.replace("kind: forward_position ", f"kind: {kind} ", 1))
        wanted = request(str(file), "--sim", "--policy", "scripted")
        assert (wanted.robot.driver.kind, wanted.robot.driver.topic) == (kind, "")


@pytest.mark.parametrize("name", available_robots())
def test_every_kind_that_a_file_invites_to_is_chosen_by_kind_once_its_topic_is_out(name):
    text = (robots_folder() / f"{name}.yaml").read_text()
    at = text.index("\ndriver:")
    kind, *others = [
        word for word in re.findall(r"\w+", text[at:].split("base_frame")[0]) if word in sections.ARM_DRIVERS
    ]
    for other in others:
        changed = text[:at] + re.sub(r"\n  topic: .*", "", text[at:], count=1).replace(
            f"kind: {kind} ", f"kind: {other} ", 1
        )
        assert parse_robot(changed, f"{name}.yaml").driver.kind == other


@pytest.mark.parametrize("name", available_robots())
def test_every_robot_has_a_page_from_wiring_to_what_is_not_guaranteed(name):
    pages = robots_folder().parents[1] / "docs" / "robots"
    text = (pages / f"{name}.md").read_text()
    headings = " ".join(re.findall(r"^## (.*)$", text, re.MULTILINE)).lower()
    for subject in ("wiring", "network", "real time", "first motion", "what is not guaranteed"):
        assert subject in headings
    assert f"config/robots/{name}.yaml" in text and f"{name}.launch.py" in text
    assert f"({name}.md)" in (pages / "README.md").read_text()
    for target in re.findall(r"\]\(([\w.]+)(?:#[\w-]+)?\)", text):
        assert (pages / target).is_file(), target
