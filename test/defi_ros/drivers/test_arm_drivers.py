"""Every arm driver passes one contract; what each of them alone promises follows below."""

from __future__ import annotations

import time
import types
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.context import Context
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from defi_models.contract import NS_PER_S
from defi_ros.bridge.convert import to_ns
from defi_ros.bridge.lifecycle import DefiNode, make_executor
from defi_ros.drivers import ArmDriver, DriverError, make_arm_driver, make_gripper_driver
from defi_ros.drivers.interface import check_sole_publisher
from defi_ros.robot import load_robot
from defi_ros.sections import Driver, Gripper

pytestmark = pytest.mark.ros

SPEC = load_robot("franka").spec
REST = np.zeros(7)
START_NS = 1_000_000_000


def pose_of(positions):
    """A made-up kinematics that tells joints apart: x is the first joint, y the last."""
    return np.array([positions[0], positions[-1], 0.3, 1.0, 0.0, 0.0, 0.0])


class Wire:
    """A node that holds the driver, and a peer that hears its controller's topic."""

    def __init__(self) -> None:
        self.context = Context()
        rclpy.init(args=[], context=self.context)
        self.namespace = f"/drivers_{time.monotonic_ns()}"
        self.node = DefiNode(context=self.context, namespace=self.namespace)
        self.peer = Node("controller", context=self.context, namespace=self.namespace)
        self.executor = make_executor(self.context)
        self.executor.add_node(self.peer)
        self.executor.add_node(self.node)
        self.heard: list[Any] = []

    def listen(self, topic, message_type):
        """Begins to hear a topic, and waits until the driver's publisher sees it."""
        self.peer.create_subscription(message_type, topic, self.heard.append, 1000)
        self.until(lambda: self.node.count_subscribers(topic))

    def until(self, condition, timeout_s=5.0):
        """Spins until the condition holds."""
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline_s
            self.executor.spin_once(timeout_sec=0.02)

    def close(self):
        """Ends everything."""
        self.node.shut_down()
        self.node.destroy_node()
        self.peer.destroy_node()
        self.executor.shutdown()
        self.context.try_shutdown()


@pytest.fixture
def wire():
    made = Wire()
    yield made
    made.close()


class ArmDriverContract:
    """Inherit, say what the driver is and how to read the end of its message."""

    settings: Driver
    message_type: Any
    default_topic: str

    def end_of(self, message: Any) -> np.ndarray:
        """What the message brings the first and the last joint to [rad]."""
        raise NotImplementedError

    def make(self, wire, **changes) -> Any:
        settings = Driver(kind=self.settings.kind, **changes)
        driver = make_arm_driver(wire.node, settings, SPEC, pose_of)
        wire.listen(driver.topic, self.message_type)
        return driver

    def start(self, wire) -> Any:
        driver = self.make(wire)
        wire.node.bring_up()
        return driver

    def test_it_is_an_arm_driver(self, wire):
        assert isinstance(self.make(wire), ArmDriver)

    def test_its_topic_lies_in_the_node_s_namespace(self, wire):
        assert self.make(wire).topic == f"{wire.namespace}/{self.default_topic}"

    def test_its_topic_can_be_chosen(self, wire):
        assert self.make(wire, topic="elsewhere").topic == f"{wire.namespace}/elsewhere"

    def test_it_commands_where_the_arm_shall_stay(self, wire):
        driver = self.start(wire)
        driver.send(SPEC.home, REST, START_NS)
        wire.until(lambda: wire.heard)
        np.testing.assert_allclose(self.end_of(wire.heard[-1]), SPEC.home[[0, 6]])

    def test_it_is_silent_while_its_node_is_inactive(self, wire):
        driver = self.make(wire)
        driver.send(SPEC.home, REST, START_NS)
        wire.node.bring_up()
        driver.send(SPEC.home + 0.1, REST, START_NS + NS_PER_S)
        wire.until(lambda: wire.heard)
        assert len(wire.heard) == 1
        np.testing.assert_allclose(self.end_of(wire.heard[0]), SPEC.home[[0, 6]] + 0.1)

    def test_what_was_sent_does_not_change_with_the_caller_s_array(self, wire):
        driver = self.start(wire)
        positions = SPEC.home.copy()
        driver.send(positions, REST, START_NS)
        positions += 1.0
        wire.until(lambda: wire.heard)
        np.testing.assert_allclose(self.end_of(wire.heard[-1]), SPEC.home[[0, 6]])

    def test_a_stream_that_ends_at_rest_ends_where_the_last_set_point_was(self, wire):
        driver = self.start(wire)
        velocity = np.full(7, 0.2)
        for tick in range(20):
            driver.send(SPEC.home + velocity * tick * 0.005, velocity, START_NS + tick * 5_000_000)
        end = SPEC.home + velocity * 0.1
        driver.send(end, REST, START_NS + 20 * 5_000_000)
        wire.until(lambda: wire.heard and np.allclose(self.end_of(wire.heard[-1]), end[[0, 6]]))

    def test_another_publisher_on_its_topic_is_named(self, wire):
        driver = self.start(wire)
        check_sole_publisher(wire.node, driver.topic)
        wire.peer.create_publisher(self.message_type, driver.topic, 1)
        wire.until(lambda: wire.node.count_publishers(driver.topic) == 2)
        with pytest.raises(DriverError, match=rf"got another publisher on {driver.topic}: {wire.namespace}/controller"):
            check_sole_publisher(wire.node, driver.topic)


class TestForwardPosition(ArmDriverContract):
    settings = Driver(kind="forward_position")
    message_type = Float64MultiArray
    default_topic = "forward_position_controller/commands"

    def end_of(self, message):
        return np.array(message.data)[[0, 6]]

    def test_it_sends_every_set_point(self, wire):
        driver = self.start(wire)
        for tick in range(50):
            driver.send(SPEC.home + 0.001 * tick, REST + 0.2, START_NS + tick * 5_000_000)
            wire.until(lambda tick=tick: len(wire.heard) == tick + 1)


class TestCartesianPose(ArmDriverContract):
    settings = Driver(kind="cartesian_pose")
    message_type = PoseStamped
    default_topic = "target_pose"

    def end_of(self, message):
        return np.array([message.pose.position.x, message.pose.position.y])

    def test_poses_are_stamped_in_the_base_frame(self, wire):
        driver = self.start(wire)
        driver.send(SPEC.home, REST, START_NS)
        wire.until(lambda: wire.heard)
        header = wire.heard[-1].header
        assert (header.frame_id, to_ns(header.stamp)) == ("panda_link0", START_NS)
        assert wire.heard[-1].pose.orientation.x == 1.0


class TestJointTrajectory(ArmDriverContract):
    settings = Driver(kind="joint_trajectory")
    message_type = JointTrajectory
    default_topic = "joint_trajectory_controller/joint_trajectory"

    def end_of(self, message):
        assert list(message.joint_names) == list(SPEC.joint_names)
        return np.array(message.points[-1].positions)[[0, 6]]

    def test_every_message_ends_at_rest_inside_the_joint_limits(self, wire):
        driver = self.start(wire)
        velocity = 0.9 * SPEC.limits.velocity
        near_the_limit = SPEC.limits.upper - 0.01
        driver.send(near_the_limit, velocity, START_NS)
        wire.until(lambda: wire.heard)
        points = wire.heard[-1].points
        assert not np.array(points[-1].velocities).any()
        assert all((np.array(point.positions) <= SPEC.limits.upper).all() for point in points)
        times = [to_ns(point.time_from_start) for point in points]
        assert times == sorted(times) and times[0] > 0

    def test_it_sends_at_most_every_20_ms_but_a_stop_at_once(self, wire):
        driver = self.start(wire)
        velocity = np.full(7, 0.2)
        for tick in range(20):
            driver.send(SPEC.home, velocity, START_NS + tick * 5_000_000)
        driver.send(SPEC.home, REST, START_NS + 20 * 5_000_000 - 4_000_000)
        wire.until(lambda: wire.heard and not np.array(wire.heard[-1].points[0].velocities).any())
        assert len(wire.heard) == 6

    def test_the_simulated_controller_tracks_the_stream_and_stops_by_itself_when_it_breaks_off(self, wire):
        joint_trajectory = pytest.importorskip("defi_sim.controllers.joint_trajectory")
        trajectory = pytest.importorskip("defi_sim.controllers.trajectory")
        driver = self.make(wire)
        sent: list[Any] = []
        driver._publisher = types.SimpleNamespace(publish=sent.append)
        controller = joint_trajectory.JointTrajectoryController(SPEC.joint_names)
        controller.activate(START_NS, SPEC.home)
        reached, late = [], []
        for millisecond in range(2000):  # the controller's own rate is 1000 Hz
            now_ns, time_s = START_NS + millisecond * 1_000_000, millisecond * 0.001
            if (
                millisecond < 1000 and millisecond % 5 == 0
            ):  # a joint swings at up to 0.5 rad/s; then the stream breaks off
                positions, velocity = SPEC.home.copy(), REST.copy()
                positions[6] += 0.25 * (1.0 - np.cos(2.0 * time_s))
                velocity[6] = 0.5 * np.sin(2.0 * time_s)
                driver.send(positions, velocity, now_ns)
                late.append(abs(positions[6] - controller.update(now_ns, SPEC.home)[6]))
            while sent:
                controller.command(joint_trajectory.TrajectoryGoal(_trajectory(trajectory, sent.pop())), now_ns)
            reached.append(controller.update(now_ns, SPEC.home)[6])
        assert max(late[8:]) < 0.001
        speeds = np.abs(np.diff(reached)) / 0.001
        assert speeds[995] > 0.4 and speeds[1000 + 150 :].max() < 1e-9
        assert speeds.max() < 0.56  # a replaced trajectory costs the controller one period, made up for in the next 19


def _trajectory(trajectory, message):
    points = tuple(
        trajectory.TrajectoryPoint(
            to_ns(point.time_from_start), trajectory.JointState(np.array(point.positions), np.array(point.velocities))
        )
        for point in message.points
    )
    return trajectory.Trajectory(tuple(message.joint_names), points, to_ns(message.header.stamp))


def test_an_unknown_kind_is_refused_with_those_that_exist(wire):
    with pytest.raises(DriverError, match="got 'servo_twist', expected one of forward_position"):
        make_arm_driver(wire.node, Driver(kind="servo_twist"), SPEC, pose_of)
    with pytest.raises(DriverError, match="got 'suction', expected one of none, parallel_gripper_command"):
        make_gripper_driver(wire.node, Gripper(kind="suction"))
