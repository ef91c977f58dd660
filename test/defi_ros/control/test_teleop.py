"""The target of a person's input device."""

import numpy as np
import pytest

from defi_ros.control.teleop import TeleopInput, TeleopTarget

PERIOD_NS = 5_000_000


@pytest.fixture
def target(robot, kinematics):
    return TeleopTarget(kinematics, robot.spec, robot.control)


def held(*twist):
    return TeleopInput("joystick", True, np.array(twist), 1.0)


def test_who_holds_the_deadman_still_moves_no_joint(target, spec):
    """The pull to the posture once went on meanwhile: after a takeover elbows swung, and the tip went back by 40 mm."""
    start = spec.home + np.array([0.3, 0.2, -0.6, 0.3, 0.5, -0.3, 0.4])
    target.start(start)
    assert target.follow(held(0, 0, 0, 0, 0, 0), 0) is None
    joints = start
    for _ in range(200):
        joints, why = target.step(joints, spec.workspace)
        assert why == ""
    np.testing.assert_allclose(joints, start, atol=1e-6)


def test_the_elbow_goes_to_its_posture_while_the_person_moves_the_tool(target, spec, kinematics):
    joints = kinematics.inverse(kinematics.forward(spec.home), spec.home + np.array([0.4, 0, -0.4, 0, 0.3, 0, 0])).q
    away = np.linalg.norm(joints - spec.home)
    target.start(joints)
    for tick in range(400):  # to and fro
        target.follow(held(0.3 if tick % 200 < 100 else -0.3, 0, 0, 0, 0, 0), tick * PERIOD_NS)
        joints, _ = target.step(joints, spec.workspace)
    assert np.linalg.norm(joints - spec.home) < 0.7 * away


def test_a_twist_moves_the_tip_as_asked_in_the_axes_of_the_base(target, spec, kinematics):
    joints = np.array(spec.home)
    target.start(joints)
    target.follow(held(0.1, -0.2, 0.05, 0, 0, 0), 0)
    for _ in range(40):  # until it is up to speed
        joints, _ = target.step(joints, spec.workspace)
    began = kinematics.tip(joints)
    for _ in range(100):  # half a second
        joints, _ = target.step(joints, spec.workspace)
    np.testing.assert_allclose(kinematics.tip(joints) - began, [0.05, -0.1, 0.025], atol=1e-4)


def test_a_wish_that_jumps_accelerates_the_target_within_the_limits_of_the_tip_and_never_backs_off(target, spec):
    joints, places = np.array(spec.home), []
    target.start(joints)
    for tick in range(120):
        target.follow(held(0.3 if tick < 60 else 0.0, 0, 0, 0, 0, 0), tick * PERIOD_NS)
        joints, why = target.step(joints, spec.workspace)
        assert why == ""
        places.append(target._pose[0])
    velocity = np.diff(places) / 0.005
    acceleration, box = np.diff(velocity) / 0.005, spec.workspace
    assert 0.9 * box.acceleration_m_s2 / 3**0.5 < np.abs(acceleration).max() <= box.acceleration_m_s2
    assert np.abs(np.diff(acceleration)).max() / 0.005 <= box.jerk_m_s3 * (1 + 1e-6)
    assert velocity.min() >= -1e-9 and velocity[-1] == pytest.approx(0, abs=1e-9)


def test_a_target_that_a_wall_stopped_turns_back_at_once(target, spec):
    """The ramp once went on at full speed against the wall, and had to brake before it could turn back: 130 ms."""
    joints = np.array(spec.home)
    target.start(joints)
    for tick in range(600):  # down to the table
        target.follow(held(0, 0, -0.4, 0, 0, 0), tick * PERIOD_NS)
        joints, _ = target.step(joints, spec.workspace)
    assert target._pose[2] == pytest.approx(spec.workspace.lower[2], abs=1e-6)
    for tick in range(600, 608):
        target.follow(held(0, 0, 0.4, 0, 0, 0), tick * PERIOD_NS)
        joints, _ = target.step(joints, spec.workspace)
    assert target._pose[2] > spec.workspace.lower[2] + 2e-3


def test_a_wish_that_is_too_fast_keeps_its_direction(target, spec):
    said = target.follow(held(3.0, 0, 0, 0, 0, 2 * spec.workspace.velocity_rad_s), 0)
    assert said is not None and "got 3.00 m/s and 3.50 rad/s from joystick" in said and said.endswith("slowed down")


def test_silence_is_measured_from_the_last_word(target):
    assert target.why_silent("joystick", 0) == "no input from joystick for inf s: its deadman must be pressed anew"
    target.follow(held(0, 0, 0, 0, 0, 0), 1_000_000_000)
    assert target.why_silent("joystick", 1_190_000_000) is None
    assert "for 0.25 s" in target.why_silent("joystick", 1_250_000_000)
    target.refuse("it is too old", 1_200_000_000)
    assert target.why_silent("joystick", 1_250_000_000) == "it is too old"
