import dataclasses
import shutil

import numpy as np
import pytest

from defi_models.contract import ConfigError
from defi_ros import robot as robot_module
from defi_ros.robot import _usual_topic, available_robots, load_robot, parse_robot, robots_folder
from defi_ros.sections import ARM_DRIVERS, Driver


@pytest.fixture(scope="module")
def text() -> str:
    return (robots_folder() / "franka.yaml").read_text()


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"name: mine\xff\xfe")
    with pytest.raises(ConfigError, match=r"mine.yaml, expected a text in UTF-8 \(invalid start byte at byte 10\)"):
        load_robot(str(path))


def test_every_shipped_robot_loads_and_is_named_like_its_file():
    assert "franka" in available_robots()
    for name in available_robots():
        robot = load_robot(name)
        assert robot.name == name
        assert robot.spec.name == name


def test_the_limits_are_scaled_by_the_part_in_use(text):
    spec = parse_robot(text.replace("velocity: 0.7", "velocity: 0.1", 1), "franka.yaml").spec
    np.testing.assert_allclose(spec.limits.velocity, 0.1 * np.array([2.175] * 4 + [2.61] * 3))
    np.testing.assert_allclose(spec.limits.upper, [2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973])


def test_a_path_loads_a_file_anywhere(tmp_path):
    shutil.copy(robots_folder() / "franka.yaml", tmp_path / "mine.yaml")
    mine = load_robot(tmp_path / "mine.yaml")
    assert (mine.arm, mine.name) == ("franka_panda", "franka")  # a copy need not be called like its file


def test_an_installed_share_is_found_where_there_is_no_source_tree(tmp_path, monkeypatch):
    share = tmp_path / "share" / "defi_ros" / "config" / "robots"
    share.mkdir(parents=True)
    monkeypatch.setattr(robot_module, "__file__", str(tmp_path / "lib" / "python" / "defi_ros" / "robot.py"))
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert robots_folder() == share
    share.rmdir()
    with pytest.raises(ConfigError, match=r"got no folder config/robots, expected one of .*make setup"):
        robots_folder()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("frnka", "robot: got 'frnka', expected a robot file of .* Did you mean 'franka'\\? Robots: .*franka"),
        ("no/such.yaml", "robot: got no/such.yaml, expected a readable file .*There: no such folder"),
    ],
)
def test_an_unknown_robot_lists_what_exists(name, message):
    with pytest.raises(ConfigError, match=message):
        load_robot(name)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("chunk_timeout_s", "chunk_timeuot_s", r"line \d+: section 'control': got an unknown key 'chunk_timeuot_s'. Did you mean 'chunk_timeout_s'\? Known: rate_hz,"),
        ("\nhome:", "\nhoem:", r"line \d+: top level: got an unknown key 'hoem'. Did you mean 'home'\?"),
        ("arm: franka_panda", "", r"top level: got no key 'arm', expected it \(Kind of arm; policies are trained for one.\). Known keys: name, arm,"),
        ("  lower: [0.15, -0.65, -0.05]", "  ", r"section 'workspace': got no key 'lower', expected it in m"),
        ("  rate_hz: 200", "  rate_hz: 5", r"line \d+: control.rate_hz: got 5 Hz, expected 50..1000 Hz \(Rate of the command loop \[Hz\].\)"),
        ("velocity: [2.175", "velocity: [-1", r"line \d+: joints.velocity.0: got -1 rad/s, expected above 0 and at most 30 rad/s"),
        ("velocity: [2.175", "velocity: [fast", r"line \d+: joints.velocity.0: got 'fast', expected a number in rad/s"),
        ("composed: true", "composed: 3", r"line \d+: policy.composed: got 3, expected true or false"),
        ("threads: 1", "threads: 2.5", r"line \d+: policy.threads: got 2.5, expected a whole number"),
        ("threads: 1", "threads: true", r"line \d+: policy.threads: got True, expected a whole number"),
        ("blend_s: 0.12", "blend_s: .inf", r"line \d+: control.blend_s: got inf s, expected a number in s"),
        ("driver: topic", "driver: usb", r"line \d+: cameras.static.driver: got 'usb', expected one of topic, opencv, realsense"),
        ("home: [0.0, ", "home: [", r"line \d+: home: got 6 numbers, expected 7, one for each of panda_joint1,"),
        ("home: [0.0, ", "home: [9.0, ", r"line \d+: home of panda_joint1: got 9 rad, expected -2.8973..2.8973 rad"),
        ("lower: [-2.8973", "lower: [2.95", r"line \d+: limits of joint 0: got lower 2.95 and upper 2.8973, expected lower < upper"),
        ("close_below: 0.4", "close_below: 0.7", r"line \d+: gripper: got close_below 0.7 and open_above 0.6, expected close_below < open_above"),
        ("tip_frame:", "home: [0]\ntip_frame:", r"line \d+: home: got it a second time, expected it once. First: line \d+"),
        ("lower: [-2.8973", "lower: [-166", r"line \d+: joints.lower.0: got -166 rad, expected -13..13 rad"),
        ("velocity: [2.175", "velocity: [125", r"joints.velocity.0: got 125 rad/s, expected above 0 and at most 30 rad/s"),
        ("[0.15, -0.65, -0.05]", "[150, -650, -50]", r"line \d+: workspace.lower.0: got 150 m, expected -10..10 m \(Lowest corner x, y, z, in metres \[m\].\)"),
        ("[0.85, 0.65, 0.95]", "[0.85, 650, 0.95]", r"line \d+: workspace.upper.1: got 650 m, expected -10..10 m"),
        ("\nhome:", "\n  planes: {pane: {normal: [0, -1, 0], distance_m: -400}}\nhome:", r"workspace.planes.pane.distance_m: got -400 m, expected -10..10 m"),
        ("[panda_joint1, panda_joint2,", "[panda_joint1, panda_joint1,", r"line \d+: joints.names: got 'panda_joint1' a second time, expected each joint once: \['panda_joint1', 'panda_joint1', 'panda_joint3'"),
        ("joint: panda_finger_joint1", "joint: panda_joint4", r"line \d+: gripper.joint: got 'panda_joint4', which is a joint of the arm, expected one of the gripper, none of \['panda_joint1'"),
        ("\ndriver:", "\ninterlock: {silence_s: 0.2}\ndriver:", r"line \d+: section 'interlock': got no key 'kind', expected it \(Whose states are heard.\)"),
        ("  limit_scale:", "  limit_sclae:", r"line \d+: section 'joints': got an unknown key 'limit_sclae'. Did you mean 'limit_scale'"),
        ("    velocity: 0.7\n", "", r"section 'joints.limit_scale': got no key 'velocity', expected it \(Part of the joint velocity limits in use, 0..1.\)"),
        ("    acceleration: 0.6 ", "    # ", r"section 'joints.limit_scale': got no key 'acceleration', expected it"),
        ("reanchor_rad: 0.1", "max_deviation_rad: 2.0", r"line \d+: control.max_deviation_rad: got 2 rad, expected above 0 and at most 0.7 rad"),
        ("kind: forward_position ", "kind: forward_velocity\n  guard_timeout_s: 0.021", r"line \d+: driver: got guard_timeout_s 0.021 s and control.rate_hz 200 Hz, expected at least 5 commands"),
        ("reanchor_rad: 0.1", "reanchor_rad: 0.5", r"line \d+: control: got reanchor_rad 0.5 rad and max_deviation_rad 0.35 rad, expected reanchor_rad <= max_deviation_rad"),
        ("kind: forward_position ", "topic: forward_position_controller/commands\n  kind: forward_velocity ", r"line \d+: driver.topic: got 'forward_position_controller/commands' with kind 'forward_velocity', expected the topic of a velocity controller: .* Change both, or leave driver.topic out for 'forward_velocity_controller/commands', the usual one of the kind"),
        ("kind: forward_position ", "topic: /velocity_cell/left_velocity_controller/commands\n  kind: forward_position ", r"line \d+: driver.topic: got '/velocity_cell/left_velocity_controller/commands' with kind 'forward_position', expected the topic of a position controller"),
        ("joints:\n", "joints: 7\nold:\n", r"got an unknown key 'old'|joints: got 7, expected a section"),
        ("name: franka", "name: [", r"line \d+: got a text that is no YAML"),
        ("lower: [0.15", "lower: [0.95", r"workspace: got lower \[0.95, -0.65, -0.05\] and upper \[0.85, 0.65, 0.95\], expected lower < upper"),
    ],
)  # fmt: skip
def test_a_bad_file_gives_one_message_that_says_what_and_where(text, old, new, message):
    assert old in text
    with pytest.raises(ConfigError, match=f"franka.yaml.*{message}|{message}"):
        parse_robot(text.replace(old, new, 1), "franka.yaml")


def test_a_file_without_a_limit_scale_does_not_get_all_of_the_limits(text):
    begin, end = text.index("  limit_scale:"), text.index("\nworkspace:")
    with pytest.raises(
        ConfigError, match=r"section 'joints': got no key 'limit_scale', expected it .* velocity of 0.1"
    ):
        parse_robot(text[:begin] + text[end:], "franka.yaml")


def test_a_file_without_an_interlock_has_none(text):
    assert "interlock" not in text
    assert parse_robot(text, "franka.yaml").interlock.kind == "none"


@pytest.mark.parametrize(
    ("kind", "topic"),
    [
        ("forward_velocity", '""'),
        ("forward_velocity", "forward_velocity_controller/commands"),
        ("forward_velocity", "/position_7/arm_velocity_controller/commands"),
        ("forward_velocity", "arm_controller/commands"),
        ("forward_position", "/velocity_cell/left_position_controller/commands"),
        ("cartesian_pose", "equilibrium_pose"),
        ("cartesian_pose", "/left/target_pose"),
        ("cartesian_pose", "pose_controller/commands"),
        ("servo_twist", "left_servo/delta_twist_cmds"),
        ("servo_pose", "pose"),
        ("joint_trajectory", "scaled_position_trajectory_controller/joint_trajectory"),
    ],
)
def test_a_topic_of_the_kind_s_own_controller_is_taken(text, kind, topic):
    text = text.replace("kind: forward_position ", f"kind: {kind} ")
    robot = parse_robot(text.replace("\ndriver:", f"\ndriver:\n  topic: {topic} "), "franka.yaml")
    assert (robot.driver.kind, robot.driver.topic) == (kind, topic.strip('"'))


@pytest.mark.parametrize("kind", ARM_DRIVERS)
@pytest.mark.parametrize("foreign", ARM_DRIVERS)
def test_the_usual_topic_of_another_kind_is_refused_with_line_and_default(text, kind, foreign):
    """It once went through to DDS, which refused two types on one topic in words of its own."""
    usual = {name: _usual_topic(Driver(name, servo_node="left_servo")) for name in ARM_DRIVERS}
    given = text.replace("kind: forward_position ", f"servo_node: left_servo\n  kind: {kind} ")
    given = given.replace("\ndriver:", f"\ndriver:\n  topic: /cell/{usual[foreign]} ")
    if kind == foreign:
        assert parse_robot(given, "mine.yaml").driver.topic == f"/cell/{usual[kind]}"
        return
    line = given[: given.index("  topic: /cell")].count("\n") + 1
    with pytest.raises(
        ConfigError, match=rf"mine.yaml, line {line}: driver.topic: got '/cell/{usual[foreign]}'"
    ) as refused:
        parse_robot(given, "mine.yaml")
    assert f"with kind {kind!r}, expected" in str(refused.value)
    assert f"eave driver.topic out for {usual[kind]!r}, the usual one of the kind" in str(refused.value)


def test_the_controller_of_trajectories_may_have_any_name_and_its_topic_still_tells_its_kind():
    text = (robots_folder() / "fr3.yaml").read_text().replace("kind: joint_trajectory ", "kind: cartesian_pose ")
    with pytest.raises(
        ConfigError, match="a topic of kind 'joint_trajectory', with kind 'cartesian_pose', expected one"
    ):
        parse_robot(text, "fr3.yaml")


@pytest.mark.ros
def test_the_usual_topics_are_those_of_the_drivers_and_of_the_emulated_controllers():
    from defi_ros.bridge.emulated_controllers import ENDPOINTS
    from defi_ros.drivers import cartesian_pose, forward_position, forward_velocity, joint_trajectory

    for driver in (forward_position, forward_velocity, joint_trajectory, cartesian_pose):
        kind = driver.__name__.rpartition(".")[2]
        assert _usual_topic(Driver(kind)) == driver.DEFAULT_TOPIC == ENDPOINTS[kind]
    assert _usual_topic(Driver("servo_twist")) == f"{ENDPOINTS['servo']}/delta_twist_cmds"
    assert _usual_topic(Driver("servo_pose")) == f"{ENDPOINTS['servo']}/pose_target_cmds"


def test_where_no_gripper_is_commanded_its_joint_does_not_matter(text):
    text = text.replace("kind: parallel_gripper_command", "kind: none")
    assert parse_robot(text.replace("joint: panda_finger_joint1", "joint: panda_joint1"), "franka.yaml")


@pytest.mark.parametrize("nothing", ["", "# only a comment", "- a\n- b"])
def test_an_empty_file_is_no_robot(nothing):
    with pytest.raises(ConfigError, match=r"got no key 'name'|expected a section with names and values"):
        parse_robot(nothing, "empty.yaml")


def test_a_workspace_that_is_inside_out_is_found_at_its_line(text):
    """It was once looked for among the joints."""
    given = text.replace("  lower: [0.15", "  lower: [0.95")
    line = given[: given.index("\nworkspace:") + 1].count("\n") + 1
    with pytest.raises(ConfigError, match=rf"^mine.yaml, line {line}: workspace: got lower \[0.95"):
        parse_robot(given, "mine.yaml")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "name: a\njoints:\n  names: [a, b\n  lower: [0]\n",
            "mine.yaml, line 4: got a text that is no YAML: expected ',' or ']', but got ':' (while parsing a flow sequence from "
            "line 3 on)\n      lower: [0]\n           ^",
        ),
        (
            "name: fra: nka",
            "mine.yaml, line 1: got a text that is no YAML: mapping values are not allowed here\n    name: fra: nka\n             ^",
        ),
        ("name: a\narm: \x00b", "mine.yaml, line 2: got a text that is no YAML: special characters are not allowed: #x0000"),
    ],
)  # fmt: skip
def test_a_text_that_is_no_yaml_is_shown_with_its_place_below_the_message(given, message):
    with pytest.raises(ConfigError) as refused:
        parse_robot(given, "mine.yaml")
    assert str(refused.value) == message


def test_yaml_cannot_run_code():
    with pytest.raises(ConfigError, match="no YAML"):
        parse_robot("name: !!python/object/apply:os.getcwd []", "evil.yaml")


def test_values_not_given_have_the_defaults_of_their_section(text):
    short = "\n".join(line for line in text.split("alignment:")[0].splitlines())
    robot = parse_robot(short, "short.yaml")
    assert robot.control == dataclasses.replace(robot.control)
    assert robot.policy.path == "nano"
