"""What a policy asks for that the arm cannot reach, or only through a singular posture: it slows down, stops, and says why."""

import numpy as np
import pytest

from defi_models.contract import NS_PER_S, ActionChunk
from defi_ros.control.arm import ArmCore
from defi_ros.control.authority import Mode
from defi_ros.control.reach import Reach
from defi_ros.control.safety import Verdict
from defi_ros.control.teleop import TeleopInput

START_NS = 1_750_000_000 * NS_PER_S
RATE_HZ = 200
PERIOD_NS = NS_PER_S // RATE_HZ


class Reaching:
    """An arm that follows at once, and how fast its tip went."""

    def __init__(self, robot, kinematics, joints=None):
        self.spec, self.kinematics = robot.spec, kinematics
        self.core = ArmCore(robot.spec, robot.control, robot.gripper, kinematics)
        self.now_ns, self.measured = START_NS, np.array(robot.spec.home if joints is None else joints)
        self.speeds_m_s = []
        while self.look().positions is None:
            pass

    def look(self):
        self.now_ns += PERIOD_NS
        self.core.on_state(self.now_ns, self.measured, self.now_ns)
        return self.core.tick(self.now_ns)

    def tick(self):
        command = self.look()
        assert command.positions is not None
        before, self.measured = self.measured, command.positions
        moved_m = np.linalg.norm(self.kinematics.tip(self.measured) - self.kinematics.tip(before))
        self.speeds_m_s.append(float(moved_m) * RATE_HZ)
        return command

    def line(self, goal, speed_m_s, from_ns):
        """A chunk that goes straight towards `goal`, and stays there."""
        begin = self.kinematics.forward(self.spec.home)
        way = goal - begin[:3]
        times_s = (self.now_ns - from_ns) / NS_PER_S + 0.1 * np.arange(10)
        part = np.minimum(speed_m_s * times_s / np.linalg.norm(way), 1.0)
        poses = np.tile(begin, (10, 1))
        poses[:, :3] += part[:, None] * way
        return ActionChunk(self.now_ns, NS_PER_S // 10, "ee_pose", poses, np.ones(10), self.spec.arm)


@pytest.mark.parametrize(
    "goal",
    [(0.84, 0.6, 0.9), (0.84, 0.0, 0.9), (0.2, 0.64, 0.94)],
    ids=["a corner of the box", "ahead and above", "above and beside"],
)
def test_a_policy_that_asks_for_what_is_out_of_reach_slows_down_and_stops_with_the_reason(robot, kinematics, goal):
    arm = Reaching(robot, kinematics)
    for _ in range(3):
        arm.tick()
    assert arm.core.request(Mode.POLICY, "test", arm.now_ns) is None
    arm.tick()
    begun_ns = arm.now_ns
    for tick in range(5 * RATE_HZ):
        if tick % 40 == 0:
            assert arm.core.on_chunk(arm.line(np.array(goal), 0.4, begun_ns), arm.now_ns) is None
        command = arm.tick()
    assert arm.core.limit_violations == 0, arm.core.monitor.last
    assert max(arm.speeds_m_s) > 0.2, "it went there first"
    assert max(arm.speeds_m_s[-RATE_HZ:]) < 0.01, "and stands now"
    assert command.verdict == Verdict.LIMITED and "not reached" in command.verdict_reason
    assert "out of reach or singular" in command.verdict_reason or "at the limit" in command.verdict_reason


def test_a_person_who_pulls_the_arm_straight_is_slowed_down_on_the_way_and_stopped_with_the_reason(robot, kinematics):
    """Each joint once went to its own limit, and the best of what was out of reach was another place every time: at the
    edge of its reach the arm ran in circles of 10 cm, at up to 0.6 m/s."""
    arm = Reaching(robot, kinematics)
    arm.tick()
    twist, begin = np.array([0.3, 0.25, 0.25, 0, 0, 0]), kinematics.tip(robot.spec.home)
    reasons, aside_m = set(), []
    for _ in range(3 * RATE_HZ):
        arm.core.on_teleop(TeleopInput("joystick", True, twist, 1.0), arm.now_ns)
        reasons.add(arm.tick().verdict_reason.partition(" to ")[0].partition(" at ")[0])
        gone = kinematics.tip(arm.measured) - begin
        aside_m.append(np.linalg.norm(gone - (gone @ twist[:3]) / (twist @ twist) * twist[:3]))
    assert {"slowed down", "pose"} <= reasons
    assert max(aside_m) < 0.05, "it stays on its way"
    assert max(arm.speeds_m_s) < 1.1 * 0.46, "and is no faster than asked"
    assert max(arm.speeds_m_s[-RATE_HZ:]) < 0.01, "and stands now"
    there = kinematics.tip(arm.measured)
    for _ in range(RATE_HZ // 2):
        arm.core.on_teleop(TeleopInput("joystick", True, -twist, 1.0), arm.now_ns)
        arm.tick()
    assert np.linalg.norm(kinematics.tip(arm.measured) - there) > 0.05, "turning back acts at once"
    assert arm.core.limit_violations == 0, arm.core.monitor.last


def test_a_step_is_never_longer_than_what_a_joint_can_go_in_one_period(spec, robot, kinematics):
    reach, rng = Reach(kinematics, spec, robot.control), np.random.default_rng(0)
    for _ in range(200):
        reference = rng.uniform(spec.limits.lower, spec.limits.upper)
        pose = kinematics.forward(rng.uniform(spec.limits.lower, spec.limits.upper))
        joints, reason = reach.step(pose, reference)
        assert (np.abs(joints - reference) <= spec.limits.velocity / robot.control.rate_hz).all()
        assert reason


@pytest.mark.parametrize(
    ("place", "twist"),
    [
        ((0.5, 0, -0.2), (0, 0, 0.2)),
        ((0.5, 0, -0.06), (0, 0, 0.2)),
        ((0.05, 0.2, 0.4), (0.2, 0, 0)),
        ((0.3, 0.7, 0.3), (0, -0.2, 0)),
    ],
)
def test_a_person_brings_an_arm_back_that_stands_outside_the_workspace(robot, kinematics, place, twist):
    """Its joints do not set out together, so that the tip first goes a hair further out; that once blocked it for good."""
    arm = Reaching(robot, kinematics, kinematics.inverse([*place, 1, 0, 0, 0], robot.spec.home).q)
    before = kinematics.tip(arm.measured)
    for _ in range(2 * RATE_HZ):
        arm.core.on_teleop(TeleopInput("joystick", True, np.array([*twist, 0, 0, 0]), 1.0), arm.now_ns)
        arm.tick()
    assert (kinematics.tip(arm.measured) - before) @ np.array(twist) / 0.2 > 0.2
    assert arm.core.limit_violations == 0, arm.core.monitor.last


def test_a_person_gets_an_arm_out_of_a_stretched_posture_in_the_corner(robot, kinematics):
    arm = Reaching(robot, kinematics, kinematics.inverse([0.4, -0.69, 0.3, 1, 0, 0, 0], robot.spec.home).q)
    before = kinematics.tip(arm.measured)
    for _ in range(2 * RATE_HZ):
        arm.core.on_teleop(TeleopInput("joystick", True, np.array([-0.1, 0.15, 0, 0, 0, 0]), 1.0), arm.now_ns)
        arm.tick()
    assert np.linalg.norm(kinematics.tip(arm.measured) - before) > 0.1
    assert arm.core.limit_violations == 0, arm.core.monitor.last
