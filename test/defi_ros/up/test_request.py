import argparse
import os

import pytest

from defi_models import cli
from defi_models.contract import CheckpointError, ConfigError, PreflightError, TaskError
from defi_ros.robot import robots_folder
from defi_ros.up.command import _summary
from defi_ros.up.domain import only_graph
from defi_ros.up.request import DEMO_TASKS, Request, add_arguments, checked
from defi_sim.tasks import task_for

FRANKA = (robots_folder() / "franka.yaml").read_text(encoding="utf-8")


def request(*arguments: str) -> Request:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return checked(parser.parse_args([*arguments]))


def sim(*arguments: str) -> Request:
    return request("franka", "--sim", "--policy", "scripted", *arguments)


def test_the_demo_simulates_and_brings_tasks_that_the_simulator_knows():
    made = request("franka", "--demo", "--policy", "scripted")
    assert made.options.sim
    assert made.instructions == DEMO_TASKS
    assert [task_for(text).name for text in DEMO_TASKS] == list(made.sim_tasks)


def test_the_demo_runs_the_tasks_that_are_given():
    assert request("franka", "--demo", "--policy", "scripted", "--task", "turn on the led").sim_tasks == (
        "turn_on_led",
    )


def test_an_unknown_robot_is_refused_with_those_that_exist():
    with pytest.raises(ConfigError, match=r"got 'frnka'.*Did you mean 'franka'.*franka"):
        request("frnka", "--sim")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  rate_hz: 200 ", "  rate_hertz: 200 ", r"line \d+.*rate_hertz.*rate_hz"),
        ("tip_frame: panda_hand_tcp", "# ", r"tip_frame"),
        ("  rate_hz: 200 ", "  rate_hz: 20000 ", r"rate_hz.*20000.*1000.*Hz"),
    ],
    ids=["misspelt", "missing", "out of range"],
)
def test_a_wrong_key_of_a_robot_file_is_refused_with_what_was_expected(tmp_path, old, new, message):
    assert FRANKA.count(old) == 1
    path = tmp_path / "mine.yaml"
    path.write_text(FRANKA.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        request(str(path), "--sim", "--policy", "scripted")


def test_an_unknown_policy_is_refused_with_those_that_exist():
    with pytest.raises(CheckpointError, match=r"no policy 'nono'.*scripted"):
        request("franka", "--sim", "--policy", "nono")


def test_a_policy_for_another_arm_is_refused(tmp_path):
    path = tmp_path / "other.yaml"
    path.write_text(FRANKA.replace("arm: franka_panda", "arm: ur5e"), encoding="utf-8")
    with pytest.raises(PreflightError, match=r"got a policy for 'franka_panda', expected 'ur5e'"):
        request(str(path), "--sim", "--policy", "scripted")


def test_a_policy_that_reads_the_scene_is_refused_on_a_real_robot():
    with pytest.raises(PreflightError, match="simulation only"):
        request("franka", "--policy", "scripted")


@pytest.mark.parametrize("robot", ["ur5e", "fr3", "so101"])
def test_a_robot_that_cannot_be_simulated_is_refused_at_once(robot):
    with pytest.raises(
        ConfigError, match=rf"robot '{robot}' cannot be simulated, only the Franka Panda can: got joints"
    ):
        request(robot, "--sim")


def test_a_program_that_has_a_robot_of_its_own_lets_it_be_left_out():
    parser = argparse.ArgumentParser()
    add_arguments(parser, robot="franka")
    assert parser.parse_args([]).robot == "franka" and parser.parse_args(["fr3"]).robot == "fr3"


@pytest.mark.parametrize("text", ["", "   "])
def test_an_empty_instruction_is_refused(text):
    with pytest.raises(TaskError, match="--task number 2: got an empty instruction"):
        sim("--task", "open the drawer", "--task", text)


def test_an_instruction_no_simulated_task_knows_is_refused_with_the_nearest():
    with pytest.raises(TaskError, match=r"opn the drawer.*open the drawer"):
        sim("--task", "opn the drawer")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf"])
def test_a_timeout_that_is_no_time_is_refused(seconds):
    with pytest.raises(ConfigError, match=r"--timeout-s: got .* expected a positive number"):
        sim("--timeout-s", seconds)


def test_a_report_that_could_not_be_written_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="there is no folder"):
        sim("--json", str(tmp_path / "none" / "report.json"))


def test_a_report_that_could_not_be_written_is_refused_by_the_command_in_its_name(tmp_path, capsys):
    assert cli.main(["up", "franka", "--sim", "--json", str(tmp_path / "none" / "report.json")]) == 2
    assert capsys.readouterr().err.startswith("defi up: --json: got")


def test_a_second_graph_in_a_domain_is_refused_before_any_process_starts(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with only_graph(int(os.environ["ROS_DOMAIN_ID"])):
        assert cli.main(["up", "franka", "--sim", "--policy", "scripted"]) == 2
    told = capsys.readouterr()
    domain = os.environ["ROS_DOMAIN_ID"]
    assert told.err.startswith(f"defi up: a graph of DeFI already runs in ROS domain {domain}: another `defi up` on")
    assert "arm_bridge_node" in told.err and "stop that graph" in told.err and told.out == ""


def test_tasks_end_with_how_many_were_done(request_of_two):
    assert _summary(2, request_of_two) == "2 of 2 tasks done"
    assert "1 of 2 tasks done, so the exit code is 1" in _summary(1, request_of_two)
    assert "README.md, Measured" in _summary(1, request_of_two)


@pytest.fixture
def request_of_two():
    return sim("--task", "open the drawer", "--task", "turn on the led")


def test_bad_input_ends_with_exit_code_2_one_message_and_a_report(tmp_path, capsys):
    path = tmp_path / "report.json"
    assert cli.main(["up", "frnka", "--sim", "--json", str(path)]) == 2
    assert capsys.readouterr().err.count("Did you mean 'franka'") == 1
    assert "Did you mean" in path.read_text()
