"""Every arm driver passes one contract; what each of them alone promises follows below."""

from __future__ import annotations

import dataclasses
import threading
import time
import types
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

import rclpy
from geometry_msgs.msg import PoseStamped, Twist, TwistStamped
from moveit_msgs.msg import ServoStatus
from moveit_msgs.srv import ServoCommandType
from rclpy.context import Context
from sensor_msgs.msg import JointState as JointStateMessage
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory

from defi_models.contract import NS_PER_S
from defi_ros.bridge.caller import Caller
from defi_ros.bridge.convert import to_ns
from defi_ros.bridge.lifecycle import DefiNode
from defi_ros.control.command import Alone
from defi_ros.drivers import ArmDriver, DriverError, make_arm_driver, make_gripper_driver
from defi_ros.drivers.interface import check_sole_publisher
from defi_ros.robot import load_robot
from defi_ros.sections import Driver, Gripper
from defi_sim.controllers import (
    JointState,
    JointTrajectoryController,
    Trajectory,
    TrajectoryGoal,
    TrajectoryPoint,
)

pytestmark = pytest.mark.ros

SPEC = load_robot("franka").spec
REST = np.zeros(7)
START_NS = 1_000_000_000


class Geometry:
    """A made-up kinematics that tells joints apart: x is the first joint, y the last."""

    def forward(self, q):
        return np.array([q[0], q[-1], 0.3, 1.0, 0.0, 0.0, 0.0])

    def jacobian(self, q):
        matrix = np.zeros((6, len(q)))
        matrix[0, 0] = matrix[1, -1] = 1.0
        return matrix


GEOMETRY = Geometry()


class ArmDriverContract:
    """Inherit, say what the driver is and how to read the end of its message."""

    settings: Driver
    message_type: Any
    default_topic: str

    def end_of(self, message: Any) -> np.ndarray:
        """What the message brings the first and the last joint to [rad]."""
        raise NotImplementedError

    def make(self, wire, **changes) -> Any:
        settings = dataclasses.replace(self.settings, **changes)
        driver = make_arm_driver(wire.node, settings, SPEC, GEOMETRY)
        wire.listen(driver.topics[0], self.message_type)
        return driver

    def start(self, wire) -> Any:
        driver = self.make(wire)
        self.make_ready(wire, driver)
        wire.node.bring_up()
        return driver

    def make_ready(self, wire, driver) -> None:
        """What must be there before the controller listens; most need nothing."""

    def test_it_is_an_arm_driver(self, wire):
        assert isinstance(self.make(wire), ArmDriver)

    def test_its_topic_lies_in_the_node_s_namespace(self, wire):
        assert self.make(wire).topics[0] == f"{wire.namespace}/{self.default_topic}"

    def test_its_topic_can_be_chosen(self, wire):
        assert self.make(wire, topic="elsewhere").topics[0] == f"{wire.namespace}/elsewhere"

    def test_it_commands_where_the_arm_shall_stay(self, wire):
        driver = self.start(wire)
        driver.send(SPEC.home, REST, SPEC.home, START_NS)
        wire.until(lambda: wire.heard)
        np.testing.assert_allclose(self.end_of(wire.heard[-1]), SPEC.home[[0, 6]])

    def test_it_is_silent_while_its_node_is_inactive(self, wire):
        driver = self.make(wire)
        driver.send(SPEC.home, REST, SPEC.home, START_NS)
        wire.node.bring_up()
        driver.send(SPEC.home + 0.1, REST, SPEC.home, START_NS + NS_PER_S)
        wire.until(lambda: wire.heard)
        assert len(wire.heard) == 1
        np.testing.assert_allclose(self.end_of(wire.heard[0]), SPEC.home[[0, 6]] + 0.1)

    def test_what_was_sent_does_not_change_with_the_caller_s_array(self, wire):
        driver = self.start(wire)
        positions = SPEC.home.copy()
        driver.send(positions, REST, SPEC.home, START_NS)
        positions += 1.0
        wire.until(lambda: wire.heard)
        np.testing.assert_allclose(self.end_of(wire.heard[-1]), SPEC.home[[0, 6]])

    def test_a_stream_that_ends_at_rest_ends_where_the_last_set_point_was(self, wire):
        driver = self.start(wire)
        velocity = np.full(7, 0.2)
        for tick in range(20):
            driver.send(SPEC.home + velocity * tick * 0.005, velocity, SPEC.home, START_NS + tick * 5_000_000)
        end = SPEC.home + velocity * 0.1
        driver.send(end, REST, SPEC.home, START_NS + 20 * 5_000_000)
        wire.until(lambda: wire.heard and np.allclose(self.end_of(wire.heard[-1]), end[[0, 6]]))

    def stopped_at(self, positions: np.ndarray) -> np.ndarray:
        """Where the last message of all leaves the first and the last joint [rad]."""
        return positions[[0, 6]]

    def test_the_last_command_is_rest(self, wire):
        driver = self.start(wire)
        driver.send(SPEC.home, np.full(7, 0.2), SPEC.home, START_NS)
        driver.stop(SPEC.home + 0.05, START_NS + NS_PER_S)
        wire.until(lambda: wire.heard and np.allclose(self.end_of(wire.heard[-1]), self.stopped_at(SPEC.home + 0.05)))

    def test_a_controller_that_follows_is_no_trouble(self, wire):
        driver = self.start(wire)
        driver.send(SPEC.home, REST, SPEC.home, START_NS)
        wire.until(lambda: wire.heard)
        assert driver.poll() is None

    def test_another_publisher_on_its_topic_is_named(self, wire):
        driver = self.start(wire)
        check_sole_publisher(wire.node, driver.topics)
        wire.peer.create_publisher(self.message_type, driver.topics[0], 1)
        wire.until(lambda: wire.node.count_publishers(driver.topics[0]) == 2)
        with pytest.raises(DriverError, match=rf"got another publisher on {driver.topics[0]}: {wire.namespace}/peer"):
            check_sole_publisher(wire.node, driver.topics)


class TestForwardPosition(ArmDriverContract):
    settings = Driver(kind="forward_position")
    message_type = Float64MultiArray
    default_topic = "forward_position_controller/commands"

    def end_of(self, message):
        return np.array(message.data)[[0, 6]]

    def test_it_sends_every_set_point(self, wire):
        driver = self.start(wire)
        for tick in range(50):
            driver.send(SPEC.home + 0.001 * tick, REST + 0.2, SPEC.home + 0.001 * tick, START_NS + tick * 5_000_000)
            wire.until(lambda tick=tick: len(wire.heard) == tick + 1)


class TestCartesianPose(ArmDriverContract):
    settings = Driver(kind="cartesian_pose")
    message_type = PoseStamped
    default_topic = "target_pose"

    def end_of(self, message):
        return np.array([message.pose.position.x, message.pose.position.y])

    def test_poses_are_stamped_in_the_base_frame(self, wire):
        driver = self.start(wire)
        driver.send(SPEC.home, REST, SPEC.home, START_NS)
        wire.until(lambda: wire.heard)
        header = wire.heard[-1].header
        assert (header.frame_id, to_ns(header.stamp)) == ("panda_link0", START_NS)
        assert wire.heard[-1].pose.orientation.x == 1.0

    def test_crisp_hears_the_posture_too_and_other_impedance_controllers_the_pose_alone(self, wire):
        driver = self.make(wire)
        assert driver.topics[1] == f"{wire.namespace}/target_joint"
        postures: list[Any] = []
        wire.peer.create_subscription(JointStateMessage, "target_joint", postures.append, 10)
        wire.until(lambda: wire.node.count_subscribers("target_joint"))
        wire.node.bring_up()
        driver.send(SPEC.home, REST, SPEC.home, START_NS)
        wire.until(lambda: postures)
        np.testing.assert_allclose(postures[0].position, SPEC.home)
        franka = make_arm_driver(
            wire.node, Driver(kind="cartesian_pose", topic="equilibrium_pose", nullspace_topic=""), SPEC, GEOMETRY
        )
        assert franka.topics == (f"{wire.namespace}/equilibrium_pose",)


class JointTrajectoryContract(ArmDriverContract):
    message_type = JointTrajectory
    default_topic = "joint_trajectory_controller/joint_trajectory"

    def end_of(self, message):
        assert list(message.joint_names) == list(SPEC.joint_names)
        return np.array(message.points[-1].positions)[[0, 6]]

    def test_every_message_ends_at_rest_inside_the_joint_limits(self, wire):
        driver = self.start(wire)
        velocity = 0.9 * SPEC.limits.velocity
        near_the_limit = SPEC.limits.upper - 0.01
        driver.send(near_the_limit, velocity, near_the_limit, START_NS)
        wire.until(lambda: wire.heard)
        points = wire.heard[-1].points
        assert not np.array(points[-1].velocities).any()
        assert all((np.array(point.positions) <= SPEC.limits.upper).all() for point in points)
        times = [to_ns(point.time_from_start) for point in points]
        assert times == sorted(times) and times[0] > 0

    def test_the_stop_at_its_end_keeps_the_acceleration_limits(self, wire):
        """Within 0.1 s it once broke off at 30 rad/s^2 where the site had raised the speed."""
        driver = self.start(wire)
        velocity = 0.9 * SPEC.limits.velocity
        driver.send(SPEC.home, velocity, SPEC.home, START_NS)
        wire.until(lambda: wire.heard)
        before, rest = wire.heard[-1].points[-2:]
        takes_s = (to_ns(rest.time_from_start) - to_ns(before.time_from_start)) / NS_PER_S
        assert (np.array(before.velocities) / takes_s <= SPEC.limits.acceleration + 1e-6).all()
        way = np.array(rest.positions) - np.array(before.positions)
        np.testing.assert_allclose(way, np.array(before.velocities) * takes_s / 2, atol=1e-6)


class TestJointTrajectory(JointTrajectoryContract):
    settings = Driver(kind="joint_trajectory")

    def test_it_sends_at_most_every_20_ms_but_a_stop_at_once(self, wire):
        driver = self.start(wire)
        velocity = np.full(7, 0.2)
        for tick in range(20):
            driver.send(SPEC.home, velocity, SPEC.home, START_NS + tick * 5_000_000)
        driver.send(SPEC.home, REST, SPEC.home, START_NS + 20 * 5_000_000 - 4_000_000)
        wire.until(lambda: wire.heard and not np.array(wire.heard[-1].points[0].velocities).any())
        assert len(wire.heard) == 6

    def test_the_simulated_controller_tracks_the_stream_and_stops_by_itself_when_it_breaks_off(self, wire):
        driver = self.make(wire)
        sent: list[Any] = []
        driver._publisher = types.SimpleNamespace(publish=sent.append)
        controller = JointTrajectoryController(SPEC.joint_names)
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
                driver.send(positions, velocity, positions, now_ns)
                late.append(abs(positions[6] - set_points(controller, now_ns)[6]))
            while sent:
                controller.command(TrajectoryGoal(_trajectory(sent.pop())), now_ns)
            reached.append(set_points(controller, now_ns)[6])
        assert max(late[8:]) < 0.001
        speeds = np.abs(np.diff(reached)) / 0.001
        assert speeds[995] > 0.4 and speeds[1000 + 150 :].max() < 1e-9
        assert speeds.max() < 0.56  # a replaced trajectory costs the controller one period, made up for in the next 19


class TestBatchedTrajectory(JointTrajectoryContract):
    settings = Driver(kind="joint_trajectory", sending="batches", batch_s=0.1)

    def test_a_batch_holds_the_set_points_of_its_time_and_then_a_stop(self, wire):
        driver = self.start(wire)
        velocity = np.full(7, 0.2)
        for tick in range(41):
            at = SPEC.home + velocity * tick * 0.005
            driver.send(at, velocity, SPEC.home, START_NS + tick * 5_000_000)
        wire.until(lambda: len(wire.heard) == 5)  # at 0, 50, 100, 150 and 200 ms
        message = wire.heard[-1]
        times = [to_ns(point.time_from_start) for point in message.points]
        assert to_ns(message.header.stamp) == START_NS + 200_000_000
        assert times == [20_000_000, 40_000_000, 60_000_000, 80_000_000, 100_000_000, 200_000_000]
        wanted = [SPEC.home[6] + 0.2 * (0.2 - 0.1 + time_ns / 1e9) for time_ns in times[:5]]
        np.testing.assert_allclose([point.positions[6] for point in message.points[:5]], wanted)

    def test_what_was_let_go_of_is_never_sent(self, wire):
        """Points from before a motion ended elsewhere were sent with the first one after it: the arm was thrown."""
        driver = self.make(wire)
        sent: list[Any] = []
        driver._publisher = types.SimpleNamespace(publish=sent.append)
        for tick in range(10):
            driver.send(SPEC.home + tick * 0.005, np.full(7, 0.2), SPEC.home, START_NS + tick * 20_000_000)
        driver.let_go(START_NS + 200_000_000)
        sent.clear()
        for tick in range(10, 14):
            driver.send(SPEC.home, REST, SPEC.home, START_NS + tick * 20_000_000)
        for message in sent:
            for point in message.points:
                np.testing.assert_allclose(point.positions, SPEC.home)
        assert sent

    def test_the_simulated_controller_follows_a_batch_later_without_a_seam(self, wire):
        driver = self.make(wire)
        sent: list[Any] = []
        driver._publisher = types.SimpleNamespace(publish=sent.append)
        controller = JointTrajectoryController(SPEC.joint_names)
        controller.activate(START_NS, SPEC.home)
        reached, wanted = [], []
        for millisecond in range(2000):
            now_ns, time_s = START_NS + millisecond * 1_000_000, millisecond * 0.001
            if millisecond < 1000 and millisecond % 5 == 0:
                positions, velocity = SPEC.home.copy(), REST.copy()
                positions[6] += 0.25 * (1.0 - np.cos(2.0 * time_s))
                velocity[6] = 0.5 * np.sin(2.0 * time_s)
                driver.send(positions, velocity, SPEC.home, now_ns)
            while sent:
                controller.command(TrajectoryGoal(_trajectory(sent.pop())), now_ns)
            reached.append(set_points(controller, now_ns)[6])
            wanted.append(SPEC.home[6] + 0.25 * (1.0 - np.cos(2.0 * max(time_s - 0.1, 0.0))))
        assert np.abs(np.array(reached[200:1000]) - wanted[200:1000]).max() < 2e-3
        speeds = np.abs(np.diff(reached)) / 0.001
        assert speeds.max() < 0.56 and speeds[1000 + 250 :].max() < 1e-9


class GuardedDriverContract(ArmDriverContract):
    """For controllers that take speeds: with a correction of 1/s, a speed is a distance."""

    fastest: np.ndarray

    def stopped_at(self, positions):
        return SPEC.home[[0, 6]]

    def test_what_is_sent_never_runs_faster_than_the_joints_may(self, wire):
        driver = self.start(wire)
        driver.send(SPEC.home + 10.0, SPEC.limits.velocity, SPEC.home, START_NS)
        wire.until(lambda: wire.heard)
        assert (np.abs(self.end_of(wire.heard[-1]) - SPEC.home[[0, 6]]) <= self.fastest).all()


class TestForwardVelocity(GuardedDriverContract):
    settings = Driver(kind="forward_velocity", correction_hz=1.0)
    message_type = Float64MultiArray
    default_topic = "forward_velocity_controller/commands"
    fastest = SPEC.limits.velocity[[0, 6]]

    def end_of(self, message):
        return SPEC.home[[0, 6]] + np.array(message.data)[[0, 6]]

    def make_ready(self, wire, driver):
        self.elsewhere: Any = Context()
        rclpy.init(args=[], context=self.elsewhere)
        keeper = DefiNode(context=self.elsewhere, namespace=wire.namespace)
        keeper.keep_alive("stop_guard_node")
        with Caller(wire.node, wire.node.stopping) as call:
            driver.prepare(call, 5.0)
        self.keeper = keeper

    def end_guard(self):
        self.keeper.shut_down()
        self.keeper.destroy_node()
        self.elsewhere.try_shutdown()
        self.keeper = self.elsewhere = None  # pytest keeps this object to its end

    @pytest.fixture(autouse=True)
    def _guard_ends(self):
        self.keeper: Any = None
        yield
        if self.keeper is not None:
            self.end_guard()

    def test_without_its_guard_it_is_not_made_ready(self, wire):
        driver = self.make(wire)
        with (
            Caller(wire.node, wire.node.stopping) as call,
            pytest.raises(DriverError, match=r"stop_guard_node: not seen for 0.1 s, expected that process"),
        ):
            driver.prepare(call, 0.1)

    def test_with_its_guard_it_is_ready_and_told_when_the_guard_dies(self, wire):
        driver = self.make(wire)
        self.make_ready(wire, driver)
        wire.until(lambda: driver.poll() is None)
        self.end_guard()
        wire.until(lambda: "stop_guard_node is gone" in (driver.poll() or ""))

    def test_a_small_distance_at_rest_is_left_alone(self, wire):
        driver = self.start(wire)
        driver.send(SPEC.home + 0.0009, REST, SPEC.home, START_NS)
        wire.until(lambda: wire.heard)
        assert not np.array(wire.heard[-1].data).any()

    def test_an_arm_that_is_not_known_or_does_not_follow_is_not_led_anywhere(self, wire):
        """Joint states that had stopped were made up for again and again: the arm turned until it hit something."""
        driver = self.start(wire)
        driver.send(SPEC.home, np.full(7, 0.1), None, START_NS)
        driver.send(SPEC.home, REST, None, START_NS)
        driver.send(SPEC.home + 0.3, REST, SPEC.home, START_NS)
        wire.until(lambda: len(wire.heard) == 3)
        np.testing.assert_allclose([message.data[0] for message in wire.heard], [0.1, 0.0, 0.0])

    @pytest.mark.parametrize(("guard_s", "evenly_s"), [(0.025, None), (0.1, 0.05), (0.5, 0.45)])
    def test_it_goes_on_for_as_long_as_its_guard_surely_has_not_stopped_it(self, wire, guard_s, evenly_s):
        self.settings = dataclasses.replace(self.settings, guard_timeout_s=guard_s)
        driver = self.start(wire)
        assert driver.alone(START_NS) == Alone.STOPS
        driver.send(SPEC.home, np.full(7, 0.1), SPEC.home, START_NS)
        if evenly_s is None:
            assert driver.alone(START_NS + 5_000_000) == Alone.STOPS
            return
        assert driver.alone(START_NS + round(evenly_s * NS_PER_S)) == Alone.GOES_ON
        assert driver.alone(START_NS + round(evenly_s * NS_PER_S) + 1) == Alone.STOPS
        assert driver.alone(START_NS - 1) == Alone.STOPS

    def test_let_go_it_says_zero_at_once(self, wire):
        driver = self.start(wire)
        driver.send(SPEC.home, np.full(7, 0.1), SPEC.home, START_NS)
        driver.let_go(START_NS)
        wire.until(lambda: len(wire.heard) == 2)
        assert not np.array(wire.heard[-1].data).any()

    def test_after_a_silence_it_begins_from_no_correction(self, wire):
        """What it had made up for before was once sent at once, a minute later, from standing still."""
        driver = self.start(wire)
        for tick in range(40):
            driver.send(SPEC.home + 0.1, np.full(7, 0.1), SPEC.home, START_NS + tick * 5_000_000)
        driver.send(SPEC.home, REST, SPEC.home, START_NS + 60 * NS_PER_S)
        wire.until(lambda: len(wire.heard) == 41)
        assert not np.array(wire.heard[-1].data).any()

    def test_a_lag_is_made_up_for_no_faster_than_the_joints_accelerate(self, wire):
        driver = self.start(wire)
        for tick in range(1, 41):
            driver.send(SPEC.home + 0.3, np.full(7, 0.1), SPEC.home, START_NS + tick * 5_000_000)
        wire.until(lambda: len(wire.heard) == 40)
        sent = np.array([message.data for message in wire.heard])
        assert (np.diff(sent, axis=0) <= SPEC.limits.acceleration * 0.005 + 1e-9).all()
        np.testing.assert_allclose(sent[-1], 0.1 + 0.15 * self.settings.correction_hz, atol=1e-9)
        for tick in range(41, 81):  # where the arm is, is not known any more
            driver.send(SPEC.home + 0.3, np.full(7, 0.1), None, START_NS + tick * 5_000_000)
        wire.until(lambda: len(wire.heard) == 80)
        sent = np.array([message.data for message in wire.heard])
        assert (np.abs(np.diff(sent, axis=0)) <= SPEC.limits.acceleration * 0.005 + 1e-9).all()
        np.testing.assert_allclose(sent[-1], 0.1, atol=1e-9)


class Servo:
    """A played MoveIt Servo: its services, and a status on request."""

    def __init__(self, wire):
        self.types: list[int] = []
        self.paused: list[bool] = []
        self.accepts = True
        self.status = wire.peer.create_publisher(ServoStatus, "servo_node/status", 10)
        wire.peer.create_service(ServoCommandType, "servo_node/switch_command_type", self._switch)
        wire.peer.create_service(SetBool, "servo_node/pause_servo", self._pause)

    def _switch(self, request, response):
        self.types.append(request.command_type)
        response.success = self.accepts
        return response

    def _pause(self, request, response):
        self.paused.append(request.data)
        response.success = True
        return response


class ServoContract(ArmDriverContract):
    command_type: int

    def prepare(self, wire, driver, timeout_s=5.0):
        """Lets the driver ask in a thread while the servo is spun."""
        outcome: list[Any] = []

        def ask():
            try:
                with Caller(wire.node, wire.node.stopping) as call:
                    driver.prepare(call, timeout_s)
                outcome.append(None)
            except DriverError as error:
                outcome.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        wire.until(lambda: outcome)
        thread.join()
        if outcome[0] is not None:
            raise outcome[0]

    def test_servo_is_told_the_type_of_command_and_to_go_on(self, wire):
        servo, driver = Servo(wire), self.make(wire)
        self.prepare(wire, driver)
        assert (servo.types, servo.paused) == ([self.command_type], [False])

    def test_a_servo_that_refuses_or_is_missing_is_named(self, wire):
        driver = self.make(wire)
        with pytest.raises(DriverError, match=r"servo_node/switch_command_type: got no such service for 0.2 s"):
            self.prepare(wire, driver, 0.2)
        Servo(wire).accepts = False
        with pytest.raises(DriverError, match=f"refused command type {self.command_type}"):
            self.prepare(wire, driver)

    def test_a_halt_and_a_silence_of_servo_are_told(self, wire, monkeypatch):
        servo, driver = Servo(wire), self.start(wire)
        wire.until(servo.status.get_subscription_count)
        servo.status.publish(ServoStatus(code=ServoStatus.HALT_FOR_SINGULARITY, message="wrist"))
        wire.until(lambda: "servo_node halted before a singularity: wrist" in (driver.poll() or ""))
        servo.status.publish(ServoStatus(code=ServoStatus.NO_WARNING))
        wire.until(lambda: driver.poll() is None)
        later_s = time.monotonic() + 1.1
        monkeypatch.setattr("defi_ros.drivers.servo.time.monotonic", lambda: later_s)
        assert "got no servo_node/status for 1 s" in driver.poll()

    def test_its_commands_carry_stamp_and_frame(self, wire):
        driver = self.start(wire)
        driver.send(SPEC.home, REST, SPEC.home, START_NS)
        wire.until(lambda: wire.heard)
        header = wire.heard[-1].header
        assert (header.frame_id, to_ns(header.stamp)) == ("panda_link0", START_NS)


class TestServoPose(ServoContract):
    settings = Driver(kind="servo_pose")
    message_type = PoseStamped
    default_topic = "servo_node/pose_target_cmds"
    command_type = ServoCommandType.Request.POSE

    def end_of(self, message):
        return np.array([message.pose.position.x, message.pose.position.y])


class TestServoTwist(ServoContract):
    settings = Driver(kind="servo_twist", correction_hz=1.0)
    message_type = TwistStamped
    default_topic = "servo_node/delta_twist_cmds"
    command_type = ServoCommandType.Request.TWIST

    def end_of(self, message):
        return SPEC.home[[0, 6]] + np.array([message.twist.linear.x, message.twist.linear.y])

    def stopped_at(self, positions):
        return SPEC.home[[0, 6]]

    def test_the_twist_is_that_of_the_joints_and_turns_towards_the_pose(self, wire):
        driver = self.start(wire)
        driver.send(SPEC.home, np.array([0.3, 0, 0, 0, 0, 0, -0.1]), SPEC.home, START_NS)
        wire.until(lambda: wire.heard)
        linear = wire.heard[-1].twist.linear
        np.testing.assert_allclose([linear.x, linear.y, linear.z], [0.3, -0.1, 0.0], atol=1e-12)

    def test_an_arm_that_is_not_known_or_does_not_follow_is_not_led_anywhere(self, wire):
        driver = self.start(wire)
        driver.send(SPEC.home, np.array([0.3, 0, 0, 0, 0, 0, -0.1]), None, START_NS)
        driver.send(SPEC.home, REST, None, START_NS)
        driver.send(SPEC.home + 0.3, REST, SPEC.home, START_NS)
        wire.until(lambda: len(wire.heard) == 3)
        np.testing.assert_allclose([message.twist.linear.x for message in wire.heard], [0.3, 0.0, 0.0], atol=1e-12)

    def test_the_tool_is_asked_for_no_more_than_its_own_speed(self, wire):
        """An arm 0.34 rad behind its set point was once asked for 0.97 m/s, of 0.6."""
        driver = self.start(wire)
        for tick in range(40):
            driver.send(SPEC.home + 0.3, np.full(7, 0.5), SPEC.home, START_NS + tick * 5_000_000)
        wire.until(lambda: len(wire.heard) == 40)
        linear = wire.heard[-1].twist.linear
        assert np.linalg.norm([linear.x, linear.y, linear.z]) <= SPEC.workspace.velocity_m_s + 1e-9

    def test_let_go_it_says_zero_at_once(self, wire):
        driver = self.start(wire)
        driver.send(SPEC.home, np.full(7, 0.1), SPEC.home, START_NS)
        driver.let_go(START_NS)
        wire.until(lambda: len(wire.heard) == 2)
        assert wire.heard[-1].twist == Twist()


def set_points(controller, now_ns):
    """Where the simulated controller wants the joints [rad]."""
    wanted = controller.update(now_ns, SPEC.home)
    assert wanted is not None
    return wanted


def _trajectory(message):
    points = tuple(
        TrajectoryPoint(to_ns(point.time_from_start), JointState(np.array(point.positions), np.array(point.velocities)))
        for point in message.points
    )
    return Trajectory(tuple(message.joint_names), points, to_ns(message.header.stamp))


def test_an_unknown_kind_is_refused_with_those_that_exist(wire):
    with pytest.raises(DriverError, match="got 'telepathy', expected one of forward_position"):
        make_arm_driver(wire.node, Driver(kind="telepathy"), SPEC, GEOMETRY)
    with pytest.raises(DriverError, match="got 'suction', expected one of none, parallel_gripper_command"):
        make_gripper_driver(wire.node, Gripper(kind="suction"))
