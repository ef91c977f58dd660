"""One Franka for all tests of the control core: the shipped robot file and the description the simulator uses."""

import numpy as np
import pytest

import defi_sim
from defi_models.contract import NS_PER_S, ActionChunk, RobotSpec
from defi_ros.control.arm import ArmCore
from defi_ros.control.authority import Mode
from defi_ros.control.kinematics import Kinematics
from defi_ros.control.teleop import TeleopInput
from defi_ros.robot import RobotFile, load_robot

START_NS = 1_750_000_000 * NS_PER_S
PERIOD_NS = 5_000_000
RATE_HZ = 200


class Bench:
    """An arm core, a clock that only moves when told to, and an arm that follows commands with a lag of three periods."""

    def __init__(self, robot, kinematics):
        self.spec, self.kinematics = robot.spec, kinematics
        self.core = ArmCore(robot.spec, robot.control, robot.gripper, kinematics)
        self.now_ns = START_NS
        self.measured = robot.spec.home + 0.02
        self.commands = []
        self.silent = self.blocked = False
        self.offset = 0.0  # of what the encoders say

    def run(self, seconds: float):
        for _ in range(round(seconds * RATE_HZ)):
            self.now_ns += PERIOD_NS
            if not self.silent:
                assert self.core.on_state(self.now_ns, self.measured + self.offset, self.now_ns, 1.0) is None
            command = self.core.tick(self.now_ns)
            if command.positions is not None:
                self.commands.append(command.positions)
            if command.positions is not None and not self.blocked:
                self.measured = self.measured + 0.3 * (command.positions - self.measured)
        return command

    def policy(self):
        self.run(0.02)
        assert self.core.request(Mode.POLICY, "task_node", self.now_ns) is None
        self.begun_ns = self.now_ns

    def poses(self, latency_s: float = 0.1, **changes) -> ActionChunk:
        """A chunk of a slow circle from the home pose, observed `latency_s` ago."""
        observed_ns = self.now_ns - round(latency_s * NS_PER_S)
        seconds = (observed_ns - self.begun_ns) / NS_PER_S + 0.1 * np.arange(10)
        poses = np.tile(self.kinematics.forward(self.spec.home + 0.02), (10, 1))
        poses[:, 1] += 0.06 * (1 - np.cos(1.5 * seconds))
        values = {
            "start_ns": observed_ns, "step_ns": NS_PER_S // 10, "space": "ee_pose",
            "targets": poses, "gripper": np.ones(10), "arm": self.spec.arm,
        }  # fmt: skip
        return ActionChunk(**{**values, **changes})

    def follow(self, seconds: float, every_s: float = 0.2):
        command = None
        for _ in range(round(seconds / every_s)):
            self.run(every_s)
            assert self.core.on_chunk(self.poses(), self.now_ns) is None
            command = self.core.tick(self.now_ns)
        assert command is not None
        return command

    def teleop(self, twist=(0.0,) * 6, deadman=True, gripper=1.0, source="joystick", stamp_ns=0):
        """What a person's device says: why it is not obeyed."""
        return self.core.on_teleop(TeleopInput(source, deadman, np.array(twist), gripper, stamp_ns), self.now_ns)

    def at_speed(self, rad_s: float = 0.15):
        """Until the policy moves a joint that fast."""
        self.policy()
        while np.abs(self.core._filter.state.v).max() < rad_s:
            self.follow(0.2)

    def check(self):
        assert self.core.limit_violations == 0, self.core.monitor.last


@pytest.fixture(scope="session")
def robot() -> RobotFile:
    return load_robot("franka")


@pytest.fixture(scope="session")
def spec(robot: RobotFile) -> RobotSpec:
    return robot.spec


@pytest.fixture(scope="session")
def kinematics(spec: RobotSpec) -> Kinematics:
    return Kinematics(defi_sim.robot_description(), spec.joint_names, spec.tip_frame, spec.limits)


@pytest.fixture
def make_bench(kinematics: Kinematics):
    """Makes benches of robot files."""
    return lambda robot: Bench(robot, kinematics)


@pytest.fixture
def bench(robot: RobotFile, make_bench) -> Bench:
    return make_bench(robot)


@pytest.fixture
def joint_chunk(spec: RobotSpec):
    """Makes chunks that follow `path(seconds since START_NS) -> (joints,)`."""

    def make(observed_ns: int, path=None, steps: int = 10, step_s: float = 0.1, **changes) -> ActionChunk:
        seconds = (observed_ns - START_NS) / NS_PER_S + step_s * np.arange(steps)
        targets = np.array([path(s) if path else spec.home for s in seconds])
        values = {
            "start_ns": observed_ns,
            "step_ns": round(step_s * NS_PER_S),
            "space": "joint_positions",
            "targets": targets,
            "gripper": np.ones(steps),
            "arm": spec.arm,
        }
        return ActionChunk(**{**values, **changes})

    return make
