"""A loop that pauses while the arm moves: what ros2_control's own controller, emulated, then does with what it hears."""

import dataclasses
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

import defi_sim
from defi_models.contract import NS_PER_S, ActionChunk
from defi_ros.bridge.convert import to_ns
from defi_ros.control.arm import ArmCore
from defi_ros.control.authority import Mode
from defi_ros.control.kinematics import Kinematics
from defi_ros.drivers.joint_trajectory import BatchedTrajectoryDriver, JointTrajectoryDriver
from defi_ros.robot import load_robot
from defi_sim.controllers import JointState, JointTrajectoryController, Trajectory, TrajectoryGoal, TrajectoryPoint

START_NS = 1_750_000_000 * NS_PER_S
MS, PERIOD_MS = 1_000_000, 5
BATCH_S = 0.1


class Ears:
    """A publisher that keeps what it is given."""

    topic_name = "joint_trajectory_controller/joint_trajectory"

    def __init__(self):
        self.sent = []

    def say(self, *_):
        return self

    def publish(self, message):
        self.sent.append(message)


class Loop:
    """Core, driver and controller in one clock; a policy turns the first joint evenly, as fast as it may."""

    def __init__(self, robot, kinematics, batches):
        self.spec, self.now_ns = robot.spec, START_NS
        self.wire: Any = Ears()
        self.core = ArmCore(robot.spec, robot.control, robot.gripper, kinematics)
        arguments = self.wire, robot.spec.joint_names, robot.spec.limits, robot.driver.horizon_s
        self.driver = BatchedTrajectoryDriver(*arguments, BATCH_S) if batches else JointTrajectoryDriver(*arguments)
        self.controller = JointTrajectoryController(robot.spec.joint_names)
        self.start = robot.spec.home.copy()
        self.start[0] -= 0.8
        self.controller.activate(self.now_ns, self.start)
        self.way = []

    @property
    def positions(self):
        """Of the arm, which follows at once."""
        assert self.controller.desired is not None
        return self.controller.desired.positions

    def wait(self, milliseconds):
        for _ in range(milliseconds):
            self.now_ns += MS
            self.way.append(np.array(self.controller.update(self.now_ns, self.positions)))

    def tick(self, missed=0):
        self.core.on_state(self.now_ns, self.positions, self.now_ns, 1.0)
        command = self.core.tick(self.now_ns, 0, missed, self.driver.alone(self.now_ns))
        if command.positions is not None:
            self.driver.send(command.positions, command.velocities, None, self.now_ns)
        for message in self.wire.sent:
            points = tuple(
                TrajectoryPoint(
                    point.time_from_start.sec * NS_PER_S + point.time_from_start.nanosec,
                    JointState(np.array(point.positions), np.array(point.velocities)),
                )
                for point in message.points
            )
            trajectory = Trajectory(
                start_ns=to_ns(message.header.stamp), joint_names=tuple(message.joint_names), points=points
            )
            self.controller.command(TrajectoryGoal(trajectory), self.now_ns)
        self.wire.sent.clear()
        return command

    def run(self, seconds):
        for _ in range(round(seconds * 1000 / PERIOD_MS)):
            self.wait(PERIOD_MS)
            self.tick()

    def turn(self, rad_s):
        begun_ns = self.now_ns
        assert self.core.request(Mode.POLICY, "me", self.now_ns) is None
        for _ in range(3):
            seconds = (self.now_ns - begun_ns) / NS_PER_S + 0.1 * np.arange(20)
            targets = np.tile(self.start, (20, 1))
            targets[:, 0] += rad_s * seconds
            chunk = ActionChunk(
                start_ns=self.now_ns, step_ns=NS_PER_S // 10, space="joint_positions", targets=targets,
                gripper=np.ones(20), arm=self.spec.arm,
            )  # fmt: skip
            self.core.on_chunk(chunk, self.now_ns)
            self.run(0.2)


@pytest.mark.parametrize("part", [1.0, 0.1])
@pytest.mark.parametrize("batches", [False, True])
@pytest.mark.parametrize("pause_ms", [10, 30, 50, 90, 110, 150, 250, 600])
def test_a_pause_of_the_loop_does_not_turn_the_arm_back(pause_ms, batches, part):
    """Where it had heard nothing for 50 ms the controller was once told to go back, at five times the arm's limit."""
    robot = load_robot("franka")
    scale = dataclasses.replace(robot.joints.limit_scale, velocity=0.7 * part, acceleration=0.6 * part**0.5)
    robot = dataclasses.replace(robot, joints=dataclasses.replace(robot.joints, limit_scale=scale))
    spec = robot.spec
    kinematics = Kinematics(defi_sim.robot_description(), spec.joint_names, spec.tip_frame, spec.limits)
    loop = Loop(robot, kinematics, batches)
    fastest = spec.limits.velocity[0]
    loop.run(0.05)
    loop.turn(0.8 * fastest)
    before = len(loop.way)
    loop.wait(pause_ms)
    command = loop.tick(pause_ms // PERIOD_MS - 1)
    if pause_ms <= (30 if batches else 20):  # since the last message, which is up to 50 or 20 ms old
        assert command.positions is not None
    if pause_ms > (80 if batches else 40):
        assert command.positions is None
    loop.run(0.6)
    command = loop.tick()
    assert command.positions is not None and command.mode == Mode.POLICY
    way = np.array(loop.way[before - 20 :])[:, 0]
    speed = (way[10:] - way[:-10]) * 100.0  # over 10 ms: a trajectory that is replaced stands still for 1 ms
    assert (
        speed.min() > -0.25 * fastest
    )  # a stop of streaming goes back by a fifth of that at most, without a pause too
    assert speed.max() < 1.3 * fastest  # what it stands still it makes up for within 20 ms
    change = np.abs(speed[20:] - speed[:-20]) / 0.02
    assert change.max() < 3.0 * spec.limits.acceleration[0]
