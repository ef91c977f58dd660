import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import defi_sim
from defi_models.contract import NS_PER_S, ConfigError
from defi_ros.control.kinematics import Kinematics
from defi_ros.robot import load_robot
from defi_ros.sections import Teleop
from defi_ros.teleop.joystick import Joystick
from defi_ros.teleop.keyboard import Keyboard
from defi_ros.teleop.leader import Leader
from defi_ros.teleop.mapping import (
    Buttons,
    Input,
    JoystickMapping,
    KeyboardMapping,
    available_devices,
    load_mapping,
    mapping_from,
)
from defi_ros.teleop.registry import make_device
from defi_ros.teleop.spacemouse import SpaceMouse
from defi_ros.teleop.wish import Request

S = NS_PER_S
MS = NS_PER_S // 1000
NOW = 1_750_000_000 * S
SPEED = Teleop(linear_m_s=0.2, angular_rad_s=0.5)
ROBOT = load_robot("franka")


def mapping(name: str) -> Any:
    """The shipped mapping, whichever kind it is."""
    return load_mapping(name)


@pytest.fixture
def joystick():
    return Joystick(mapping("joy"), SPEED)


def joy(axes=(), buttons=()):
    """Six axes and fifteen buttons, those given deflected or pressed."""
    values, pressed = [0.0] * 6, [0] * 15
    for number, value in dict(axes).items():
        values[number] = value
    for number in buttons:
        pressed[number] = 1
    return values, pressed


DEADMAN, STOP, GRIPPER, POLICY, RESET, FRAME = 9, 1, 0, 3, 6, 10


@pytest.mark.parametrize("name", available_devices())
def test_every_shipped_device_can_be_made(name):
    device = make_device(name, ROBOT, defi_sim.robot_description())
    wish = device.read(NOW)
    assert not wish.deadman and not wish.stop and not wish.twist.any()


def test_an_unknown_device_is_refused_with_those_that_exist():
    with pytest.raises(ConfigError, match=r"got an unknown device 'joyy'\. Did you mean 'joy'"):
        load_mapping("joyy")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "mouse"}, "kind: got 'mouse', expected one of joy, spacemouse, keyboard, leader"),
        ([], "kind: got None"),
        ({"kind": "joy", "buttons": {"deadman": []}, "motion": {}}, "deadman: got no button, expected at least one"),
        ({"kind": "joy", "buttons": {"deadman": [0]}, "motion": {"up": []}}, "motion: got 'up', expected one of x, y"),
        ({"kind": "keyboard", "motion": {"w": "x"}}, r"motion: got 'x', expected .*with a sign, as in \+x"),
        ({"kind": "keyboard", "motion": {}, "taps": 1}, "taps"),
    ],
)
def test_a_mapping_that_makes_no_sense_is_refused_with_the_reason(given, message):
    with pytest.raises(ConfigError, match=message):
        mapping_from(given, "mine.yaml")


def test_full_deflection_is_the_full_speed_and_a_diagonal_is_not_faster(joystick):
    joystick.on_joy(*joy({1: 1.0}, [DEADMAN]), NOW)
    np.testing.assert_allclose(joystick.read(NOW).twist, [0.2, 0, 0, 0, 0, 0])
    joystick.on_joy(*joy({0: 1.0, 1: 1.0, 3: -1.0}, [DEADMAN]), NOW)
    twist = joystick.read(NOW).twist
    assert np.linalg.norm(twist[:3]) == pytest.approx(0.2) and twist[1] > 0 > twist[2]


def test_without_the_deadman_nothing_moves(joystick):
    joystick.on_joy(*joy({1: 1.0}), NOW)
    wish = joystick.read(NOW)
    assert not wish.deadman and not wish.twist.any() and not wish.trouble


@pytest.mark.parametrize("silent_ns", [-S, S // 2, 3600 * S])
def test_a_silent_device_has_let_go_and_says_so(joystick, silent_ns):
    joystick.on_joy(*joy({1: 1.0}, [DEADMAN]), NOW)
    wish = joystick.read(NOW + silent_ns)
    assert not wish.deadman and "joystick: nothing heard on joy for" in wish.trouble


@pytest.mark.parametrize(("axes", "buttons"), [([], []), ([0.0] * 6, [1] * 3), ([0.0], [0] * 9 + [1] * 6)])
def test_a_device_that_lost_its_axes_or_buttons_has_let_go(joystick, axes, buttons):
    joystick.on_joy(*joy({1: 1.0}, [DEADMAN]), NOW)
    joystick.on_joy(axes, buttons, NOW)
    wish = joystick.read(NOW)
    assert not wish.deadman and not wish.twist.any() and "expected" in wish.trouble


def test_the_stop_button_counts_without_the_deadman_and_while_it_is_held(joystick):
    joystick.on_joy(*joy(buttons=[STOP]), NOW)
    assert joystick.read(NOW).stop
    assert joystick.read(NOW + S).stop  # a device that vanishes pressed leaves its stop standing
    joystick.on_joy(*joy(), NOW)
    assert not joystick.read(NOW).stop


def test_buttons_ask_once_at_each_press(joystick):
    for buttons in ([], [POLICY], [POLICY], [], [RESET, POLICY]):
        joystick.on_joy(*joy(buttons=buttons), NOW)
    assert joystick.take_requests() == [Request.POLICY, Request.POLICY, Request.RESET]
    assert joystick.take_requests() == []


def test_a_button_held_while_the_device_appears_asks_nothing(joystick):
    joystick.on_joy(*joy(buttons=[POLICY]), NOW)
    assert joystick.take_requests() == []


def test_taking_over_leaves_the_gripper_as_it_is_and_its_button_turns_it(joystick):
    joystick.on_joy(*joy(), NOW)
    joystick.note_opening(0.0)
    joystick.on_joy(*joy(buttons=[DEADMAN]), NOW)
    joystick.note_opening(1.0)  # while the person holds it, only the person's button counts
    assert joystick.read(NOW).gripper == 0.0
    joystick.on_joy(*joy(buttons=[DEADMAN, GRIPPER]), NOW)
    assert joystick.read(NOW).gripper == 1.0


def test_the_frame_button_switches_between_base_and_tool(joystick):
    frames = []
    for buttons in ([], [FRAME], [], [FRAME]):
        joystick.on_joy(*joy(buttons=buttons), NOW)
        frames.append(joystick.read(NOW).frame)
    assert frames == ["base", "tool", "tool", "base"]


@settings(max_examples=100)
@given(
    axes=st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=8),
    buttons=st.lists(st.integers(0, 1), max_size=16),
)
def test_whatever_a_device_says_the_velocity_is_finite_and_within_the_full_speed(axes, buttons):
    joystick = Joystick(mapping("joy"), SPEED)
    joystick.on_joy(axes, buttons, NOW)
    twist = joystick.read(NOW).twist
    assert np.linalg.norm(twist[:3]) <= 0.2 + 1e-9 and np.linalg.norm(twist[3:]) <= 0.5 + 1e-9


def test_a_deflection_inside_the_dead_zone_is_none_and_it_grows_from_there():
    limp = JoystickMapping(Buttons((0,)), {"z": (Input(axis=0),)}, deadzone=0.2)
    speeds = []
    for value in (0.0, 0.19, 0.2001, 0.6, 1.0):
        device = Joystick(limp, SPEED)
        device.on_joy([value], [1], NOW)
        speeds.append(device.read(NOW).twist[2])
    assert speeds[:2] == [0.0, 0.0] and speeds[2] < 1e-3
    assert speeds[3:] == pytest.approx([0.1, 0.2])


def test_a_spacemouse_moves_by_its_twist_and_is_held_by_its_button():
    mouse = SpaceMouse(mapping("spacemouse"), SPEED)
    mouse.on_joy([0.0] * 6, [1, 0], NOW)
    assert "nothing heard on spacenav/twist" in mouse.read(NOW).trouble
    mouse.on_twist(np.array([0, 0, 1.0, 0, 0, -1.0]), NOW)
    np.testing.assert_allclose(mouse.read(NOW).twist, [0, 0, 0.2, 0, 0, -0.5])
    mouse.on_joy([0.0] * 6, [1, 0], NOW + S)
    assert not mouse.read(NOW + S).deadman


@pytest.fixture
def keyboard():
    return Keyboard(mapping("keyboard"), SPEED)


def test_a_tapped_key_moves_a_little_and_then_lets_go(keyboard):
    keyboard.on_key("w", NOW)
    moved, held = 0, 0
    for ms in range(0, 1500, 10):
        wish = keyboard.read(NOW + ms * MS)
        moved, held = moved + bool(wish.twist.any()), held + wish.deadman
    assert 10 * moved == pytest.approx(120, abs=20) and 10 * held == pytest.approx(750, abs=20)


def test_a_held_key_moves_until_it_is_released(keyboard):
    keyboard.on_key("w", NOW)
    speeds = {}
    for ms in range(0, 2000, 10):
        if 660 <= ms <= 1500 and ms % 40 == 0:
            keyboard.on_key("w", NOW + ms * MS)
        speeds[ms] = keyboard.read(NOW + ms * MS).twist[0]
    assert all(speeds[ms] == pytest.approx(0.1) for ms in range(700, 1600, 10))
    assert speeds[1700] == 0.0 and not keyboard.read(NOW + 2 * S).deadman


def test_the_stop_key_stops_lets_go_and_is_released_by_itself(keyboard):
    keyboard.on_key("w", NOW)
    keyboard.on_key(" ", NOW)
    wish = keyboard.read(NOW)
    assert wish.stop and not wish.deadman
    assert not keyboard.read(NOW + S).stop


def test_the_gripper_key_turns_once_however_long_it_is_held(keyboard):
    for ms in range(700, 1200, 40):
        keyboard.on_key("g", NOW + ms * MS)
    wish = keyboard.read(NOW + 1200 * MS)
    assert wish.deadman and not wish.twist.any() and wish.gripper == 0.0


def test_keys_ask_change_speed_and_frame(keyboard):
    for key in "pRh+++++++t":
        keyboard.on_key(key, NOW)
    keyboard.on_key("w", NOW)
    wish = keyboard.read(NOW)
    assert keyboard.take_requests() == [Request.POLICY, Request.RESET, Request.HOLD]
    assert wish.frame == "tool" and wish.twist[0] == pytest.approx(0.2)
    assert "100% speed" in keyboard.status() and "w\u00a0+x" in keyboard.help


def test_no_two_keys_of_the_shipped_keyboard_are_the_same():
    shipped = load_mapping("keyboard")
    assert isinstance(shipped, KeyboardMapping)
    keys = [*shipped.motion, *vars(shipped.keys).values()]
    assert len(keys) == len(set(keys))


@pytest.fixture
def leader():
    spec = ROBOT.spec
    kinematics = Kinematics(defi_sim.robot_description(), spec.joint_names, spec.tip_frame)
    return Leader(mapping("leader"), Teleop(linear_m_s=0.5, angular_rad_s=2.0), kinematics)


def lead(leader, joints, now_ns, held=True):
    names = [f"leader_joint{number}" for number in range(1, 8)]
    leader.on_joints(names, list(joints), now_ns)
    leader.on_joy([], [int(held), 0, 0], now_ns)
    return leader.read(now_ns)


def test_the_tool_repeats_the_leader_s_motion_from_wherever_the_clutch_closed(leader):
    home = np.array(ROBOT.home) + 0.3  # not where the robot is
    went, turned, now_ns, rate = np.zeros(3), np.zeros(3), NOW, 50
    before = leader._kinematics.forward(home)
    for tick in range(3 * rate):
        joints = home.copy()
        joints[0] += 0.2 * min(tick / rate, 1.0)
        wish = lead(leader, joints, now_ns)
        went, turned = went + wish.twist[:3] / rate, turned + wish.twist[3:] / rate
        now_ns += S // rate
    after = leader._kinematics.forward(joints)
    np.testing.assert_allclose(went, after[:3] - before[:3], atol=1e-3)
    np.testing.assert_allclose(turned, [0, 0, 0.2], atol=2e-3)


def test_closing_the_clutch_anew_begins_from_where_both_are(leader):
    home = np.array(ROBOT.home)
    lead(leader, home, NOW)
    lead(leader, home, NOW + 20 * MS, held=False)
    wish = lead(leader, home + 0.4, NOW + 40 * MS)
    assert wish.deadman and not wish.twist.any()
    assert np.abs(lead(leader, home + 0.4, NOW + 60 * MS).twist).max() < 1e-9


@pytest.mark.parametrize(
    ("names", "positions", "trouble"),
    [
        (["leader_joint1"], [0.0], "expected 'leader_joint2' among them"),
        ([f"leader_joint{n}" for n in range(1, 8)], [0.0] * 6 + [np.nan], "leader_joint7 that is not finite"),
    ],
)
def test_a_leader_whose_joints_cannot_be_used_has_let_go(leader, names, positions, trouble):
    leader.on_joints(names, positions, NOW)
    leader.on_joy([], [1, 0, 0], NOW)
    wish = leader.read(NOW)
    assert not wish.deadman and trouble in wish.trouble


def test_a_leader_whose_joints_fall_silent_has_let_go(leader):
    lead(leader, ROBOT.home, NOW)
    leader.on_joy([], [1, 0, 0], NOW + S)
    assert not leader.read(NOW + S).deadman


def test_a_leader_s_trigger_is_the_gripper():
    changed = dataclasses.replace(mapping("leader"), gripper_joint="trigger", gripper_closed=0.5, gripper_open=-0.5)
    spec = ROBOT.spec
    leader = Leader(changed, SPEED, Kinematics(defi_sim.robot_description(), spec.joint_names, spec.tip_frame))
    leader.on_joints([*changed.joint_names, "trigger"], [*ROBOT.home, 0.25], NOW)
    leader.on_joy([], [1, 0, 0], NOW)
    assert leader.read(NOW).gripper == pytest.approx(0.25)


def test_a_leader_with_too_few_joints_is_refused():
    changed = dataclasses.replace(mapping("leader"), joint_names=("a", "b"))
    spec = ROBOT.spec
    with pytest.raises(ConfigError, match="joint_names: got 2 names, expected 7"):
        Leader(changed, SPEED, Kinematics(defi_sim.robot_description(), spec.joint_names, spec.tip_frame))
