"""MoveIt Servo's emulator: what it drops, when it halts, where it goes."""

import numpy as np
import pytest

from defi_ros.control.kinematics import Kinematics
from defi_sim.controllers import CommandRefusedError, CommandType, ServoCode, ServoCommand, ServoController
from defi_sim.description import ARM_JOINTS, TIP_FRAME, robot_description

HOME = np.array([0.0, -0.7854, 0.0, -2.3562, 0.0, 1.5708, 0.7854])
MS = 1_000_000
NOW = 1_000 * MS
DOWN = np.array([0.0, 0.0, -0.1, 0.0, 0.0, 0.0])


@pytest.fixture(scope="module")
def kinematics():
    return Kinematics(robot_description(), ARM_JOINTS, TIP_FRAME)


@pytest.fixture
def servo(kinematics):
    made = ServoController(kinematics)
    made.activate(NOW, HOME)
    return made


def run(servo, milliseconds, start_ms=0, twist=None, stamp=lambda now_ns: now_ns):
    for millisecond in range(start_ms, start_ms + milliseconds, 5):
        now_ns = NOW + millisecond * MS
        if twist is not None:
            servo.command(ServoCommand(CommandType.TWIST, twist, stamp(now_ns)), now_ns)
        q = servo.update(now_ns, HOME)
    return q


def test_it_begins_with_joint_jog_and_drops_other_commands(servo):
    np.testing.assert_allclose(run(servo, 100, twist=DOWN), HOME)
    assert servo.ignored == 20
    assert not servo.switch_command_type(7)


def test_a_twist_moves_the_tool_at_its_speed(servo, kinematics):
    assert servo.switch_command_type(CommandType.TWIST)
    moved = kinematics.forward(run(servo, 500, twist=DOWN)) - kinematics.forward(HOME)
    np.testing.assert_allclose(moved[:3], [0.0, 0.0, -0.05], atol=1e-3)


def test_it_halts_smoothly_a_tenth_of_a_second_after_the_last_command(servo, kinematics):
    servo.switch_command_type(CommandType.TWIST)
    at_end = kinematics.forward(run(servo, 500, twist=DOWN))[2]
    after = kinematics.forward(run(servo, 400, start_ms=500))[2]
    assert 0.008 < at_end - after < 0.02  # 0.1 s at 0.1 m/s, then the halt
    np.testing.assert_allclose(kinematics.forward(run(servo, 100, start_ms=900))[2], after, atol=1e-6)


def test_stamps_of_another_clock_keep_it_still(servo):
    servo.switch_command_type(CommandType.TWIST)
    np.testing.assert_allclose(run(servo, 200, twist=DOWN, stamp=lambda now_ns: now_ns - 150 * MS), HOME)


def test_a_pose_is_approached_no_faster_than_allowed(servo, kinematics):
    servo.switch_command_type(CommandType.POSE)
    target = kinematics.forward(HOME)
    target[2] -= 0.1
    heights = [kinematics.forward(HOME)[2]]
    for millisecond in range(0, 1500, 5):
        now_ns = NOW + millisecond * MS
        servo.command(ServoCommand(CommandType.POSE, target, now_ns), now_ns)
        heights.append(kinematics.forward(servo.update(now_ns, HOME))[2])
    assert np.abs(np.diff(heights)).max() <= 0.4 * 0.005 + 1e-5
    assert heights[-1] == pytest.approx(target[2], abs=1e-3)


def test_paused_it_does_nothing(servo):
    servo.switch_command_type(CommandType.TWIST)
    servo.paused = True
    np.testing.assert_allclose(run(servo, 100, twist=DOWN), HOME)


def test_out_of_reach_it_stays_and_says_so(servo):
    servo.switch_command_type(CommandType.TWIST)
    run(servo, 4000, twist=np.array([0.4, 0.0, 0.0, 0.0, 0.0, 0.0]))
    assert servo.code == ServoCode.JOINT_BOUND


def test_what_is_not_finite_is_refused(servo):
    with pytest.raises(CommandRefusedError, match=r"servo twist: got .*nan.*, expected 6 finite numbers"):
        servo.command(ServoCommand(CommandType.TWIST, np.full(6, np.nan), NOW), NOW)
