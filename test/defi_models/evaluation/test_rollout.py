import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import tiny_checkpoint

from defi_models.contract import ConfigError, Imagination, Observation
from defi_models.evaluation.rollout import (
    Attempt,
    Timing,
    add_timing_arguments,
    attempt,
    check_serves,
    opened,
    say_unlearnt,
    timing_of,
)
from defi_models.evaluation.tasks import report, score
from defi_models.inference.scripted_policy import SCRIPTED_SPEC, ScriptedPolicy
from defi_sim.tasks import TASKS
from defi_sim.world import World


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_attempt_tells_how_long_success_took(split: str):
    with World(cameras=()) as world:
        won = attempt(world, ScriptedPolicy(), "turn_on_led", 4, Timing(), split=split)
    assert won.success
    assert 1.0 < won.duration_s < 8.0


def test_an_attempt_that_is_given_too_little_time_fails():
    with World(cameras=()) as world:
        lost = attempt(world, ScriptedPolicy(), "turn_on_led", 4, Timing(timeout_s=0.5))
    assert (lost.success, lost.duration_s) == (False, 0.5)


def test_a_policy_of_another_arm_is_refused_with_both():
    with pytest.raises(ConfigError, match="got one for arm 'ur5e', but the simulated arm is a 'franka_panda'"):
        check_serves(replace(SCRIPTED_SPEC, arm="ur5e"))
    check_serves(replace(SCRIPTED_SPEC, arm="any"))


def test_what_is_written_of_attempts_states_seed_number_and_interval():
    attempts = [Attempt("turn_on_led", 7 + number, number > 0, 2.0) for number in range(4)]
    found = score(attempts, "nano", "test", 7)
    assert (found["seed"], found["episodes"], found["success"]) == (7, 4, 0.75)
    low, high = found["interval_95"]
    assert 0 < low < 0.75 < high < 1


def test_tasks_that_were_not_tried_have_no_line(capsys: pytest.CaptureFixture):
    report([Attempt("turn_on_led", 0, True, 2.0)], ["turn_on_led", "turn_off_led"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["turn_on_led", "1/1"], ["all", "1/1"]]


def test_timing_is_read_from_a_command_line_and_negative_times_are_refused():
    parser = argparse.ArgumentParser()
    add_timing_arguments(parser)
    assert timing_of(parser.parse_args([])) == Timing()
    given = parser.parse_args(["--latency-s", "0", "--replan-s", "0.1", "--blending", "rtc"])
    assert timing_of(given, timeout_s=3.0) == Timing(0.0, 0.1, 3.0, "rtc")
    for option, value in (("--latency-s", "-1"), ("--latency-s", "inf"), ("--replan-s", "nan"), ("--replan-s", "0")):
        with pytest.raises(ConfigError, match=f"{option}: got {float(value)}, expected a time of"):
            timing_of(parser.parse_args([option, value]))
    with pytest.raises(ConfigError, match="--timeout-s: got inf, expected a time of more than 0"):
        timing_of(parser.parse_args([]), timeout_s=float("inf"))


def test_each_task_is_asked_for_in_all_its_wordings():
    """Tasks in turn from one seed on once met one wording each, which was taken for how hard the task is."""
    heard: dict[str, set[str]] = {}

    class Asked(ScriptedPolicy):
        def imagine(self, observation: Observation) -> Imagination:
            heard.setdefault(task, set()).add(observation.instruction)
            return super().imagine(observation)

    tasks = ("turn_on_led", "turn_off_led", "open_drawer", "close_drawer")
    with World(cameras=()) as world:
        for seed in range(80):
            task = tasks[seed % 4]
            attempt(world, Asked(), task, seed, Timing(timeout_s=0.01))
    assert heard == {task: set(TASKS[task].instructions) for task in tasks}


def test_each_job_of_a_process_gets_an_expert_of_its_own():
    """Experts draw as they plan: shared, what came of a task depended on which process had done which before it."""
    first, again = opened("scripted"), opened("scripted")
    assert first[0] is again[0] and first[1] is not again[1]


def test_what_a_policy_was_never_shown_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tiny_checkpoint(tmp_path / "policy").folder
    say_unlearnt(str(folder), ["open_drawer"])
    assert capsys.readouterr().out == "", "its checkpoint does not say what it was shown"
    manifest = json.loads((folder / "checkpoint.json").read_text())
    manifest["provenance"]["tasks"] = ["open_drawer"]
    (folder / "checkpoint.json").write_text(json.dumps(manifest))
    say_unlearnt(str(folder), ["open_drawer", "stack_blocks"])
    assert "was never shown 1 of these 2 tasks: stack_blocks" in capsys.readouterr().out
    manifest["provenance"]["tasks"] = ["pick up the cup", "open the drawer"]
    (folder / "checkpoint.json").write_text(json.dumps(manifest))
    say_unlearnt(str(folder), ["stack_blocks"])  # demonstrations from elsewhere are named by their sentences
    say_unlearnt("scripted", ["stack_blocks"])
    assert capsys.readouterr().out == ""
