import json
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from defi_models.contract import ConfigError
from defi_ros.bringup import BringupOptions, Process, graph_environment, processes
from defi_ros.robot import load_robot, parse_robot, robots_folder

FRANKA = load_robot("franka")


def names(**options):
    return [process.name for process in processes(FRANKA, BringupOptions("franka", **options))]


def test_the_simulated_robot_takes_the_place_of_robot_and_cameras():
    assert sorted(names(sim=True)) == ["arm_bridge_node", "inference_node", "sim_node", "task_node"]
    assert "sim_node" not in names(sim=False)


def test_both_models_are_in_one_process_or_each_in_its_own():
    composed, separate = names(sim=True, composed=True), names(sim=True, composed=False)
    assert set(composed) - set(separate) == {"inference_node"}
    assert set(separate) - set(composed) == {"imagination_node", "action_node"}


def test_only_inference_is_started_again_by_itself():
    options = BringupOptions("franka", sim=True, composed=False)
    respawning = {p.name for p in processes(FRANKA, options) if p.respawn}
    assert respawning == {"imagination_node", "action_node"}


def test_the_arm_comes_first_and_inference_last():
    nice = {process.name: process.nice for process in processes(FRANKA, BringupOptions("franka", sim=True))}
    assert nice["arm_bridge_node"] < nice["inference_node"] < nice["sim_node"] == nice["task_node"]


def test_every_node_hears_of_the_policy_chosen_and_of_none_otherwise():
    def paths(policy):
        return {p.parameters.get("policy.path") for p in processes(FRANKA, BringupOptions("franka", policy=policy))}

    assert (paths("scripted"), paths(None)) == ({"scripted"}, {None})


def test_a_folder_and_a_robot_file_become_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    options = BringupOptions("robots/arm.yaml", policy="mine")
    assert (options.robot, options.policy) == (str(tmp_path / "robots/arm.yaml"), str(tmp_path / "mine"))


def test_every_real_camera_with_a_driver_gets_a_process_of_its_own():
    text = (robots_folder() / "franka.yaml").read_text().replace("driver: topic ", "driver: opencv", 1)
    robot = parse_robot(text, "franka.yaml")
    made = [p for p in processes(robot, BringupOptions("franka")) if p.module.endswith("camera_node")]
    assert [(p.name, p.parameters["camera"], p.remap_name) for p in made] == [("camera_node_static", "static", True)]


def test_the_command_keeps_texts_texts_and_numbers_numbers():
    process = Process("a", "defi_ros.nodes.a", {"policy.path": "007", "seed": 7, "x": True}, namespace="left")
    command = process.command("/python")
    assert command[:3] == ["/python", "-m", "defi_ros.nodes.a"]
    assert [json.loads(item.partition(":=")[2]) for item in command if item.startswith(("policy", "seed", "x:"))] == [
        "007",
        7,
        True,
    ]
    assert "__ns:=/left" in command


def test_a_negative_seed_is_refused():
    with pytest.raises(ConfigError, match="seed: got -1"):
        BringupOptions("franka", seed=-1)


def test_the_shell_file_for_other_terminals_sets_what_the_graph_uses():
    script = robots_folder().parent / "dds" / "local.sh"
    names = ("FASTDDS_BUILTIN_TRANSPORTS", "ROS_AUTOMATIC_DISCOVERY_RANGE")
    echo = "".join(f'echo "${name}";' for name in names)
    told = subprocess.run(["sh", "-c", f". {script}; {echo}"], env={}, capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == [graph_environment()[name] for name in names]


def test_a_process_that_missed_the_answer_to_its_first_announcement_soon_hears_the_next_one(repository):
    """Fast DDS announces itself before it listens: what it then misses came again after 3 s only, in tests as in graphs."""
    shipped = Path(graph_environment()["FASTDDS_DEFAULT_PROFILES_FILE"])
    periods = [
        [element.text for element in ElementTree.parse(path).iter() if element.tag.endswith(("}sec", "}nanosec"))]
        for path in (shipped, repository / "test" / "one_process.xml")
    ]
    assert periods == [["20", "0", "500000000"]] * 2
