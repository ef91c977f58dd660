import argparse

import pytest

from defi_models.contract import ConfigError
from defi_models.evaluation.rollout import Timing, add_timing_arguments, attempt, timing_of
from defi_models.inference.scripted_policy import ScriptedPolicy
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


def test_timing_is_read_from_a_command_line_and_negative_times_are_refused():
    parser = argparse.ArgumentParser()
    add_timing_arguments(parser)
    assert timing_of(parser.parse_args([])) == Timing()
    given = parser.parse_args(["--latency-s", "0", "--replan-s", "0.1", "--blending", "rtc"])
    assert timing_of(given, timeout_s=3.0) == Timing(0.0, 0.1, 3.0, "rtc")
    with pytest.raises(ConfigError, match=r"got --latency-s -1\.0 and --replan-s 0\.2"):
        timing_of(parser.parse_args(["--latency-s", "-1"]))
