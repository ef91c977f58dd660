"""Who owns the emulated arm, and what a restart does."""

import numpy as np
import pytest

from defi_models.contract import ConfigError
from defi_sim.controllers import (
    CommandRefusedError,
    EmulatedArm,
    ForwardPositionController,
    JointState,
    JointTrajectoryController,
    Trajectory,
    TrajectoryGoal,
    TrajectoryPoint,
)

NAMES = ("a", "b")
MS = 1_000_000
HERE = np.array([0.1, 0.2])


def arm(owner=None):
    return EmulatedArm(
        {"forward": ForwardPositionController(NAMES), "trajectory": JointTrajectoryController(NAMES)}, owner
    )


def goal(goal_id=None):
    return TrajectoryGoal(Trajectory(NAMES, (TrajectoryPoint(100 * MS, JointState(np.ones(2))),)), goal_id)


def test_nothing_is_commanded_before_the_first_command():
    assert arm().update(0, HERE) is None


def test_the_controller_commanded_last_owns_the_arm():
    made = arm()
    made.post("forward", [1.0, 1.0])
    np.testing.assert_array_equal(made.update(0, HERE), [1.0, 1.0])
    made.post("trajectory", goal())
    np.testing.assert_array_equal(made.update(MS, HERE), HERE)  # sets out from where the arm is
    assert made.owner == "trajectory"


def test_an_owner_that_is_replaced_forgets_its_commands():
    made = arm()
    made.post("trajectory", goal("g"))
    made.update(0, HERE)
    made.post("forward", [1.0, 1.0])
    made.update(MS, HERE)
    made.post("trajectory", goal())
    np.testing.assert_array_equal(made.update(2 * MS, HERE), HERE)


def test_a_configured_owner_refuses_the_others():
    made = arm("forward")
    with pytest.raises(CommandRefusedError, match="trajectory: is not active; forward owns the arm"):
        made.check("trajectory", goal(), 0)
    made.post("trajectory", goal("g"))
    assert made.update(0, HERE) is None
    (refusal,) = made.take_refusals()
    assert refusal.command.goal_id == "g"


def test_an_unknown_owner_is_refused_with_those_that_exist():
    with pytest.raises(ConfigError, match=r"got 'servo', expected one of \['forward', 'trajectory'\] or auto"):
        arm("servo")


def test_a_refused_command_does_not_stop_the_present_one():
    made = arm()
    made.post("forward", [1.0, 1.0])
    made.update(0, HERE)
    made.post("forward", [1.0])
    np.testing.assert_array_equal(made.update(MS, HERE), [1.0, 1.0])
    assert "expected 2" in made.take_refusals()[0].reason


def test_commands_are_ignored_for_a_quarter_of_a_second_after_a_restart():
    made = arm()
    made.post("forward", [1.0, 1.0])
    made.update(0, HERE)
    made.restart(1000 * MS, HERE)
    for ms, ready in ((1000, False), (1249, False), (1250, True)):
        made.post("forward", [2.0, 2.0])
        assert (made.update(ms * MS, HERE) is not None) == ready
    assert made.ignored == 2


def test_a_goal_during_a_restart_is_refused_aloud():
    made = arm()
    made.restart(0, HERE)
    made.post("trajectory", goal("g"))
    made.update(MS, HERE)
    assert "ready in 0.249 s" in made.take_refusals()[0].reason


def test_a_restart_aborts_the_goal():
    trajectory = JointTrajectoryController(NAMES)
    made = EmulatedArm({"trajectory": trajectory})
    made.post("trajectory", goal("g"))
    made.update(0, HERE)
    made.restart(50 * MS, HERE)
    assert [result.outcome for result in trajectory.take_results()] == ["aborted"]
