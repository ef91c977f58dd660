import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_models.contract import NS_PER_S
from defi_ros.control.arm import ROBOT
from defi_ros.control.authority import Mode
from defi_ros.control.safety import Verdict

START_NS = 1_750_000_000 * NS_PER_S
PERIOD_NS = 5_000_000
RATE_HZ = 200


def test_before_the_first_joint_state_nothing_is_sent(bench):
    command = bench.core.tick(START_NS)
    assert (command.positions, command.pose, command.verdict_reason) == (None, None, "no joint state yet")
    assert bench.core.request(Mode.POLICY, "x", START_NS) == (
        "POLICY refused: no joint state yet, expected one before anything moves"
    )


def test_the_first_command_is_the_measured_state(bench):
    assert bench.run(0.1).positions is None  # it may be on the move
    command = bench.run(PERIOD_NS / NS_PER_S)
    np.testing.assert_array_equal(command.positions, bench.spec.home + 0.02)
    assert command.at_rest and command.mode == Mode.HOLD


def test_an_arm_outside_its_range_is_not_commanded(bench):
    bench.measured = bench.spec.home.copy()
    bench.measured[3] = 0.1
    bench.core.on_state(START_NS, bench.measured, START_NS)
    command = bench.core.tick(START_NS)
    assert command.positions is None
    assert command.verdict_reason == ("panda_joint4 is at 0.100 rad, expected -3.072..-0.070 rad; move it by hand")


def test_a_policy_moves_the_tip_along_its_chunks(bench):
    bench.policy()
    command = bench.follow(2.0)
    assert command.mode == Mode.POLICY and command.verdict == Verdict.PASSED
    wanted_y = bench.poses(0.0).targets[0][1]
    assert abs(command.pose[1] - wanted_y) < 2e-3
    bench.check()


def test_ticks_that_come_late_follow_a_chunk_as_smoothly_as_those_in_time(bench):
    """Targets were once looked up when a tick came, not when it was due: half of them then broke the tip's jerk limit."""
    bench.policy()
    bench.follow(1.0)
    late, limited = np.random.default_rng(0).integers(0, 300_000, 200), 0
    for tick in range(200):
        if tick % 40 == 0:
            assert bench.core.on_chunk(bench.poses(0.05), bench.now_ns) is None
        bench.now_ns += PERIOD_NS
        now_ns = bench.now_ns + int(late[tick])
        bench.core.on_state(now_ns, bench.measured, now_ns, 1.0)
        command = bench.core.tick(now_ns, int(late[tick]))
        bench.measured = bench.measured + 0.3 * (command.positions - bench.measured)
        limited += command.verdict != Verdict.PASSED
    assert limited == 0, command.verdict_reason
    bench.check()


def test_the_first_command_of_a_chunk_is_marked_once(bench):
    bench.policy()
    bench.run(0.15)
    chunk = bench.poses()
    bench.core.on_chunk(chunk, bench.now_ns)
    marks = [bench.run(0.005) for _ in range(5)]
    assert [command.chunk_started for command in marks] == [True, False, False, False, False]
    assert {command.chunk_stamp_ns for command in marks} == {chunk.start_ns}


def test_a_chunk_seen_before_the_handover_is_refused(bench):
    bench.policy()
    reason = bench.core.on_chunk(bench.poses(0.2), bench.now_ns)
    assert reason == (
        "chunk refused: its observation was made 0.20 s before the policy was handed the arm, expected a later one"
    )
    assert bench.core.stale_refusals == 0


def test_what_is_refused_for_its_age_is_counted(bench):
    bench.policy()
    bench.run(2.0)
    assert bench.core.on_chunk(bench.poses(1.5, step_ns=NS_PER_S), bench.now_ns) == (
        "chunk refused: chunk's observation is 1.50 s old, limit 1 s"
    )
    bench.core.on_state(bench.now_ns - NS_PER_S, bench.measured, bench.now_ns)
    assert bench.core.stale_refusals == 2


def test_in_hold_chunks_are_refused_and_do_not_move_the_arm(bench):
    bench.run(0.02)
    bench.begun_ns = bench.now_ns
    assert bench.core.on_chunk(bench.poses(0.0), bench.now_ns) == "chunk refused: mode is HOLD (start), expected POLICY"
    bench.run(0.2)
    np.testing.assert_array_equal(bench.commands[-1], bench.commands[0])


def test_silent_inference_brings_the_arm_to_rest_with_a_reason_and_fresh_chunks_continue(bench):
    bench.policy()
    command = bench.follow(1.4)
    assert not command.at_rest
    command = bench.run(0.5)
    assert command.at_rest and command.mode == Mode.POLICY and command.verdict == Verdict.HELD
    assert command.verdict_reason == (
        "no action chunk for 0.50 s: imagination_node or action_node silent, and neither says why"
    )
    bench.run(1.0)
    command = bench.follow(1.0)
    assert command.verdict != Verdict.HELD
    bench.check()


def test_a_policy_whose_chunks_are_all_refused_rests_with_the_reason_of_the_refusal(bench):
    bench.policy()
    bench.follow(1.0)
    for _ in range(4):
        bench.core.on_chunk(bench.poses(arm="ur5e"), bench.now_ns)
        command = bench.run(0.2)
    assert command.at_rest
    assert (
        command.verdict_reason == "no usable action chunk for 0.80 s: chunk is for arm 'ur5e', expected 'franka_panda'"
    )
    bench.check()


def test_silent_joint_states_bring_the_arm_to_rest_with_a_reason(bench):
    bench.policy()
    bench.follow(1.0)
    bench.silent = True
    command = bench.run(0.5)
    assert command.at_rest and command.verdict_reason == "no joint state for 0.50 s, limit 0.1 s"
    bench.check()


def test_a_chunk_that_ends_brings_the_arm_to_rest_with_a_reason(robot, make_bench):
    control = dataclasses.replace(robot.control, chunk_timeout_s=3.0)
    bench = make_bench(dataclasses.replace(robot, control=control))
    bench.policy()
    bench.follow(1.0)
    command = bench.run(1.2)
    assert command.at_rest and "the action chunk was over 0.40 s ago and none has followed" in command.verdict_reason
    bench.check()


@pytest.mark.parametrize("source", ["emergency", "request"])
def test_a_stop_brings_the_arm_to_rest_and_latches(bench, source):
    bench.policy()
    bench.follow(1.4)
    if source == "emergency":
        bench.core.on_emergency_stop(True, bench.now_ns)
    else:
        bench.core.request(Mode.STOPPED, "me", bench.now_ns)
    command = bench.run(0.5)
    assert command.at_rest and command.mode == Mode.STOPPED and command.verdict_reason.startswith("STOPPED: ")
    assert (bench.core.on_chunk(bench.poses(), bench.now_ns) or "").startswith("chunk refused: mode is STOPPED")
    bench.core.on_emergency_stop(False, bench.now_ns)
    assert bench.run(0.1).mode == Mode.STOPPED
    assert bench.core.request(Mode.HOLD, "me", bench.now_ns, reset=True) is None
    assert bench.run(0.1).mode == Mode.HOLD
    bench.check()


def led(bench, by_rad, seconds=0.5):
    """Somebody moves the arm by hand, `by_rad` in every joint, and then lets go of it; everything that was said."""
    bench.blocked, reasons = True, []
    ticks = round(seconds * RATE_HZ)
    for tick in range(ticks + RATE_HZ):
        bench.measured = bench.measured + (by_rad / ticks if tick < ticks else 0.0)
        reasons.append(bench.run(0.005).verdict_reason)
    return " ".join(dict.fromkeys(reasons))


def test_holding_follows_an_arm_that_was_moved_by_other_means_once_it_stands_still(bench):
    bench.run(0.3)
    said = led(bench, 0.2)
    assert "is 0.20 rad from where it is held" in said
    assert "was moved by 0.20 rad by other means: holding where it is" in said
    np.testing.assert_array_equal(bench.run(0.2).positions, bench.measured)
    bench.check()


def test_an_arm_that_sags_is_not_run_after_until_it_lies_on_the_table(bench):
    """Held anew 0.12 rad lower each time, it once went down by 2.5 rad within four seconds, in HOLD."""
    bench.run(0.3)
    held, bench.blocked = bench.commands[-1], True
    for _ in range(1600):
        low = bench.commands[-1] + np.array([0, 0.12, 0, 0, 0, 0, 0])
        bench.measured = bench.measured + np.clip(low - bench.measured, -0.005, 0.005)
        command = bench.run(0.005)
    assert command.mode == Mode.STOPPED and "for the 3rd time in a row: it sags, or is pushed" in command.reason
    assert command.positions[1] - held[1] < 0.3
    bench.check()


@pytest.mark.parametrize("rad_s", [0.005, 0.009])
def test_an_arm_that_creeps_down_is_not_run_after_either(bench, rad_s):
    bench.run(0.3)
    held, bench.blocked = bench.commands[-1], True
    for _ in range(round(0.5 / rad_s * RATE_HZ)):
        bench.measured = bench.measured + np.array([0, rad_s / RATE_HZ, 0, 0, 0, 0, 0])
        command = bench.run(0.005)
    assert command.mode == Mode.STOPPED and command.positions[1] - held[1] < 0.25
    bench.check()


def test_an_arm_may_be_led_as_often_as_people_like(bench):
    bench.run(0.3)
    for _ in range(5):
        led(bench, 0.15)
        bench.run(0.8)
    assert bench.run(0.1).mode == Mode.HOLD
    np.testing.assert_array_equal(bench.run(0.2).positions, bench.measured)


def test_joint_states_that_stumble_do_not_lower_an_arm_that_sags(bench):
    """Each short silence once had the arm held anew where it hung, 5 cm lower at the tip after three of them."""
    bench.run(0.3)
    held, bench.blocked = bench.commands[-1], True
    bench.measured = held + np.array([0, 0.05, 0, 0, 0, 0, 0])
    for _ in range(15):
        bench.silent = True
        bench.run(0.15)
        bench.silent = False
        bench.measured = bench.commands[-1] + np.array([0, 0.05, 0, 0, 0, 0, 0])
        bench.run(0.3)
    np.testing.assert_array_equal(bench.run(0.1).positions, held)


def test_an_arm_that_falls_while_it_is_stopped_does_not_leap_back(bench):
    bench.run(0.3)
    bench.core.on_emergency_stop(True, bench.now_ns)
    led(bench, np.array([0, 0.5, 0, 0.3, 0, 0, 0]))
    command = bench.run(0.5)
    assert command.mode == Mode.STOPPED
    np.testing.assert_array_equal(command.positions, bench.measured)
    bench.check()


def test_a_clock_that_is_set_back_does_not_hide_that_the_arm_stands_still(bench):
    bench.run(0.3)
    bench.blocked = True
    for _ in range(100):
        bench.measured = bench.measured + 0.003
        bench.run(0.005)
    bench.now_ns -= 3600 * NS_PER_S
    bench.run(1.0)
    np.testing.assert_array_equal(bench.run(0.1).positions, bench.measured)


def test_nobody_moves_an_arm_that_was_not_seen_yet(bench):
    refused = bench.teleop((0, 0.1, 0, 0, 0, 0))
    assert refused == "TELEOP refused: no joint state yet, expected one before anything moves"
    bench.run(0.1)
    assert "release it and press it anew" in (bench.teleop() or "")
    assert bench.run(0.1).mode == Mode.HOLD


def test_a_policy_that_is_asked_for_again_has_not_been_silent(bench):
    """A lease of inference that was missed for 5 ms once took the arm from a policy that had worked for half a minute."""
    bench.policy()
    bench.follow(bench.core._control.policy_patience_s + 2.0)
    assert bench.core.request(Mode.POLICY, "task_node", bench.now_ns) is None
    assert bench.run(0.05).mode == Mode.POLICY


def test_a_person_whose_device_runs_by_another_clock_is_told_so(bench):
    bench.run(0.1)
    refused = bench.teleop((0.1, 0, 0, 0, 0, 0), stamp_ns=bench.now_ns - NS_PER_S // 4)
    assert refused == "teleop: got a command of joystick that is 0.25 s old, limit 0.2 s; do the clocks agree?"
    assert bench.run(0.05).verdict_reason == refused


def test_an_arm_that_is_led_out_of_its_range_is_not_commanded_until_it_is_led_back(bench):
    """It was once commanded to the edge of its range within one tick, with the person's hand on it."""
    bench.run(0.3)
    beyond = np.zeros(7)
    beyond[0] = bench.spec.limits.upper[0] - bench.measured[0] + 0.1
    led(bench, beyond, seconds=3.0)
    command = bench.run(0.1)
    assert command.positions is None and "move it by hand" in command.verdict_reason
    assert "move it by hand" in (bench.core.request(Mode.POLICY, "me", bench.now_ns) or "")
    led(bench, -0.4 * beyond)
    command = bench.run(0.1)
    assert command.mode == Mode.HOLD and np.abs(command.positions - bench.measured).max() < 0.1
    bench.check()


def test_what_is_not_known_or_not_wanted_is_not_led_to_its_command(bench):
    """Velocities were once corrected by where the arm had been seen last, for ever, and through an emergency stop."""
    assert bench.run(0.3).trusted
    bench.silent = True
    assert not bench.run(0.3).trusted
    bench.silent = False
    assert bench.run(0.05).trusted
    bench.core.on_emergency_stop(True, bench.now_ns)
    assert not bench.run(0.05).trusted


def test_joint_states_that_come_back_say_where_a_person_goes_on_from(bench):
    bench.run(0.3)
    bench.silent = True
    for _ in range(60):
        bench.teleop()
        bench.run(0.005)
    bench.silent, bench.measured = False, bench.measured + 0.3
    for _ in range(40):
        bench.teleop()
        command = bench.run(0.005)
    np.testing.assert_allclose(command.positions, bench.measured, atol=1e-9)
    bench.check()


def test_holding_does_not_follow_what_sags_by_little(bench):
    bench.run(0.3)
    held = bench.commands[-1]
    for _ in range(40):
        bench.measured = held + 0.05
        np.testing.assert_array_equal(bench.run(0.005).positions, held)


def test_an_arm_that_does_not_follow_loses_its_policy_and_is_held_where_it_stands(bench):
    bench.policy()
    bench.follow(1.0)
    bench.blocked = True
    for _ in range(400):
        bench.teleop((0, 0.3, 0, 0, 0, 0))
        command = bench.run(0.005)
    assert command.mode == Mode.HOLD and command.at_rest
    assert "rad from its command, limit 0.35 rad" in command.reason
    np.testing.assert_array_equal(command.positions, bench.measured)
    bench.check()


@pytest.mark.parametrize("mode", [Mode.POLICY, Mode.TELEOP, Mode.HOLD])
def test_a_joint_state_that_jumps_stops_the_arm_and_is_not_run_after(bench, mode):
    """A stuck offset of an encoder was taken for an arm that was moved: holding followed it, the arm went, and again."""
    bench.policy()
    bench.follow(1.0)
    if mode == Mode.TELEOP:
        bench.teleop((0, 0.1, 0, 0, 0, 0))
        bench.run(0.1)
    if mode == Mode.HOLD:
        bench.core.request(Mode.HOLD, "me", bench.now_ns)
        bench.run(1.0)
    offset = np.array([0, 0.5, 0, 0, 0, 0, 0])
    bench.offset = offset
    command = bench.run(0.005)
    assert command.mode == Mode.STOPPED
    assert "panda_joint2 jumped by 0.50 rad within 0.005 s, which no arm can" in command.reason
    rested = bench.run(0.4).positions
    np.testing.assert_array_equal(bench.run(1.0).positions, rested)
    assert bench.core.request(Mode.HOLD, "me", bench.now_ns, reset=True) is None
    bench.check()


def test_a_robot_that_is_elsewhere_after_a_silence_has_not_jumped(bench):
    bench.policy()
    bench.follow(1.0)
    bench.silent = True
    bench.run(0.5)
    bench.silent, bench.measured = False, bench.measured + 0.3
    assert bench.run(0.01).mode != Mode.STOPPED


def test_a_simulated_arm_that_is_reset_while_it_is_held_is_held_where_it_then_is(bench):
    bench.run(0.3)
    bench.silent = True
    bench.run(0.25)
    bench.silent, bench.measured = False, bench.measured + 1.2
    command = bench.run(0.15)
    assert command.mode == Mode.HOLD
    np.testing.assert_array_equal(command.positions, bench.measured)
    bench.check()


def test_what_the_policy_s_nodes_say_of_themselves_is_why_the_arm_rests(bench):
    bench.policy()
    bench.follow(1.0)
    bench.core.on_policy_trouble("imagination_node", "camera 'static': is black")
    assert bench.run(0.5).verdict_reason == "no action chunk for 0.50 s: imagination_node: camera 'static': is black"
    bench.core.on_policy_trouble("imagination_node", "")
    assert "neither says why" in bench.run(0.005).verdict_reason


def test_a_chunk_too_old_is_told_by_its_age_also_soon_after_a_handover(bench):
    bench.policy()
    bench.follow(1.0)
    assert bench.core.on_chunk(bench.poses(5.0, step_ns=NS_PER_S), bench.now_ns) == (
        "chunk refused: chunk's observation is 5.00 s old, limit 1 s"
    )
    assert bench.core.stale_refusals == 0


@pytest.mark.parametrize("person", [False, True])
def test_a_gripper_that_does_not_close_takes_the_arm_from_a_policy_but_not_from_a_person(bench, person):
    bench.policy()
    for _ in range(15):
        if person:
            bench.teleop(gripper=0.0)
        else:
            bench.core.on_chunk(bench.poses(0.0, gripper=np.zeros(10)), bench.now_ns)
        command = bench.run(0.15)
    assert command.mode == (Mode.TELEOP if person else Mode.HOLD)
    if not person:
        assert command.at_rest
        assert "gripper: told to close 2.0 s ago, still 100% open" in command.reason
        assert bench.core.request(Mode.POLICY, "me", bench.now_ns) is None  # asked for anew, it is tried anew
        assert bench.run(0.1).mode == Mode.POLICY


def test_what_the_gripper_s_driver_says_takes_the_arm_from_a_policy(bench):
    bench.policy()
    bench.follow(1.0)
    bench.core.on_gripper_trouble("gripper: its controller rejected the goal", bench.now_ns)
    command = bench.run(0.5)
    assert (command.mode, command.at_rest, command.reason) == (
        Mode.HOLD,
        True,
        "gripper: its controller rejected the goal",
    )


def test_ticks_in_a_burst_or_of_a_clock_set_back_repeat_the_last_command(bench):
    bench.policy()
    bench.follow(1.0)
    command = bench.run(0.005)
    for later_ns in (1, -NS_PER_S, PERIOD_NS // 4 - NS_PER_S):
        again = bench.core.tick(bench.now_ns + later_ns)
        np.testing.assert_array_equal(again.positions, command.positions)
        assert (again.gripper_goal, again.chunk_started) == (None, False)
    bench.now_ns -= NS_PER_S
    command = bench.run(0.5)
    assert (command.mode, command.reason, command.at_rest) == (Mode.HOLD, "the clock was set back by 1.00 s", True)


def test_a_person_takes_over_at_once_without_a_jump_and_gives_back(bench):
    bench.policy()
    bench.follow(1.4)
    before = bench.commands[-1]
    for _ in range(100):
        assert bench.teleop((0, 0, 0.1, 0, 0, 0)) is None
        command = bench.run(0.005)
    assert (command.mode, command.reason) == (Mode.TELEOP, "joystick holds the deadman")
    risen_m = command.pose[2] - bench.kinematics.forward(before)[2]
    assert risen_m == pytest.approx(0.05, abs=0.01)
    assert bench.core.on_chunk(bench.poses(), bench.now_ns).startswith("chunk refused: mode is TELEOP")
    bench.teleop(deadman=False)
    command = bench.run(0.5)
    assert (command.mode, command.at_rest, command.reason) == (Mode.HOLD, True, "joystick released the deadman")
    bench.check()


def test_a_person_whose_arm_rested_for_want_of_joint_states_sets_out_anew_from_there(bench):
    """What the person asked for once went on at full speed meanwhile: the arm then dashed after it."""
    bench.run(0.2)
    tips, silent_from_s = [], 0.6
    for tick in range(240):
        bench.silent = silent_from_s <= tick * 0.005 < silent_from_s + 0.3
        if tick % 4 == 0:
            bench.teleop((0, 0.35, 0, 0, 0, 0))
        command = bench.run(0.005)
        tips.append(command.pose[1])
    assert command.mode == Mode.TELEOP
    speeds = np.diff(tips) / 0.005
    again = speeds[round((silent_from_s + 0.3) / 0.005) :]
    assert speeds[170] == pytest.approx(0.0, abs=1e-3), "it rested"
    assert 0.34 < again.max() < 1.25 * speeds[: round(silent_from_s / 0.005)].max()
    bench.check()


@pytest.mark.parametrize("after", ["HOLD", "POLICY"])
def test_an_input_device_that_falls_silent_must_be_pressed_anew(robot, make_bench, after):
    """One whose battery ended once handed the arm to the policy; one that came back still pressed moved it at once."""
    robot = dataclasses.replace(robot, control=dataclasses.replace(robot.control, after_teleop=after))
    bench = make_bench(robot)
    bench.policy()
    bench.follow(0.4)
    bench.teleop((0.1, 0, 0, 0, 0, 0))
    command = bench.run(0.6)
    assert command.mode == Mode.HOLD and command.at_rest
    assert command.reason.startswith("no input from joystick for 0.2") and "pressed anew" in command.reason
    assert "release it and press it anew" in (bench.teleop((0.1, 0, 0, 0, 0, 0)) or "")
    bench.teleop(deadman=False)
    assert bench.teleop((0.1, 0, 0, 0, 0, 0)) is None
    assert bench.run(0.1).mode == Mode.TELEOP
    bench.check()


@pytest.mark.parametrize("silent", ["policy", "joint states"])
def test_what_has_been_away_for_long_does_not_set_the_arm_in_motion(bench, silent):
    """Ten minutes after the inference had died its next chunk once moved the arm, and nobody had asked for it."""
    bench.policy()
    bench.follow(0.4)
    bench.silent = silent == "joint states"
    command = bench.run(bench.core._control.policy_patience_s + 1.0)
    assert command.mode == Mode.HOLD
    assert ("ask for the policy anew" if silent == "policy" else "no joint state for") in command.reason
    bench.silent = False
    bench.run(0.05)
    assert "mode is HOLD" in (bench.core.on_chunk(bench.poses(), bench.now_ns) or "")


def speeds(bench):
    commands = np.array(bench.commands)
    return (commands[1:] - commands[:-1]) * RATE_HZ


def test_a_tick_that_comes_late_does_not_cost_the_next_one(bench):
    """The next one, in time, was taken for a burst: the arm stopped for a period and then made up for it."""
    bench.policy()
    bench.follow(1.4)
    fastest = np.abs(speeds(bench)).max()
    for tick in range(40):
        late_ns = 3_000_000 if tick == 20 else 0
        bench.now_ns += PERIOD_NS
        bench.core.on_state(bench.now_ns + late_ns, bench.measured, bench.now_ns + late_ns, 1.0)
        command = bench.core.tick(bench.now_ns + late_ns, late_ns)
        bench.commands.append(command.positions)
        bench.measured = bench.measured + 0.3 * (command.positions - bench.measured)
    assert np.abs(np.diff(speeds(bench)[-40:], axis=0)).max() < 0.2 * fastest
    bench.check()


def test_after_a_pause_of_the_loop_the_arm_goes_on_from_where_it_came_to_rest(bench):
    bench.policy()
    bench.follow(1.4)
    assert bench.core._filter.state.v.any()
    bench.now_ns += 60 * PERIOD_NS
    bench.measured = bench.measured + 0.02  # its own controller took so long to stop
    command = bench.core.tick(bench.now_ns, 0, 59)
    for _ in range(20):
        assert command.positions is None and "waiting to see the arm" in command.verdict_reason
        command = bench.run(0.005)
    command = bench.run(0.005)
    assert command.mode == Mode.POLICY and np.abs(command.positions - bench.measured).max() < 1e-3
    bench.run(0.2)
    bench.check()


def test_an_input_that_is_too_fast_is_slowed_down_and_its_hand_over_stands(bench):
    bench.run(0.02)
    assert bench.teleop((3.0, 0, 0, 0, 0, 0)) == (
        "teleop: got 3.00 m/s and 0.00 rad/s from joystick, expected at most 0.6 m/s and 1.75 rad/s: slowed down"
    )
    assert bench.run(0.1).mode == Mode.TELEOP
    bench.check()


def test_taking_over_at_speed_brakes_without_turning_back(bench):
    bench.policy()
    bench.follow(1.4)
    direction = np.sign(bench.core._filter.state.v)
    for _ in range(100):
        bench.teleop()
        bench.run(0.005)
        assert (bench.core._filter.state.v * direction >= -0.02).all()
    assert bench.run(0.005).at_rest
    bench.check()


@pytest.mark.parametrize(("after", "mode"), [("HOLD", Mode.HOLD), ("POLICY", Mode.POLICY)])
def test_after_a_person_the_policy_goes_on_only_from_what_it_saw_later(robot, make_bench, after, mode):
    control = dataclasses.replace(robot.control, after_teleop=after)
    bench = make_bench(dataclasses.replace(robot, control=control))
    bench.policy()
    bench.follow(1.0)
    for _ in range(30):
        bench.teleop()
        bench.run(0.01)
    bench.teleop(deadman=False)
    command = bench.run(0.05)
    assert command.mode == mode and command.chunk_stamp_ns == 0
    reason = bench.core.on_chunk(bench.poses(0.1), bench.now_ns)
    assert reason is not None and ("before the policy was handed the arm" in reason or "expected POLICY" in reason)
    if mode == Mode.POLICY:
        bench.run(0.1)
        assert bench.core.on_chunk(bench.poses(0.1), bench.now_ns) is None
    bench.check()


def test_the_gripper_closes_on_a_transition_only(bench):
    bench.policy()
    bench.run(0.05)
    goals = []
    for step in range(10):
        bench.run(0.1)
        assert bench.core.on_chunk(bench.poses(gripper=np.full(10, 0.0 if step >= 5 else 1.0)), bench.now_ns) is None
        for _ in range(10):
            goal = bench.run(0.005).gripper_goal
            goals += [goal] if goal is not None else []
    assert goals == [0.0]


@pytest.mark.parametrize(
    ("values", "age_s", "reason"),
    [
        ([0.0] * 6, 0.0, "joint state: got 6 positions, expected 7"),
        ([0.0, np.nan, 0, 0, 0, 0, 0], 0.0, "joint state: got a position of panda_joint2 that is not finite"),
        ([0.0] * 7, 0.5, "joint state: stamp is 0.50 s old, limit 0.1 s; do the clocks agree?"),
    ],
)
def test_a_joint_state_that_cannot_be_used_is_refused(bench, values, age_s, reason):
    assert bench.core.on_state(START_NS - round(age_s * NS_PER_S), values, START_NS) == reason


events = st.lists(
    st.tuples(
        st.sampled_from(["chunk", "jump", "teleop", "release", "stop", "reset", "policy", "hold", "silence", "push"]),
        st.integers(1, 30),
        st.floats(-1, 1),
    ),
    min_size=3,
    max_size=14,
)


def happen(bench, event, number):
    core, now_ns = bench.core, bench.now_ns
    bench.silent = event == "silence"
    if event in ("chunk", "jump"):
        chunk = bench.poses(0.004)
        if event == "jump":
            targets = chunk.targets.copy()
            targets[:, :3] += number
            chunk = dataclasses.replace(chunk, targets=targets)
        core.on_chunk(chunk, now_ns)
    elif event in ("teleop", "release"):
        bench.teleop((0.5 * number, 0, 0.2, 0, number, 0), deadman=event == "teleop")
    elif event in ("stop", "reset"):
        core.on_emergency_stop(event == "stop", now_ns)
        core.request(Mode.HOLD, "me", now_ns, reset=True)
    elif event in ("policy", "hold"):
        core.request(Mode.POLICY if event == "policy" else Mode.HOLD, "me", now_ns)
    elif event == "push":
        bench.measured = bench.measured + 0.3 * number


@settings(max_examples=60)
@given(program=events)
def test_whatever_happens_no_command_breaks_a_limit_and_the_arm_comes_to_rest(robot, make_bench, program):
    bench = make_bench(robot)
    bench.policy()
    for event, periods, number in program:
        happen(bench, event, number)
        bench.run(periods / RATE_HZ)
    bench.silent = False
    bench.core.on_emergency_stop(True, bench.now_ns)
    command = bench.run(0.5)
    bench.check()
    assert command.positions is None or command.at_rest


def test_a_fault_stops_the_arm_and_a_reset_is_refused_while_it_stands(bench):
    bench.policy()
    bench.follow(1.0)
    bench.core.on_fault("command topic", "somebody else publishes", bench.now_ns)
    command = bench.run(0.5)
    assert command.at_rest and command.mode == Mode.STOPPED and "somebody else publishes" in command.reason
    refused = bench.core.request(Mode.HOLD, "me", bench.now_ns, reset=True)
    assert refused is not None and "because this still stands: somebody else publishes" in refused
    bench.core.on_fault("command topic", None, bench.now_ns)
    assert bench.core.request(Mode.HOLD, "me", bench.now_ns, reset=True) is None
    bench.check()


def test_commands_stay_with_a_robot_that_has_stopped_by_itself_and_is_moved_by_hand(bench):
    bench.policy()
    bench.follow(1.0)
    bench.core.on_fault(ROBOT, "protective stop", bench.now_ns, follows_nobody=True)
    stopped_at = bench.measured.copy()
    for moved_rad in (0.0, 0.05, 0.3):
        for _ in range(100):
            bench.measured = stopped_at + moved_rad
            command = bench.run(0.005)
        np.testing.assert_allclose(command.positions, stopped_at + moved_rad, atol=0.002)
    bench.core.on_fault(ROBOT, None, bench.now_ns)
    assert bench.core.request(Mode.HOLD, "me", bench.now_ns, reset=True) is None
    np.testing.assert_allclose(bench.run(0.2).positions, stopped_at + 0.3, atol=0.002)
    bench.check()


def test_a_robot_that_only_fell_silent_may_still_follow_and_is_held_where_it_came_to_rest(bench):
    bench.policy()
    bench.follow(1.0)
    bench.core.on_fault(ROBOT, "no word", bench.now_ns)
    held = bench.run(0.5).positions
    bench.measured = held + 0.05
    np.testing.assert_array_equal(bench.core.tick(bench.now_ns + PERIOD_NS).positions, held)
    bench.check()
