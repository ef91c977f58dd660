import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_ros.control.monitor import LimitMonitor
from defi_ros.control.safety import SafetyFilter, Verdict

RATE_HZ = 200
PERIOD_S = 1 / RATE_HZ
numbers = st.one_of(
    st.floats(-4, 4),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -0.0, 5e-324, -1e-310, 1e308, np.nan, np.inf, -np.inf]),
)
targets = st.one_of(
    st.lists(numbers, min_size=7, max_size=7),
    st.lists(st.floats(-3, 3), min_size=7, max_size=7),
    st.lists(numbers, max_size=9),
    st.just("north"),
    st.none(),
)
# (what is asked for, for how many periods)
programs = st.lists(st.tuples(targets, st.integers(1, 25), st.booleans()), min_size=1, max_size=8)


@pytest.fixture
def safety(spec, kinematics):
    return SafetyFilter(spec, kinematics, RATE_HZ)


def watched(spec, kinematics, commands):
    monitor = LimitMonitor(spec, RATE_HZ)
    for command in commands:
        monitor.check(command, kinematics.forward(command)[:3])
    return monitor


@settings(max_examples=120)
@given(program=programs)
def test_no_command_is_ever_outside_any_limit(spec, kinematics, safety, program):
    safety.reset(spec.home)
    commands = [spec.home]
    for target, periods, rests in program:
        for _ in range(periods):
            commands.append((safety.rest() if rests else safety.step(target)).positions)
    monitor = watched(spec, kinematics, commands)
    assert monitor.violations == 0, monitor.last


@settings(max_examples=80)
@given(program=programs)
def test_without_a_target_the_arm_is_at_rest_within_half_a_second(spec, safety, program):
    safety.reset(spec.home)
    for target, periods, _ in program:
        for _ in range(periods):
            safety.step(target)
    for _ in range(RATE_HZ // 2):
        command = safety.rest()
    assert not command.velocities.any() and not command.accelerations.any()
    again = safety.rest()
    np.testing.assert_array_equal(again.positions, command.positions)


@settings(max_examples=30)
@given(amplitude=st.lists(st.floats(0.02, 0.12), min_size=7, max_size=7).map(np.array), frequency=st.floats(0.5, 2.5))
def test_a_smooth_feasible_target_is_followed_without_lag(spec, safety, amplitude, frequency):
    safety.reset(spec.home)
    for tick in range(1, 200):
        target = spec.home + amplitude * (1 - np.cos(frequency * tick * PERIOD_S))
        command = safety.step(target)
        assert np.abs(command.positions - target).max() < 1e-4, command.reason
    assert command.verdict == Verdict.PASSED


def test_a_steady_speed_is_followed_with_less_than_two_milliradian_of_lag(spec, safety):
    safety.reset(spec.home)
    target = spec.home.copy()
    for _ in range(160):
        target[0] += 1.0 * PERIOD_S
        command = safety.step(target)
    assert abs(target[0] - command.positions[0]) < 2e-3
    assert command.velocities[0] == pytest.approx(1.0, abs=1e-3)


def test_a_start_at_speed_never_backs_off_for_a_run_up(spec, safety):
    safety.reset(spec.home)
    target, before = spec.home.copy(), spec.home[0]
    for _ in range(100):
        target[0] += 1.0 * PERIOD_S
        command = safety.step(target)
        assert command.positions[0] >= before - 1e-12
        before = command.positions[0]


@settings(max_examples=15)
@given(goal=st.lists(st.floats(-0.3, 0.3), min_size=7, max_size=7).map(np.array))
def test_what_a_stricter_filter_lets_pass_passes_unchanged(robot, kinematics, goal):
    scale = dataclasses.replace(robot.joints.limit_scale, velocity=0.5, acceleration=0.4, jerk=0.1)
    strict = dataclasses.replace(
        robot,
        joints=dataclasses.replace(robot.joints, limit_scale=scale),
        workspace=dataclasses.replace(robot.workspace, velocity_m_s=0.4),
    ).spec
    first, second = SafetyFilter(strict, kinematics, RATE_HZ), SafetyFilter(robot.spec, kinematics, RATE_HZ)
    for _ in range(200):
        command = first.step(strict.home + goal)
        again = second.step(command.positions)
        assert np.abs(again.positions - command.positions).max() < 1e-3, again.reason
    np.testing.assert_allclose(again.positions, command.positions, atol=1e-9)


@settings(max_examples=15)
@given(goal=st.lists(st.floats(-0.3, 0.3), min_size=7, max_size=7).map(np.array))
def test_a_standing_target_is_reached_and_kept(spec, safety, goal):
    safety.reset(spec.home)
    for _ in range(400):
        command = safety.step(spec.home + goal)
    np.testing.assert_allclose(command.positions, spec.home + goal, atol=1e-6)
    assert command.verdict == Verdict.PASSED


def test_a_target_beyond_a_joint_limit_ends_at_the_limit_and_says_so(spec, kinematics, safety):
    target = spec.home.copy()
    target[6] = 5.0
    safety.reset(spec.home)
    for _ in range(600):
        command = safety.step(target)
    assert command.positions[6] == pytest.approx(spec.limits.upper[6], abs=1e-6)
    assert command.verdict == Verdict.LIMITED
    assert command.reason == "panda_joint7: target 5.000 rad outside -2.897..2.897 rad"


def test_a_target_outside_the_workspace_stops_at_its_wall(spec, kinematics, safety):
    safety.reset(spec.home)
    pose = kinematics.forward(spec.home)
    pose[:3] = (0.5, 0.0, -0.3)
    target = kinematics.inverse(pose, spec.home).q
    for _ in range(800):
        command = safety.step(target)
        assert kinematics.forward(command.positions)[2] > spec.workspace.lower[2] - 0.003
    assert command.verdict == Verdict.LIMITED
    assert "outside the workspace (0.15, -0.65, -0.05)..(0.85, 0.65, 0.95) m" in command.reason


def test_a_jump_becomes_a_motion_and_names_the_joint(spec, safety):
    safety.reset(spec.home)
    target = spec.home.copy()
    target[6] += 1.0
    command = safety.step(target)
    assert command.verdict == Verdict.LIMITED
    assert "panda_joint7: 999.9 mrad to its target, limits 1.83 rad/s, 12.0 rad/s^2, 3000 rad/s^3" in command.reason


def test_the_tip_is_kept_slow_and_the_reason_says_so(spec, kinematics, safety):
    safety.reset(spec.home)
    target = spec.home.copy()
    target[0] += 1.5
    reasons, before = set(), kinematics.forward(spec.home)[:3]
    for _ in range(200):
        command = safety.step(target)
        tip = kinematics.forward(command.positions)[:3]
        assert np.linalg.norm(tip - before) / PERIOD_S <= spec.workspace.velocity_m_s
        before = tip
        reasons.add(command.reason.split(":")[0])
    assert "tip" in reasons


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ([0.0, np.nan, 0, 0, 0, 0, 0], "target of panda_joint2 is not finite"),
        ([0.0] * 6, r"target has shape \(6,\), expected \(7,\)"),
        ("north", "target is str, expected 7 numbers"),
    ],
)
def test_rubbish_is_held_with_a_reason(spec, safety, target, reason):
    safety.reset(spec.home)
    command = safety.step(target)
    assert command.verdict == Verdict.HELD

    assert re.fullmatch(reason, command.reason)
    np.testing.assert_array_equal(command.positions, spec.home)


def test_a_command_the_arm_does_not_follow_is_held(spec, safety):
    safety.reset(spec.home)
    measured = spec.home.copy()
    measured[1] += 0.4
    command = safety.step(spec.home + 0.01, measured)
    assert command.verdict == Verdict.HELD
    assert command.reason == "panda_joint2 is 0.40 rad from its command, limit 0.35 rad"


def test_the_monitor_sees_what_breaks_a_limit(spec, kinematics):
    for joint, step, message in ((6, 0.02, "panda_joint7: 4 rad/s > 1.827 rad/s"), (6, 0.001, "rad/s^2 > 12 rad/s^2")):
        jumped = spec.home.copy()
        jumped[joint] += step
        monitor = watched(spec, kinematics, [spec.home, jumped])
        assert monitor.violations == 1 and message in monitor.last
    outside = spec.home.copy()
    outside[3] = 0.0
    assert "panda_joint4: 0.0000 rad outside -3.0718..-0.0698 rad" in watched(spec, kinematics, [outside]).last
    assert "not finite" in watched(spec, kinematics, [np.full(7, np.nan)]).last
