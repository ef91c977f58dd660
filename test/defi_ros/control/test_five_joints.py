"""An arm with five joints cannot meet every pose: its tip comes first, and of a turn what leaves the tip in its place."""

import re

import numpy as np
import pinocchio as pin
import pytest

from defi_models.contract import NS_PER_S, ActionChunk
from defi_ros.control.arm import ArmCore
from defi_ros.control.authority import Mode
from defi_ros.control.kinematics import Kinematics
from defi_ros.control.reach import Reach
from defi_ros.control.teleop import TeleopInput
from defi_ros.robot import load_robot

START_NS = 1_750_000_000 * NS_PER_S
RATE_HZ = 100
PERIOD_NS = NS_PER_S // RATE_HZ
LEVEL = np.array([0.2, -0.4, 0.3, 0.1, 0.0])  # but for wrist_flex, which `level` sets
ROLL = 4  # wrist_roll


@pytest.fixture(scope="module")
def robot():
    return load_robot("so101")


@pytest.fixture(scope="module")
def spec(robot):
    return robot.spec


@pytest.fixture(scope="module")
def kinematics(spec, description_of):
    return Kinematics(description_of("so101"), spec.joint_names, spec.tip_frame, spec.limits)


@pytest.fixture(scope="module")
def level(kinematics):
    """A posture whose tool lies level, so that no joint turns it about the vertical with the tip in its place."""
    joints = LEVEL.copy()
    for _ in range(3):
        axis = kinematics.jacobian(joints)[3:, ROLL]
        joints[3] -= np.arcsin(axis[2])
    assert abs(kinematics.jacobian(joints)[5, ROLL]) < 1e-6
    return joints


class Arm:
    """An arm that follows at once."""

    def __init__(self, robot, kinematics, joints):
        self.core = ArmCore(robot.spec, robot.control, robot.gripper, kinematics)
        self.now_ns, self.measured = START_NS, np.array(joints)
        while self.look().positions is None:
            pass

    def look(self):
        self.now_ns += PERIOD_NS
        self.core.on_state(self.now_ns, self.measured, self.now_ns)
        return self.core.tick(self.now_ns)

    def tick(self):
        command = self.look()
        assert command.positions is not None
        self.measured = command.positions
        return command

    def twist(self, twist, seconds=1.0):
        """What is said while a person wants a twist."""
        said = []
        for _ in range(round(seconds * RATE_HZ)):
            self.core.on_teleop(TeleopInput("joystick", True, np.array(twist, dtype=float), 1.0), self.now_ns)
            said.append(self.tick().verdict_reason)
        assert self.core.limit_violations == 0, self.core.monitor.last
        return said


def turned(kinematics, before, now):
    """The rotation vector between two postures [rad]."""
    matrices = [pin.Quaternion(kinematics.forward(joints)[3:]).toRotationMatrix() for joints in (before, now)]
    return pin.log3(matrices[1] @ matrices[0].T)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("axis", [0, 1, 2], ids="xyz")
def test_a_wish_along_an_axis_moves_the_tip_as_asked_and_nowhere_else(robot, kinematics, axis, sign):
    """Sideways nothing moved at all once: the turn of the base, which comes with it, was taken for out of reach."""
    arm = Arm(robot, kinematics, robot.spec.home)
    before, twist = kinematics.tip(arm.measured), sign * 0.02 * np.eye(6)[axis]
    arm.twist(twist, 2.0)
    arm.twist(np.zeros(6), 0.3)
    np.testing.assert_allclose(kinematics.tip(arm.measured) - before, 2.0 * twist[:3], atol=2e-3)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("axis", [0, 1, 2], ids="xyz")
def test_a_wish_that_is_too_fast_for_the_joints_stays_on_its_way(robot, kinematics, axis, sign):
    arm = Arm(robot, kinematics, robot.spec.home)
    before = kinematics.tip(arm.measured)
    arm.twist(sign * 0.15 * np.eye(6)[axis])
    gone = sign * (kinematics.tip(arm.measured) - before)
    assert gone[axis] > 0.03
    assert np.abs(np.delete(gone, axis)).max() < 2e-3


def test_a_step_sideways_turns_the_base_and_is_not_taken_for_out_of_reach(robot, spec, kinematics):
    reach = Reach(kinematics, spec, robot.control)
    pose = kinematics.forward(spec.home)
    pose[1] += 5e-4
    joints, reason = reach.step(pose, spec.home, stays=True)
    assert reason == ""
    np.testing.assert_allclose(kinematics.tip(joints), pose[:3], atol=1e-5)
    assert np.abs(joints - spec.home)[0] > 2e-3


@pytest.mark.parametrize("rate_rad_s", [0.1, 0.6])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_roll_of_the_tool_turns_the_wrist_alone_and_leaves_the_tip(robot, kinematics, level, sign, rate_rad_s):
    arm = Arm(robot, kinematics, level)
    before, axis = kinematics.tip(level), kinematics.jacobian(level)[3:, ROLL]
    arm.twist([0, 0, 0, *(sign * rate_rad_s * axis)])
    moved = arm.measured - level
    assert sign * moved[ROLL] > 0.7 * min(rate_rad_s, robot.spec.limits.velocity[ROLL])
    assert np.abs(np.delete(moved, ROLL)).max() < 0.05 * abs(moved[ROLL])
    np.testing.assert_allclose(kinematics.tip(arm.measured), before, atol=1e-3)


@pytest.mark.parametrize("rate_rad_s", [0.1, 0.6])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_pitch_turns_the_tool_and_leaves_the_tip(robot, kinematics, sign, rate_rad_s):
    home = robot.spec.home
    arm = Arm(robot, kinematics, home)
    arm.twist([0, 0, 0, 0, sign * rate_rad_s, 0])
    turn = turned(kinematics, home, arm.measured)
    assert sign * turn[1] > 0.09
    assert np.abs(turn[[0, 2]]).max() < 1e-3
    np.testing.assert_allclose(kinematics.tip(arm.measured), kinematics.tip(home), atol=1e-3)


def test_a_yaw_that_cannot_be_had_moves_nothing_and_says_one_thing_only(robot, kinematics, level):
    """It swept the tip by 16 cm once."""
    arm = Arm(robot, kinematics, level)
    said = arm.twist([0, 0, 0, 0, 0, 0.6])
    np.testing.assert_allclose(arm.measured, level, atol=1e-4)
    assert len(set(said[1:])) == 1
    assert re.fullmatch(
        r"turn about \(0.00, 0.00, 1.00\) not reached: the arm can do \d+% of it where its tip is \(it has 5 joints\)",
        said[-1],
    )


def test_a_yaw_of_a_tool_that_points_askew_is_had_in_part_and_leaves_the_tip(robot, kinematics):
    """At home it points down at 46 degrees; its roll then is as much of a yaw as it is of a roll about the base's axis."""
    home = robot.spec.home
    for axis in (3, 5):
        arm = Arm(robot, kinematics, home)
        said = arm.twist(0.3 * np.eye(6)[axis])
        assert all("not reached" in why for why in said[1:])
        assert turned(kinematics, home, arm.measured)[axis - 3] > 0.1
        np.testing.assert_allclose(kinematics.tip(arm.measured), kinematics.tip(home), atol=1e-3)


def test_a_yaw_that_cannot_be_had_does_not_keep_the_tip_from_going_sideways(robot, kinematics, level):
    arm = Arm(robot, kinematics, level)
    arm.twist([0, 0.02, 0, 0, 0, 0.6], 2.0)
    arm.twist(np.zeros(6), 0.5)
    np.testing.assert_allclose(kinematics.tip(arm.measured) - kinematics.tip(level), [0, 0.04, 0], atol=2e-3)


def test_a_wish_that_is_too_fast_for_the_joints_leaves_some_of_them_for_its_turn(robot, kinematics):
    """Forward takes all of a joint that is needed for a roll as well; the roll stood still until the place was reached."""
    home = robot.spec.home
    arm = Arm(robot, kinematics, home)
    arm.twist([0.15, 0, 0, 0.6, 0, 0], 1.5)
    gone = kinematics.tip(arm.measured) - kinematics.tip(home)
    assert gone[0] > 0.05 and np.abs(gone[1:]).max() < 2e-3
    assert turned(kinematics, home, arm.measured)[0] > 0.05


def test_a_roll_ends_at_the_limit_of_the_wrist_with_its_name(robot, kinematics, level):
    joints = level.copy()
    joints[ROLL] = robot.spec.limits.upper[ROLL] - 0.01
    arm = Arm(robot, kinematics, joints)
    axis = kinematics.jacobian(joints)[3:, ROLL]
    said = arm.twist([0, 0, 0, *(0.3 * axis)])
    assert "wrist_roll at the limit" in said[-1]
    np.testing.assert_allclose(kinematics.tip(arm.measured), kinematics.tip(joints), atol=1e-3)


@pytest.mark.parametrize("kind", ["own turn", "turn of the seed", "any turn"])
def test_places_within_reach_are_reached_whatever_the_turn(spec, kinematics, kind):
    rng, span = np.random.default_rng(3), spec.limits.upper - spec.limits.lower
    for _ in range(60):
        joints = spec.limits.lower + rng.uniform(0.05, 0.95, 5) * span
        seed = np.clip(joints + rng.uniform(-0.1, 0.1, 5), spec.limits.lower, spec.limits.upper)
        pose = kinematics.forward(joints)
        if kind != "own turn":
            pose[3:] = kinematics.forward(seed)[3:] if kind == "turn of the seed" else rng.normal(size=4)
        solution = kinematics.inverse(pose, seed, spec.home)
        np.testing.assert_allclose(kinematics.tip(solution.q), pose[:3], atol=2e-5)
        assert (solution.q >= spec.limits.lower).all() and (solution.q <= spec.limits.upper).all()
        assert solution.reached == (solution.reason == "")
        if kind == "turn of the seed":
            assert solution.reached, solution.reason
        if kind == "any turn":
            assert "turn about" in solution.reason


def test_the_pose_of_a_posture_is_met_turn_and_all(spec, kinematics):
    rng = np.random.default_rng(4)
    for _ in range(40):
        joints = spec.home + rng.uniform(-0.3, 0.3, 5)
        solution = kinematics.inverse(kinematics.forward(joints), spec.home, spec.home)
        assert solution.reached, solution.reason
        np.testing.assert_allclose(turned(kinematics, joints, solution.q), 0, atol=2e-4)


def test_a_place_out_of_reach_gives_the_closest_joints_and_says_how_far(spec, kinematics):
    pose = kinematics.forward(spec.home)
    pose[0] += 1.0
    solution = kinematics.inverse(pose, spec.home)
    assert not solution.reached and "mm" in solution.reason
    assert kinematics.tip(solution.q)[0] > 0.35


def test_a_policy_s_poses_are_followed_in_place_while_the_turn_does_what_it_can_and_rests(robot, spec, kinematics):
    """The arm hunted to and fro at full speed once, its tip 7 mm off, where the tool could not be bent any further."""
    arm = Arm(robot, kinematics, spec.home)
    assert arm.core.request(Mode.POLICY, "test", arm.now_ns) is None
    arm.tick()
    begun_ns, begin = arm.now_ns, kinematics.forward(spec.home)
    rotation = pin.Quaternion(begin[3:]).toRotationMatrix()
    for tick in range(5 * RATE_HZ):
        if tick % 20 == 0:
            rows = np.tile(begin, (10, 1))
            for row, time_s in zip(rows, (arm.now_ns - begun_ns) / NS_PER_S + 0.1 * np.arange(10), strict=True):
                row[1] += min(0.02 * time_s, 0.05)
                row[3:] = pin.Quaternion(pin.exp3(np.array([min(0.3 * time_s, 1.2), 0, 0])) @ rotation).coeffs()
            chunk = ActionChunk(arm.now_ns, NS_PER_S // 10, "ee_pose", rows, np.ones(10), spec.arm)
            assert arm.core.on_chunk(chunk, arm.now_ns) is None
        before = arm.measured
        command = arm.tick()
        asked_m = min(0.02 * (arm.now_ns - begun_ns) / NS_PER_S, 0.05)
        np.testing.assert_allclose(kinematics.tip(arm.measured), begin[:3] + np.array([0, asked_m, 0]), atol=8e-3)
    np.testing.assert_allclose(kinematics.tip(arm.measured), begin[:3] + np.array([0, 0.05, 0]), atol=1e-4)
    assert np.abs(arm.measured - before).max() * RATE_HZ < 0.02
    assert "turn about" in command.verdict_reason
    assert arm.core.limit_violations == 0, arm.core.monitor.last


def test_a_policy_that_asks_for_a_place_out_of_reach_comes_to_rest(robot, kinematics):
    """It hunted to and fro between postures, at all the speed of the joints."""
    spec = robot.spec
    arm, begin = Arm(robot, kinematics, spec.home), kinematics.forward(spec.home)
    assert arm.core.request(Mode.POLICY, "test", arm.now_ns) is None
    arm.tick()
    for tick in range(5 * RATE_HZ):
        if tick % 20 == 0:
            rows = np.tile(begin, (10, 1))
            rows[:, :3] = [0.4, 0.3, 0.3]
            chunk = ActionChunk(arm.now_ns, NS_PER_S // 10, "ee_pose", rows, np.ones(10), spec.arm)
            assert arm.core.on_chunk(chunk, arm.now_ns) is None
        before = arm.measured
        command = arm.tick()
        if tick > 4.5 * RATE_HZ:
            assert np.abs(arm.measured - before).max() * RATE_HZ < 0.01
    assert "not reached" in command.verdict_reason
    assert arm.core.limit_violations == 0, arm.core.monitor.last
