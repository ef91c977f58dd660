"""Message packages: complete, explained, repaired and found."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import interfaces
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = [ROOT / "src" / "defi_msgs", *sorted((ROOT / "src" / "compat_msgs").glob("*_msgs"))]
DEFINITIONS = sorted(path for package in PACKAGES for path in package.glob("*/*.*"))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_every_definition_is_built(package):
    listed = set(re.findall(r"^  (\w+/\w+\.\w+)$", (package / "CMakeLists.txt").read_text(), re.MULTILINE))
    assert listed == {str(path.relative_to(package)) for path in package.glob("*/*.*")}


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda path: path.name)
def test_every_field_says_what_it_is(path):
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ")
    silent = [line for line in lines if line.strip() not in {"", "---"} and "#" not in line and "=" not in line]
    assert silent == []


@pytest.mark.ros
def test_messages_have_the_fields_that_the_nodes_rely_on():
    from defi_msgs.msg import ControlState
    from defi_msgs.srv import SetAuthority

    assert (ControlState.HOLD, ControlState.TELEOP, ControlState.POLICY, ControlState.STOPPED) == (0, 1, 2, 3)
    assert (SetAuthority.Request.HOLD, SetAuthority.Request.TELEOP, SetAuthority.Request.POLICY) == (0, 1, 2)
    assert ControlState().measured.typecode == "d"


@pytest.mark.ros
def test_compatible_actions_have_the_constants_of_the_originals():
    from control_msgs.action import FollowJointTrajectory

    result = FollowJointTrajectory.Result
    assert (result.SUCCESSFUL, result.INVALID_GOAL, result.GOAL_TOLERANCE_VIOLATED) == (0, -1, -5)


@pytest.mark.ros
def test_compatible_robot_messages_agree_with_the_numbers_of_the_control_core():
    from franka_msgs.msg import FrankaRobotState
    from ur_dashboard_msgs.msg import RobotMode, SafetyMode

    from defi_ros.control.interlock import FrankaMode, UrMode, UrSafety

    assert {name: getattr(FrankaRobotState, f"ROBOT_MODE_{name}") for name in FrankaMode.__members__} == dict(
        FrankaMode.__members__
    )
    assert {name: getattr(RobotMode, name) for name in UrMode.__members__} == dict(UrMode.__members__)
    assert {name: getattr(SafetyMode, name) for name in UrSafety.__members__} == dict(UrSafety.__members__)


# RIHS01 hashes that the originals' own packages generate: equal hashes are equal names, fields and order.
ORIGINAL_HASHES = {
    "moveit_msgs/srv/ServoCommandType": "2065f4daf271249330596d344ecd48f5c2d2a52e3b21b1fc56d99c52b8eeae22",
    "ur_dashboard_msgs/msg/SafetyMode": "9eb2716e6905f06e4eb60af26712660486e909026aa89c553dd633f1fb22f592",
}


@pytest.mark.ros
@pytest.mark.parametrize("name", ORIGINAL_HASHES)
def test_compatible_types_hash_like_the_originals(name):
    prefixes = [Path(prefix) for prefix in (sys.prefix, *os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep))]
    file = next(path for prefix in prefixes if (path := prefix / "share" / f"{name}.json").is_file())
    hashes = {entry["type_name"]: entry["hash_string"] for entry in json.loads(file.read_text())["type_hashes"]}
    assert hashes[name] == f"RIHS01_{ORIGINAL_HASHES[name]}"


def test_wheels_take_the_include_paths_of_this_environment_and_once(tmp_path):
    file = tmp_path / "share" / "x" / "cmake" / "export.cmake"
    file.parent.mkdir(parents=True)
    numpy = "/opt/python/cp311-cp311/lib/python3.11/site-packages/numpy/_core/include"
    file.write_text(f'set(a "/opt/python/cp311-cp311/include/python3.11;{numpy}")')
    assert interfaces.repair_wheels(tmp_path, "/here/include", "/here/numpy") == 1
    assert file.read_text() == 'set(a "/here/include;/here/numpy")'
    assert interfaces.repair_wheels(tmp_path, "/here/include", "/here/numpy") == 0


def test_an_installed_interface_package_is_never_shadowed(monkeypatch, tmp_path):
    (tmp_path / "control_msgs").mkdir()
    (tmp_path / "control_msgs" / "__init__.py").write_text("")
    (tmp_path / "control_msgs" / "action.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    needed = sorted(path.name for path in (ROOT / "src" / "compat_msgs").glob("*_msgs"))
    here = [name for name in needed if name != "control_msgs"]
    assert interfaces.packages_to_build("kilted") == ["src/defi_msgs", *(f"src/compat_msgs/{name}" for name in here)]
    assert interfaces.packages_to_build(None) == ["src/defi_msgs", *(f"src/compat_msgs/{name}" for name in needed)]


def test_a_plain_colcon_build_leaves_the_compatible_packages_out():
    assert (ROOT / "src" / "compat_msgs" / "COLCON_IGNORE").is_file()


def test_beside_a_sourced_ros_the_environment_is_found_with_nothing_to_source(tmp_path):
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    interfaces.install_prefix_hook(venv)
    code = "import json, os, sys; print(json.dumps([sys.argv[1], os.environ['LD_LIBRARY_PATH'], os.environ['AMENT_PREFIX_PATH']]))"
    env = {**os.environ, "AMENT_PREFIX_PATH": "/opt/ros/kilted", "LD_LIBRARY_PATH": "/opt/ros/kilted/lib"}
    told = subprocess.run(
        [venv / "bin" / "python", "-c", code, "a b"], env=env, capture_output=True, text=True, check=True
    )
    assert json.loads(told.stdout) == ["a b", f"{venv}/lib:/opt/ros/kilted/lib", f"{venv}:/opt/ros/kilted"]


def test_links_to_launch_and_robot_files_are_live_and_made_anew(tmp_path):
    root, venv = tmp_path / "root", tmp_path / "venv"
    (root / "config" / "robots").mkdir(parents=True)
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "arm_bridge_node").touch()
    for _ in range(2):
        interfaces.link_shares(root, venv)
    (root / "config" / "robots" / "new.yaml").touch()
    assert (venv / "share" / "defi_ros" / "config" / "robots" / "new.yaml").is_file()
    assert (venv / "lib" / "defi_ros" / "arm_bridge_node").is_symlink()
    assert (venv / "share" / "ament_index" / "resource_index" / "packages" / "defi_ros").is_file()
