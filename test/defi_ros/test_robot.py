import dataclasses
import shutil

import numpy as np
import pytest

from defi_models.contract import ConfigError
from defi_ros import robot as robot_module
from defi_ros.robot import available_robots, load_robot, parse_robot, robots_folder


@pytest.fixture(scope="module")
def text() -> str:
    return (robots_folder() / "franka.yaml").read_text()


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
    assert load_robot(tmp_path / "mine.yaml").arm == "franka_panda"


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
        ("arm: franka_panda", "", r"top level: got no key 'arm', expected it \(Kind of arm; policies are trained for one.\). Keys here: name, arm,"),
        ("  lower: [0.15, -0.65, -0.05]", "  ", r"section 'workspace': got no key 'lower', expected it in m"),
        ("  rate_hz: 200", "  rate_hz: 5", r"line \d+: control.rate_hz: got 5 Hz, expected 50..1000 Hz \(Rate of the command loop \[Hz\].\)"),
        ("velocity: [2.175", "velocity: [-1", r"line \d+: joints.velocity.0: got -1 rad/s, expected above 0 rad/s"),
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
        ("joints:\n", "joints: 7\nold:\n", r"got an unknown key 'old'|joints: got 7, expected a section"),
        ("name: franka", "name: [", "got a text that is no YAML"),
    ],
)  # fmt: skip
def test_a_bad_file_gives_one_message_that_says_what_and_where(text, old, new, message):
    assert old in text
    with pytest.raises(ConfigError, match=f"franka.yaml.*{message}|{message}"):
        parse_robot(text.replace(old, new, 1), "franka.yaml")


@pytest.mark.parametrize("nothing", ["", "# only a comment", "- a\n- b"])
def test_an_empty_file_is_no_robot(nothing):
    with pytest.raises(ConfigError, match=r"got no key 'name'|expected a section with names and values"):
        parse_robot(nothing, "empty.yaml")


def test_yaml_cannot_run_code():
    with pytest.raises(ConfigError, match="no YAML"):
        parse_robot("name: !!python/object/apply:os.getcwd []", "evil.yaml")


def test_values_not_given_have_the_defaults_of_their_section(text):
    short = "\n".join(line for line in text.split("alignment:")[0].splitlines())
    robot = parse_robot(short, "short.yaml")
    assert robot.control == dataclasses.replace(robot.control)
    assert robot.policy.path == "nano"
