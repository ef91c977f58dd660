"""An arm that did not go by its commands: pauses, silences, wrong encoders, other hands, and two of them at a time."""

import dataclasses
import re

import numpy as np
import pytest

from defi_models.contract import NS_PER_S
from defi_ros.control.authority import Mode
from defi_ros.control.command import Alone

PERIOD_NS = 5_000_000
WRONG = np.array([0, 0, 0, 0, 0.5, 0, 0])


def pause(bench, seconds, alone=Alone.HOLDS):
    """The tick after a pause of the loop."""
    missed = round(seconds * NS_PER_S / PERIOD_NS)
    bench.now_ns += (missed + 1) * PERIOD_NS
    return bench.core.tick(bench.now_ns, 0, missed, alone)


def test_an_encoder_that_jumps_while_the_arm_is_stopped_is_not_believed_either(bench):
    bench.run(0.3)
    bench.core.on_emergency_stop(True, bench.now_ns)
    stood = bench.run(0.3).positions
    bench.offset, bench.blocked = WRONG, True
    command = bench.run(1.0)
    np.testing.assert_array_equal(command.positions, stood)
    assert command.reason.startswith("emergency stop is pressed; then: joint state: panda_joint5 jumped by 0.50 rad")


@pytest.mark.parametrize("paused", [False, True])
def test_a_silence_or_a_pause_does_not_make_a_jump_undone(bench, paused):
    bench.at_speed()
    bench.offset, bench.blocked = WRONG, True
    bench.run(0.005)
    if paused:
        pause(bench, 0.2)
    bench.run(0.5)
    stood = bench.commands[-1]
    bench.silent = True
    bench.run(0.3)
    bench.silent, bench.offset = False, 1.5 * WRONG
    command = bench.run(1.0)
    assert command.mode == Mode.STOPPED
    assert command.positions is None if paused else np.array_equal(command.positions, stood)
    assert bench.core.request(Mode.HOLD, "me", bench.now_ns, reset=True) is None
    bench.run(0.7)
    np.testing.assert_array_equal(bench.commands[-1], bench.measured + bench.offset)


def test_a_silence_is_not_taken_for_a_hand_that_has_let_go(bench):
    bench.measured, bench.blocked = bench.spec.home.copy(), True
    bench.measured[3] = 0.1
    while bench.measured[3] > bench.spec.limits.upper[3] - 0.05:  # led back
        bench.run(0.005)
        bench.measured[3] -= 0.0015
    known = len(bench.commands)
    bench.silent = True
    command = bench.run(1.0)
    assert command.positions is None and "no joint state for" in command.verdict_reason
    assert "POLICY refused: no joint state for" in bench.core.request(Mode.POLICY, "me", bench.now_ns)
    bench.silent = False
    bench.measured[3] -= 0.2
    bench.run(0.45)
    assert len(bench.commands) == known
    np.testing.assert_array_equal(bench.run(0.1).positions, bench.measured)


def test_an_arm_that_left_every_place_is_held_where_it_stands_once_a_person_has_looked(bench):
    bench.run(0.5)
    bench.blocked = True
    for _ in range(1600):
        low = bench.commands[-1] + np.array([0, 0.12, 0, 0, 0, 0, 0])
        bench.measured = bench.measured + np.clip(low - bench.measured, -0.005, 0.005)
        command = bench.run(0.005)
    assert command.mode == Mode.STOPPED
    assert bench.core.request(Mode.HOLD, "me", bench.now_ns, reset=True) is None
    np.testing.assert_array_equal(bench.run(1.0).positions, bench.measured)
    assert bench.core.request(Mode.POLICY, "me", bench.now_ns) is None


def test_where_the_arm_was_before_a_pause_is_not_where_it_came_to_rest(bench):
    bench.at_speed()
    bench.blocked = True
    old_ns, was = bench.now_ns, bench.measured
    bench.now_ns += 10 * PERIOD_NS
    bench.core.on_state(old_ns, was, bench.now_ns, 1.0)  # it waited in a queue
    bench.now_ns -= 10 * PERIOD_NS
    assert pause(bench, 0.15).positions is None
    bench.measured = was + 0.03
    for _ in range(30):  # still on its way
        bench.measured = bench.measured + 0.006
        assert bench.run(0.005).positions is None
    np.testing.assert_allclose(bench.run(0.15).positions, bench.measured, atol=1e-3)


def test_an_arm_goes_on_from_where_its_controller_has_gone_on_to(bench):
    bench.at_speed()
    state = bench.core._filter.state
    command = pause(bench, 0.03, Alone.GOES_ON)
    np.testing.assert_allclose(command.positions, state.p + 0.035 * state.v, atol=1e-3)
    np.testing.assert_allclose(command.velocities, state.v, atol=0.05)
    bench.measured = command.positions
    assert bench.run(0.3).mode == Mode.POLICY
    bench.check()


def test_an_arm_whose_controller_lags_brakes_for_as_long_as_it_was_not_told_anything(bench):
    """What such a controller was not told it does not do; taken for done, it was told to go through the floor."""
    bench.at_speed()
    before, rest = bench.core._filter.state, bench.core._filter.begin_at_rest()
    command = pause(bench, 0.05, Alone.LAGS)
    assert (np.abs(command.velocities) <= np.abs(before.v) + 1e-9).all()
    assert (np.abs(command.positions - before.p) <= np.abs(rest - before.p) + 0.01).all()
    bench.measured = command.positions
    assert bench.run(0.3).mode == Mode.POLICY
    bench.check()


def test_what_a_person_wants_does_not_run_ahead_of_an_arm_that_brakes(bench):
    bench.run(0.3)
    for _ in range(40):
        bench.teleop((0, 0.2, 0, 0, 0, 0))
        bench.run(0.01)
    rest = bench.kinematics.forward(bench.core._filter.begin_at_rest())[1]
    bench.teleop()
    bench.measured = pause(bench, 0.08, Alone.LAGS).positions
    for _ in range(50):
        bench.teleop()
        command = bench.run(0.01)
    assert command.at_rest and command.mode == Mode.TELEOP
    assert abs(bench.kinematics.forward(command.positions)[1] - rest) < 2e-3
    bench.check()


@pytest.mark.parametrize("alone", [Alone.LAGS, Alone.STOPS])
def test_what_a_person_wants_of_the_gripper_outlives_a_pause(bench, alone):
    bench.run(0.3)
    bench.teleop((0, 0.1, 0, 0, 0, 0), gripper=1.0)
    bench.run(0.02)
    for tick in range(100):
        bench.teleop((0, 0.1, 0, 0, 0, 0), gripper=0.0)
        if tick == 0:
            pause(bench, 0.05, alone)
        command = bench.run(0.01)
    assert command.mode == Mode.TELEOP and command.gripper == 0.0


def test_an_arm_whose_controller_stops_it_is_looked_for_after_any_pause(bench):
    bench.at_speed()
    assert pause(bench, 0.03, Alone.STOPS).positions is None
    bench.measured = bench.measured + 0.02
    assert bench.run(0.09).positions is None
    command = bench.run(0.02)
    np.testing.assert_allclose(command.positions, bench.measured, atol=2e-3)
    assert command.mode == Mode.POLICY


@pytest.mark.parametrize("one_in", [4, 2])
def test_ticks_that_are_missed_again_and_again_do_not_undo_a_stop(bench, one_in):
    """Each of them once undid the braking since the last message: the arm went ten times as far."""
    bench.at_speed()
    begun, direction = bench.commands[-1], np.sign(bench.core._filter.state.v)
    plain = bench.core._filter.begin_at_rest() - begun
    bench.core.on_emergency_stop(True, bench.now_ns)
    for tick in range(400):
        missed = 1 if tick % one_in == 0 else 0
        bench.now_ns += (1 + missed) * PERIOD_NS
        bench.core.on_state(bench.now_ns, bench.measured, bench.now_ns, 1.0)
        command = bench.core.tick(bench.now_ns, 0, missed, Alone.GOES_ON)
        bench.measured = command.positions
    assert command.at_rest
    assert ((command.positions - begun) * direction <= 2.0 * plain * direction + 1e-3).all()
    bench.check()


@pytest.mark.parametrize("one_in", [20, 4])
def test_ticks_that_are_missed_again_and_again_do_not_slow_a_person_down(bench, one_in):
    bench.run(0.3)
    begun = bench.kinematics.forward(bench.commands[-1])[1]
    seconds = 0.0
    for tick in range(120):
        missed = 1 if tick % one_in == 0 else 0
        bench.now_ns += (1 + missed) * PERIOD_NS
        seconds += (1 + missed) * PERIOD_NS / NS_PER_S
        bench.core.on_state(bench.now_ns, bench.measured, bench.now_ns, 1.0)
        bench.teleop((0, 0.3, 0, 0, 0, 0), gripper=1.0 if tick < 60 else 0.0)
        command = bench.core.tick(bench.now_ns, 0, missed, Alone.GOES_ON)
        bench.measured = command.positions
    assert bench.kinematics.forward(command.positions)[1] - begun > 0.25 * seconds
    assert command.gripper == 0.0
    bench.check()


def test_a_tick_that_is_missed_before_a_wall_is_no_reason_to_fall_silent(bench):
    """Nothing was commanded for 0.4 s when the arm should have braked: it went on through the wall."""
    bench.run(0.3)
    floor = bench.spec.workspace.lower[2]
    while bench.kinematics.forward(bench.commands[-1])[2] > floor + 0.02:
        bench.teleop((0, 0, -0.3, 0, 0, 0))
        bench.run(0.005)
    bench.teleop((0, 0, -0.3, 0, 0, 0))
    for missed in (2, 0, 1, 0, 0, 3):
        command = pause(bench, missed * PERIOD_NS / NS_PER_S, Alone.GOES_ON)
        assert command.positions is not None
        bench.measured = command.positions
        bench.core.on_state(bench.now_ns, bench.measured, bench.now_ns, 1.0)
    bench.run(0.5)
    counted = bench.core.limit_violations
    bench.run(0.3)
    assert bench.core.limit_violations == counted  # an arm that stands there breaks no limit again and again
    low = bench.kinematics.forward(bench.commands[-1])[2]
    assert floor - 0.01 < low < floor + 0.002
    bench.teleop(deadman=False)
    for _ in range(100):
        bench.teleop((0, 0, 0.2, 0, 0, 0))
        bench.run(0.01)
    assert bench.kinematics.forward(bench.commands[-1])[2] > floor + 0.1


def below(bench, depth_m):
    """Joints that hold the tip that far below the floor of the workspace [rad]."""
    pose = bench.kinematics.forward(bench.measured)
    pose[2] = bench.spec.workspace.lower[2] - depth_m
    return bench.kinematics.inverse(pose, bench.measured, max_iterations=100).q


@pytest.mark.parametrize(("paused_s", "gives_way"), [(0.2, False), (2.0, True)])
def test_what_an_arm_overran_by_itself_in_a_pause_does_not_move_a_wall(bench, paused_s, gives_way):
    """Again and again paused, a policy came through the floor; in a long pause a hand may have put the arm there."""
    bench.at_speed()
    bench.blocked, bench.measured = True, below(bench, 0.005)
    assert pause(bench, paused_s).positions is None
    np.testing.assert_array_equal(bench.run(0.3).positions, bench.measured)
    let_out_m = bench.spec.workspace.lower[2] - bench.core._filter.box.lower[2]
    assert let_out_m == pytest.approx(0.005, abs=1e-3)
    bench.check()
    for _ in range(200):
        bench.core._filter.step(bench.measured)
    let_out_m = bench.spec.workspace.lower[2] - bench.core._filter.box.lower[2]
    assert let_out_m == pytest.approx(0.005 if gives_way else 0.0, abs=1e-3)


def test_a_driver_that_begins_with_a_pose_that_is_none_is_no_jump_of_an_encoder(bench):
    bench.offset = 0.3 * np.ones(7)  # for four messages
    bench.run(0.02)
    bench.offset = 0.0
    command = bench.run(0.2)
    assert command.mode == Mode.HOLD
    np.testing.assert_array_equal(command.positions, bench.measured)


def test_a_hand_that_leads_the_arm_while_it_is_looked_for_may_leave_it_outside(bench):
    """It was thrown in at half a metre a second, under a person who held still."""
    bench.at_speed()
    bench.blocked = True
    pause(bench, 0.2)
    for _ in range(300):
        bench.measured = bench.measured + np.clip(below(bench, 0.06) - bench.measured, -0.005, 0.005)
        bench.run(0.005)
    bench.run(0.5)
    bench.blocked, stood = False, bench.commands[-1]
    for _ in range(100):
        bench.teleop()
        command = bench.run(0.01)
    assert command.mode == Mode.TELEOP
    np.testing.assert_allclose(command.positions, stood, atol=1e-6)


@pytest.mark.parametrize("depth_m", [0.003, 0.03])
def test_an_arm_that_overran_a_wall_by_itself_is_led_back_slowly(bench, depth_m):
    bench.at_speed()
    bench.blocked, bench.measured = True, below(bench, depth_m)
    pause(bench, 0.2)
    bench.run(0.3)
    bench.blocked, heights = False, []
    for _ in range(100):
        bench.teleop()
        heights.append(bench.kinematics.forward(bench.run(0.01).positions)[2])
    assert heights[-1] > bench.spec.workspace.lower[2] - 1e-3
    assert np.diff(heights).max() / 0.01 < 0.15


def test_an_encoder_that_jumps_while_the_arm_is_looked_for_is_not_believed(bench):
    bench.run(0.5)
    bench.silent = True
    bench.run(0.3)
    bench.silent, bench.blocked, bench.measured = False, True, bench.measured + 0.3
    bench.run(0.02)
    bench.offset = WRONG
    command = bench.run(0.5)
    assert command.mode == Mode.STOPPED and command.positions is None


def test_a_joint_that_would_go_on_beyond_its_range_stays_within(bench):
    bench.run(0.3)
    limit, filtered = bench.spec.limits.upper[6], bench.core._filter
    target = bench.commands[-1].copy()
    while limit - filtered.state.p[6] > 0.15:
        target[6] = min(target[6] + 0.007, limit)
        filtered.step(target)
    before = filtered.state
    assert before.v[6] > 0.5
    braked = filtered._motion.along(filtered._motion.brakes(before), before, 0.1)
    filtered.go_on(0.1, braking=False)
    assert (filtered.state.p[6], filtered.state.v[6]) == (braked.p[6], braked.v[6])
    assert 0.0 < filtered.state.v[6] < before.v[6]
    ways = [filtered.state]
    while ways[-1].v.any():
        filtered.rest()
        ways.append(filtered.state)
        assert filtered.state.p[6] <= limit
    changes = np.diff([way.v[6] for way in ways]) * 200.0
    assert len(changes) and np.abs(changes).max() <= bench.spec.limits.acceleration[6] + 1e-9


@pytest.mark.parametrize("was_outside", [False, True])
@pytest.mark.parametrize("one_in", [30, 10])
def test_ticks_that_are_missed_now_and_then_do_not_move_a_wall_outwards(bench, one_in, was_outside):
    """Each overrun once was where the next target might be: a policy came through the floor, by all that it asked for."""
    kinematics, floor, filtered = bench.kinematics, bench.spec.workspace.lower[2], bench.core._filter
    pose = kinematics.forward(bench.spec.home)
    pose[2] = floor + 0.03
    above = kinematics.inverse(pose, bench.spec.home, max_iterations=60).q
    pose[2] = floor - 0.05
    under = kinematics.inverse(pose, above, max_iterations=60).q
    filtered.reset(under if was_outside else above)
    while was_outside and filtered.tip[2] < floor + 0.029:
        filtered.step(above)
    lowest_m = 0.0
    for tick in range(3000):
        time_s = tick / 200.0
        target = above + min(time_s, 1.0) * (under - above)
        target[[0, 3]] += 0.35 * np.sin(5.2 * time_s), 0.12 * np.sin(8.9 * time_s)
        if tick % one_in == 0:
            filtered.go_on(0.005, braking=False)
        filtered.step(target)
        lowest_m = min(lowest_m, filtered.tip[2] - floor)
    assert lowest_m > -0.006


def test_a_bridge_that_begins_anew_believes_no_jumped_encoder_and_gives_the_arm_to_nobody(bench):
    bench.policy()
    bench.follow(0.6)
    bench.core.forget(bench.now_ns)
    assert bench.run(0.2).mode == Mode.HOLD
    bench.core.on_emergency_stop(True, bench.now_ns)
    bench.offset, bench.blocked = WRONG, True
    bench.run(0.1)
    bench.core.on_emergency_stop(False, bench.now_ns)
    bench.core.forget(bench.now_ns)
    command = bench.run(0.6)
    assert command.positions is None and "look at its encoders" in command.verdict_reason
    assert bench.core.request(Mode.HOLD, "me", bench.now_ns, reset=True) is None
    np.testing.assert_array_equal(bench.run(0.1).positions, bench.measured + WRONG)


def test_a_bridge_that_begins_anew_waits_for_an_arm_that_still_moves(bench):
    """It was held where it was seen first, in full motion: the controller threw it back."""
    bench.at_speed()
    bench.core.forget(bench.now_ns)
    for _ in range(20):
        bench.measured = bench.measured + 0.004
        command = bench.run(0.005)
        assert command.positions is None
        assert command.verdict_reason.endswith("waiting to see the arm at rest")
    assert command.verdict_reason.startswith("joint states began 0.1 s ago")
    assert bench.run(0.08).positions is None
    command = bench.run(0.02)
    np.testing.assert_array_equal(command.positions, bench.commands[-1])
    np.testing.assert_allclose(command.positions, bench.measured, atol=1e-3)


@pytest.mark.parametrize("mode", [Mode.TELEOP, Mode.POLICY])
def test_who_has_the_arm_before_it_is_found_begins_from_where_it_is(bench, mode):
    bench.measured = bench.spec.home + 0.4
    bench.run(0.02)
    if mode == Mode.POLICY:
        assert bench.core.request(mode, "me", bench.now_ns) is None
    for _ in range(40):
        if mode == Mode.TELEOP:
            assert bench.teleop() is None
        command = bench.run(0.01)
    assert command.mode == mode
    np.testing.assert_allclose(bench.commands, np.tile(bench.spec.home + 0.4, (len(bench.commands), 1)), atol=1e-6)


def test_an_arm_that_is_led_while_its_joint_states_come_back_is_waited_for(bench):
    """It was held in mid motion, where it was seen first."""
    bench.run(0.5)
    bench.silent = bench.blocked = True
    for _ in range(60):
        bench.measured = bench.measured + np.array([0.006, 0, 0, 0, 0, 0, 0])
        bench.run(0.005)
    bench.silent = False
    for _ in range(40):
        bench.measured = bench.measured + np.array([0.006, 0, 0, 0, 0, 0, 0])
        command = bench.run(0.005)
        assert command.positions is None
    assert re.fullmatch(
        r"panda_joint1 was moved by 0.3\d rad while there were no joint states, until 0.2 s ago: waiting to see the arm at rest",
        command.verdict_reason,
    )
    np.testing.assert_array_equal(bench.run(0.2).positions, bench.measured)


def test_a_burst_in_the_tick_in_which_the_arm_is_found_does_not_lead_it_back(bench):
    bench.at_speed()
    pause(bench, 0.2)
    bench.blocked = True
    for _ in range(100):
        bench.measured = bench.measured + np.array([0.01, 0, 0, 0, 0, 0, 0])
        assert bench.run(0.005).positions is None
    while True:
        bench.now_ns += PERIOD_NS
        bench.core.on_state(bench.now_ns, bench.measured, bench.now_ns, 1.0)
        if bench.core._where.why_lost(bench.core._joints, bench.now_ns) is None:
            break
        bench.core.tick(bench.now_ns)
    command = bench.core.tick(bench.now_ns - PERIOD_NS // 2 - 1)
    np.testing.assert_array_equal(command.positions, bench.measured)


def test_a_command_says_whether_it_goes_on_from_the_one_before(bench):
    assert not bench.run(0.1).anew  # sought
    assert bench.run(0.005).anew and not bench.run(0.3).anew
    bench.blocked = True
    for _ in range(20):
        bench.measured = bench.measured + np.array([0.01, 0, 0, 0, 0, 0, 0])
        assert not bench.run(0.005).anew
    while not (command := bench.run(0.005)).anew:
        assert not np.array_equal(command.positions, bench.measured)
    np.testing.assert_array_equal(command.positions, bench.measured)
    assert not bench.core.tick(bench.now_ns).anew  # said once more


def test_a_clock_that_is_set_back_as_the_bridge_begins_hides_the_arm_for_no_hour(bench):
    bench.run(0.3)
    bench.core.forget(bench.now_ns)
    bench.now_ns -= 3600 * NS_PER_S
    assert bench.run(0.2).positions is not None


def test_patience_with_a_silent_policy_begins_when_the_bridge_does(bench):
    bench.at_speed()
    bench.now_ns -= 3600 * NS_PER_S  # set back while the bridge was inactive
    bench.core.forget(bench.now_ns)
    bench.run(0.3)
    assert bench.core.request(Mode.POLICY, "me", bench.now_ns) is None
    assert bench.run(bench.core._control.policy_patience_s + 1.0).mode == Mode.HOLD


def test_who_slides_along_a_wall_from_outside_is_not_drawn_in_by_the_lag_of_the_joints(robot, make_bench):
    floor = make_bench(robot).kinematics.forward(robot.spec.home + 0.02)[2] + 0.03
    lower = (*robot.workspace.lower[:2], float(floor))
    bench = make_bench(dataclasses.replace(robot, workspace=dataclasses.replace(robot.workspace, lower=lower)))
    bench.run(0.3)
    heights = []
    for _ in range(100):
        bench.teleop((0.1, 0, 0, 0, 0, 0))
        bench.run(0.01)
        heights.append(bench.kinematics.forward(bench.commands[-1])[2])
    assert np.ptp(heights) < 5e-3  # 45 mm once
    bench.check()


def test_after_a_long_pause_without_joint_states_the_policy_does_not_go_on(bench):
    bench.at_speed()
    pause(bench, 0.2)
    bench.silent = True
    command = bench.run(6.0)
    assert command.mode == Mode.HOLD
    assert command.reason == "the control loop was paused 1.0 s ago: waiting to see the arm"


def test_a_pause_is_noted_also_when_the_clock_was_set_back_meanwhile(bench):
    bench.at_speed()
    bench.blocked = True
    bench.measured = bench.measured + 0.12
    bench.now_ns -= 3 * NS_PER_S
    command = pause(bench, 2.0)
    assert command.positions is None and command.mode == Mode.HOLD
    assert "the clock was set back by 3.00 s" in command.reason
    np.testing.assert_allclose(bench.run(0.3).positions, bench.measured, atol=1e-3)


def test_a_clock_that_is_set_back_while_the_arm_is_looked_for_hides_it_for_no_hour(bench):
    bench.at_speed()
    bench.silent = bench.blocked = True
    bench.measured = bench.measured + 0.12
    pause(bench, 1.0)
    bench.run(0.02)
    bench.now_ns -= 3600 * NS_PER_S
    assert bench.run(0.02).positions is None
    bench.silent = False
    np.testing.assert_allclose(bench.run(0.3).positions, bench.measured, atol=1e-3)
    assert bench.teleop((0.05, 0, 0, 0, 0, 0)) is None


def test_a_clock_that_is_set_back_does_not_end_the_patience_with_a_silent_policy(bench):
    bench.at_speed()
    bench.now_ns -= 3600 * NS_PER_S
    bench.run(0.1)
    assert bench.core.request(Mode.POLICY, "me", bench.now_ns) is None
    command = bench.run(bench.core._control.policy_patience_s + 1.0)
    assert command.mode == Mode.HOLD and "no action chunk for" in command.reason


def test_a_way_to_rest_that_nobody_saw_is_not_another_hand_s(bench):
    bench.at_speed()
    bench.silent = True
    bench.run(0.5)
    rested = bench.commands[-1]
    bench.silent = False
    command = bench.run(0.005)
    np.testing.assert_allclose(command.positions, rested, atol=1e-3)
    assert command.mode == Mode.POLICY


def test_a_policy_does_not_go_on_from_where_a_hand_has_put_the_arm(bench):
    bench.policy()
    bench.follow(1.0)
    bench.silent = True
    bench.run(1.0)
    bench.silent, bench.measured = False, bench.measured + np.array([0.3, 0, 0, 0, 0, 0, 0])
    command = bench.run(0.05)
    assert command.mode == Mode.HOLD and "was moved by 0.3" in command.reason and command.at_rest


def led_out(bench):
    """Somebody leads the arm 6 cm out of its workspace and lets go: where its tip then is."""
    bench.run(0.3)
    bench.blocked = True
    limits, box = bench.spec.limits, bench.spec.workspace
    while True:
        ahead = bench.measured + np.array([0.006, 0.003, 0, 0.004, 0, 0, 0])
        bench.measured = np.clip(ahead, limits.lower + 0.01, limits.upper - 0.01)
        tip = bench.kinematics.forward(bench.measured)[:3]
        if np.linalg.norm(tip - box.nearest(tip)) > 0.06:
            break
        bench.run(0.005)
    bench.run(1.0)
    bench.blocked = False
    return tip


def test_who_takes_an_arm_out_of_a_wall_is_not_thrown_in_and_the_other_walls_stand(bench):
    """Once the tip went in at half a metre a second when it slid along; once being outside one wall opened them all."""
    box = bench.spec.workspace
    led_out(bench)
    tips = []
    for tick in range(300):
        wish = (0, -0.1 if tick < 150 else 0.1, 0.05 if tick % 20 < 10 else -0.05, 0, 0, 0)
        bench.teleop(wish)
        bench.run(0.01)
        tips.append(bench.kinematics.forward(bench.commands[-1])[:3])
    speeds = np.linalg.norm(np.diff(tips, axis=0), axis=1) / 0.01
    assert speeds.max() < 0.3
    down = bench.kinematics.forward(bench.commands[-1])
    down[2] = box.lower[2] - 0.1
    floor = bench.kinematics.inverse(down, bench.commands[-1], max_iterations=50).q
    filtered = bench.core._filter
    for _ in range(1000):
        filtered.step(filtered.state.p + np.clip(floor - filtered.state.p, -0.002, 0.002))
        assert bench.kinematics.forward(filtered.state.p)[2] > box.lower[2] - 2e-3


def test_a_person_who_holds_still_moves_nothing_also_outside_the_workspace(bench):
    box, tip = bench.spec.workspace, led_out(bench)
    stood = bench.commands[-1]
    for _ in range(100):
        bench.teleop()
        command = bench.run(0.01)
    assert command.mode == Mode.TELEOP
    np.testing.assert_allclose(command.positions, stood, atol=1e-6)
    inward = box.nearest(tip) - tip
    for _ in range(200):
        bench.teleop((*(0.1 * inward / np.linalg.norm(inward)), 0, 0, 0))
        command = bench.run(0.01)
    back = bench.kinematics.forward(command.positions)[:3]
    assert np.linalg.norm(back - box.nearest(back)) < 0.01
    bench.check()
