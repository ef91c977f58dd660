"""Laws of the emulated joint trajectory controller, each one a documented behaviour of the real one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_sim.controllers import (
    ErrorCode,
    JointState,
    JointTrajectoryController,
    Trajectory,
    TrajectoryGoal,
    TrajectoryOptions,
    TrajectoryPoint,
    TrajectoryRefusedError,
)
from defi_sim.controllers.trajectory import interpolate

NAMES = ("a", "b")
MS = 1_000_000
NOW = 1_000_000 * MS
HERE = np.zeros(2)


def point(time_ms, positions, velocities=None, accelerations=None):
    arrays = [None if v is None else np.array(v, dtype=float) for v in (velocities, accelerations)]
    return TrajectoryPoint(time_ms * MS, JointState(np.array(positions, dtype=float), *arrays))


def goal(*points, goal_id=None, start_ns=0, names=NAMES, **more):
    return TrajectoryGoal(Trajectory(names, points, start_ns), goal_id, **more)


def controller(**options):
    made = JointTrajectoryController(NAMES, TrajectoryOptions(**options))
    made.activate(NOW, HERE)
    return made


def update(made, now_ns, measured):
    """The set points at a time, which there must be."""
    wanted = made.update(now_ns, measured)
    assert wanted is not None
    return wanted


def follow(made, until_ms, step_ms=10, start_ms=0, measured=None):
    """Updates the controller up to `until_ms` after NOW; the arm follows perfectly unless `measured` is given."""
    wanted = HERE
    for ms in range(start_ms, until_ms + 1, step_ms):
        wanted = update(made, NOW + ms * MS, wanted if measured is None else measured)
    return wanted


def refusal(made, command, now_ns=NOW):
    with pytest.raises(TrajectoryRefusedError) as caught:
        made.command(command, now_ns)
    return caught.value


def test_positions_alone_are_followed_on_a_line():
    made = controller()
    made.command(goal(point(100, [1.0, -2.0])), NOW)
    np.testing.assert_allclose(follow(made, 50), [0.5, -1.0])


def test_a_stamp_of_zero_starts_at_the_first_update():
    made = controller()
    made.command(goal(point(100, [1.0, 0.0])), NOW)
    update(made, NOW + 500 * MS, HERE)
    np.testing.assert_allclose(update(made, NOW + 550 * MS, HERE), [0.5, 0.0])


def test_an_absolute_start_in_the_past_is_met_by_a_step():
    made = controller()
    made.command(goal(point(100, [1.0, 0.0]), point(300, [3.0, 0.0]), start_ns=NOW - 200 * MS), NOW)
    np.testing.assert_allclose(follow(made, 0), [2.0, 0.0])
    np.testing.assert_allclose(follow(made, 50, start_ms=10), [2.5, 0.0])


def test_a_future_start_is_approached_from_the_reference():
    made = controller()
    made.command(goal(point(0, [1.0, 1.0]), point(100, [2.0, 2.0]), start_ns=NOW + 100 * MS), NOW)
    np.testing.assert_allclose(follow(made, 50), [0.5, 0.5])
    np.testing.assert_allclose(follow(made, 150, start_ms=60), [1.5, 1.5])


def test_a_first_point_at_time_zero_is_a_step():
    made = controller()
    made.command(goal(point(0, [1.0, 1.0]), point(100, [2.0, 2.0])), NOW)
    np.testing.assert_allclose(follow(made, 0), [1.0, 1.0])


def test_joints_are_sorted_by_name():
    made = controller()
    made.command(goal(point(100, [1.0, 2.0]), names=("b", "a")), NOW)
    np.testing.assert_allclose(follow(made, 100), [2.0, 1.0])


def test_the_last_point_is_held_when_messages_stop():
    made = controller()
    made.command(goal(point(100, [1.0, 2.0])), NOW)
    np.testing.assert_allclose(follow(made, 60_000, step_ms=1000), [1.0, 2.0])


def test_a_new_trajectory_replaces_the_old_one_at_once_from_the_reference():
    made = controller()
    made.command(goal(point(100, [1.0, 0.0])), NOW)
    assert follow(made, 50)[0] == pytest.approx(0.5)
    made.command(goal(point(100, [0.0, 0.0])), NOW + 50 * MS)
    jumps = [update(made, NOW + ms * MS, HERE)[0] for ms in (50, 100, 150)]
    assert jumps == pytest.approx([0.5, 0.25, 0.0])


def test_without_the_option_a_new_trajectory_sets_out_from_the_measured_state():
    made = controller(interpolate_from_desired_state=False)
    made.command(goal(point(100, [1.0, 0.0])), NOW)
    measured = np.array([0.2, 0.0])
    np.testing.assert_allclose(update(made, NOW, measured), measured)


def test_cmd_timeout_holds_the_measured_position():
    made = controller(cmd_timeout_s=0.2)
    made.command(goal(point(100, [1.0, 0.0])), NOW)
    lagging = np.array([0.9, 0.0])
    np.testing.assert_allclose(follow(made, 290, measured=lagging), [1.0, 0.0])
    follow(made, 320, start_ms=300, measured=lagging)
    np.testing.assert_allclose(follow(made, 400, start_ms=330, measured=lagging), lagging)


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (goal(), ErrorCode.INVALID_GOAL, "0 points, expected at least 1"),
        (
            goal(point(1, [0, 0]), names=("a", "c")),
            ErrorCode.INVALID_JOINTS,
            r"names joints \['a', 'c'\], expected all",
        ),
        (goal(point(1, [0.0]), names=("a",)), ErrorCode.INVALID_JOINTS, "expected all of"),
        (goal(point(10, [0, 0]), point(10, [1, 1])), ErrorCode.INVALID_GOAL, "point 1 .* must increase strictly"),
        (goal(point(10, [0, 0, 0])), ErrorCode.INVALID_GOAL, "point 0 has 3 positions, expected 2"),
        (goal(point(10, [0, 0], [1.0])), ErrorCode.INVALID_GOAL, "point 0 has 1 velocities, expected 2"),
        (goal(point(10, [0, np.nan])), ErrorCode.INVALID_GOAL, "expected finite numbers"),
        (goal(point(10, [0, 0], [0.0, 0.1])), ErrorCode.INVALID_GOAL, "ends with b at 0.1000 rad/s, expected 0"),
        (goal(point(10, [0, 0]), start_ns=NOW - 20 * MS), ErrorCode.OLD_HEADER_TIMESTAMP, "0.010 s in the past"),
    ],
)
def test_what_the_real_controller_refuses_is_refused_and_the_arm_stays(command, code, words):
    made = controller()
    caught = refusal(made, command)
    assert caught.code == code
    with pytest.raises(TrajectoryRefusedError, match=words):
        made.check(command, NOW)
    np.testing.assert_array_equal(follow(made, 100), HERE)


def test_a_moving_end_is_taken_when_allowed_and_the_last_position_held():
    made = controller(allow_nonzero_velocity_at_trajectory_end=True)
    made.command(goal(point(100, [1.0, 0.0], [1.0, 0.0])), NOW)
    np.testing.assert_allclose(follow(made, 300), [1.0, 0.0])


def test_a_goal_succeeds_at_its_end_and_only_once():
    made = controller()
    made.command(goal(point(100, [1.0, 0.0]), goal_id="g"), NOW)
    follow(made, 90)
    assert made.take_results() == []
    follow(made, 300, start_ms=100)
    assert [(r.goal_id, r.outcome, r.code) for r in made.take_results()] == [("g", "succeeded", ErrorCode.SUCCESSFUL)]


def test_a_new_goal_aborts_the_one_before_it():
    made = controller()
    made.command(goal(point(100, [1.0, 0.0]), goal_id="old"), NOW)
    follow(made, 50)
    made.command(goal(point(100, [0.0, 0.0]), goal_id="new"), NOW + 50 * MS)
    (old,) = made.take_results()
    assert (old.goal_id, old.outcome, old.code) == ("old", "aborted", ErrorCode.INVALID_GOAL)
    assert made.goal_id == "new"


def test_cancelling_holds_the_measured_position_at_once():
    made = controller()
    made.command(goal(point(100, [1.0, 0.0]), goal_id="g"), NOW)
    follow(made, 50)
    measured = np.array([0.4, 0.0])
    made.cancel("g", measured, now_ns=0)
    np.testing.assert_allclose(follow(made, 200, start_ms=60), measured)
    assert made.take_results()[0].outcome == "canceled"


def test_leaving_the_path_aborts_and_holds_where_the_arm_is():
    made = controller(path_tolerance_rad=0.1)
    made.command(goal(point(100, [1.0, 0.0]), goal_id="g"), NOW)
    blocked = np.array([0.05, 0.0])
    np.testing.assert_allclose(follow(made, 300, measured=blocked), blocked)
    (result,) = made.take_results()
    assert result.code == ErrorCode.PATH_TOLERANCE_VIOLATED
    assert "a is off by 0.15" in result.reason


def test_a_trajectory_of_the_topic_is_checked_against_the_path_too():
    made = controller(path_tolerance_rad=0.1)
    made.command(goal(point(100, [1.0, 0.0])), NOW)
    np.testing.assert_allclose(follow(made, 300, measured=HERE), HERE)
    assert made.take_results() == []


def test_missing_the_goal_aborts_after_the_goal_time():
    made = controller()
    wanted = goal(point(100, [1.0, 0.0]), goal_id="g", goal_tolerance_rad={"a": 0.01}, goal_time_s=0.2)
    made.command(wanted, NOW)
    lagging = np.array([0.9, 0.0])
    follow(made, 290, measured=lagging)
    assert made.take_results() == []
    follow(made, 320, start_ms=300, measured=lagging)
    (result,) = made.take_results()
    assert result.code == ErrorCode.GOAL_TOLERANCE_VIOLATED


def test_a_tolerance_of_minus_one_erases_the_controllers_own():
    made = controller(path_tolerance_rad=0.1)
    erased = {"a": -1.0}
    made.command(goal(point(100, [1.0, 0.0]), goal_id="g", path_tolerance_rad=erased), NOW)
    follow(made, 300, measured=HERE)
    assert made.take_results()[0].outcome == "succeeded"


def test_reactivation_aborts_the_goal():
    made = controller()
    made.command(goal(point(100, [1.0, 0.0]), goal_id="g"), NOW)
    made.activate(NOW, HERE)
    assert made.take_results()[0].outcome == "aborted"
    np.testing.assert_array_equal(follow(made, 200), HERE)


numbers = st.floats(-3.0, 3.0)
states = st.builds(lambda p, v, a: JointState(np.array([p]), np.array([v]), np.array([a])), numbers, numbers, numbers)


def without(state, *names):
    values = {name: getattr(state, name) for name in ("positions", "velocities", "accelerations") if name not in names}
    return JointState(**values)


@pytest.mark.parametrize(
    "dropped", [("velocities", "accelerations"), ("accelerations",), ()], ids=["linear", "cubic", "quintic"]
)
@settings(max_examples=50, deadline=None)
@given(start=states, end=states, duration_ms=st.integers(1, 3000))
def test_interpolation_meets_everything_both_ends_give(dropped, start, end, duration_ms):
    start, end = without(start, *dropped), without(end, *dropped)
    for at, wanted in ((0, start), (duration_ms * MS, end)):
        got = interpolate(0, start, duration_ms * MS, end, at)
        for name in ("positions", "velocities", "accelerations"):
            if getattr(wanted, name) is not None:
                np.testing.assert_allclose(getattr(got, name), getattr(wanted, name), rtol=1e-6, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(start=states, end=states, part=st.floats(0.1, 0.9))
def test_velocity_is_the_derivative_of_position(start, end, part):
    duration_ns, step_ns = 10**9, 10**5
    at = int(part * duration_ns)
    before, now, after = (interpolate(0, start, duration_ns, end, at + d) for d in (-step_ns, 0, step_ns))
    slope = (after.positions - before.positions) / (2 * step_ns / 1e9)
    assert before.velocities is not None and now.velocities is not None and after.velocities is not None
    assert now.accelerations is not None
    np.testing.assert_allclose(slope, now.velocities, atol=1e-4)
    bend = (after.velocities - before.velocities) / (2 * step_ns / 1e9)
    np.testing.assert_allclose(bend, now.accelerations, atol=1e-3)


def test_cancelling_may_brake_instead():
    made = controller(decelerate_on_cancel=True, max_deceleration_on_cancel=2.0)
    made.command(goal(point(1000, [1.0, 0.0]), goal_id="g"), NOW)
    follow(made, 500)
    before = made.desired
    assert before is not None and before.velocities is not None
    speed, at = before.velocities[0], before.positions[0]
    made.cancel("g", np.zeros(2), NOW + 500 * MS)
    rest = follow(made, 1500, start_ms=500)
    assert rest[0] == pytest.approx(at + speed**2 / (2 * 2.0), abs=2e-3)
    np.testing.assert_array_equal(rest, follow(made, 1600, start_ms=1500))
    assert made.take_results()[0].outcome == "canceled"


def test_the_state_at_a_time_can_be_asked_for():
    made = controller()
    assert made.query(NOW) is None
    made.command(goal(point(100, [1.0, 0.0])), NOW)
    follow(made, 10)
    asked = made.query(NOW + 50 * MS)
    assert asked is not None and asked.positions[0] == pytest.approx(0.5, abs=0.05)
    assert made.query(NOW + 200 * MS) is None
