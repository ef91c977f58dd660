"""The images and the compose file: linted, complete, and of one mind with the rest of the repository."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
HADOLINT = shutil.which("hadolint", path=str(Path(sys.prefix) / "bin"))
# Keys of the Compose Specification that this file uses, by what they hold (compose-spec.io, version of 2025).
SERVICE_KEYS = {
    "build": dict, "cap_add": list, "command": list, "deploy": dict, "device_cgroup_rules": list, "environment": dict,
    "group_add": list, "image": str, "init": bool, "ipc": str, "network_mode": str, "restart": str,
    "stop_grace_period": str, "ulimits": dict, "volumes": list,
}  # fmt: skip


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())


def test_there_is_an_image_for_robots_jetsons_and_training():
    assert [path.name.partition(".")[0] for path in DOCKERFILES] == ["jetson", "robot", "train"]


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed; `make setup` installs it")
@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path):
    done = subprocess.run([str(HADOLINT), path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_what_is_copied_exists_and_nobody_is_root(path):
    text = path.read_text()
    for sources in re.findall(r"^COPY (?:--\S+ )?(\S+) \S+$", text, re.MULTILINE):
        assert (ROOT / sources).exists()
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE)[-1] == "1000:1000"


@pytest.mark.parametrize("path", [path for path in DOCKERFILES if "train" not in path.name], ids=lambda path: path.name)
def test_robot_images_stand_on_the_official_one_of_the_chosen_ros(path):
    text = path.read_text()
    assert "ARG ROS_DISTRO=kilted\nFROM ros:${ROS_DISTRO}-ros-base\n" in text
    assert text.count("kilted") == 1, "the distribution is chosen in one place"


def test_the_compose_file_uses_keys_of_its_specification_with_values_of_their_types(compose):
    assert set(compose) - {"services"} == {"x-robot"}
    for name, service in compose["services"].items():
        for key, value in service.items():
            assert isinstance(value, SERVICE_KEYS[key]), f"{name}.{key}: {value!r}"


def test_every_service_is_built_from_a_file_that_exists(compose):
    for service in compose["services"].values():
        context = (ROOT / "docker" / service["build"]["context"]).resolve()
        assert (context / service["build"]["dockerfile"]).is_file()


def test_robots_are_on_the_host_s_network_with_their_devices_and_real_time(compose):
    for name in ("robot", "robot-gpu"):
        service = compose["services"][name]
        assert service["network_mode"] == "host" and service["ipc"] == "host"
        assert service["ulimits"] == {"rtprio": 98, "memlock": -1, "nice": 40} and "SYS_NICE" in service["cap_add"]
        rules = [re.fullmatch(r"c (\d+):\* rmw", rule) for rule in service["device_cgroup_rules"]]
        assert all(rules) and {rule[1] for rule in rules if rule} == {"81", "189", "166", "188", "13"}
        assert service["restart"] == "no", "an arm is started by a person"


def test_the_gpu_is_asked_for_only_where_it_is_used(compose):
    asking = {name for name, service in compose["services"].items() if "deploy" in service}
    assert asking == {"robot-gpu", "train"}
    for name in asking:
        (device,) = compose["services"][name]["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


def test_what_people_record_and_the_environment_stay_out_of_the_images():
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv", "data", "episodes", "runs"} <= set(ignored)
