"""What robots say of themselves, over the wire: no fault is missed, however short it stands."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy")


pytest.importorskip("franka_msgs")

from franka_msgs.msg import FrankaRobotState
from std_msgs.msg import Bool
from ur_dashboard_msgs.msg import RobotMode, SafetyMode

from defi_ros.bridge import qos
from defi_ros.control.interlock import FrankaMode, RecoveryError, UrMode, UrSafety
from defi_ros.drivers.robot_status import FrankaStatus, UrStatus, make_robot_status, wait_until_ready
from defi_ros.sections import Interlock

pytestmark = pytest.mark.ros


class Robot:
    """The status of a robot that the wire's peer plays."""

    def __init__(self, wire, settings):
        self.node, self.peer, self.executor = wire.node, wire.peer, wire.executor
        self.until, self.hear_all = wire.until, wire.hear_all
        self.status: Any = make_robot_status(wire.node, settings)


class Ur(Robot):
    """A UR."""

    def __init__(self, wire):
        settings = Interlock(kind="ur")
        super().__init__(wire, settings)
        prefix = settings.status_prefix
        self._program = self.peer.create_publisher(Bool, f"{prefix}robot_program_running", qos.LATCHED)
        self._mode = self.peer.create_publisher(RobotMode, f"{prefix}robot_mode", qos.LATCHED)
        self._safety = self.peer.create_publisher(SafetyMode, f"{prefix}safety_mode", qos.LATCHED)

    def say(self, program=None, mode=None, safety=None):
        """Says what is given."""
        if program is not None:
            self._program.publish(Bool(data=program))
        if mode is not None:
            self._mode.publish(RobotMode(mode=int(mode)))
        if safety is not None:
            self._safety.publish(SafetyMode(mode=int(safety)))


class Franka(Robot):
    """A Franka."""

    def __init__(self, wire):
        settings = Interlock(kind="franka")
        super().__init__(wire, settings)
        self._states = self.peer.create_publisher(FrankaRobotState, settings.state_topic, qos.STREAM)

    def say(self, mode, error=None):
        """Says a mode, and the error that stands."""
        message = FrankaRobotState(robot_mode=int(mode))
        message.header.frame_id = message.o_t_ee.header.frame_id = "fr3_link0"
        message.measured_joint_state.name = [f"fr3_joint{number}" for number in range(1, 8)]
        if error is not None:
            setattr(message.current_errors, error, True)
        self._states.publish(message)


@pytest.fixture
def ur(wire):
    robot = Ur(wire)
    robot.say(program=True, mode=UrMode.RUNNING, safety=UrSafety.NORMAL)
    robot.until(lambda: robot.status.fault() is None)
    return robot


@pytest.fixture
def franka(wire):
    robot = Franka(wire)
    robot.until(lambda: robot._states.get_subscription_count() > 0)
    robot.say(FrankaMode.MOVE)
    robot.until(lambda: robot.status.fault() is None)
    return robot


def test_a_ur_program_that_stops_and_starts_between_two_looks_is_told_once(ur):
    ur.say(program=False)
    ur.say(program=True)
    ur.hear_all()
    assert ur.status._program is True
    assert not ur.status.follows_nobody()  # it follows again
    assert "got no running program" in ur.status.fault()
    assert ur.status.fault() is None


def test_a_ur_fault_that_stands_is_told_until_it_is_over_and_not_after(ur):
    ur.say(safety=UrSafety.PROTECTIVE_STOP)
    ur.until(lambda: "PROTECTIVE_STOP" in (ur.status.fault() or ""))
    assert ur.status.follows_nobody() and "PROTECTIVE_STOP" in ur.status.fault()
    ur.say(safety=UrSafety.NORMAL)
    ur.until(lambda: ur.status._safety == UrSafety.NORMAL)
    assert ur.status.fault() is None


def test_what_a_ur_does_while_it_has_not_said_all_of_itself_is_no_fault_that_passed(wire):
    ur = Ur(wire)
    ur.say(program=False)
    ur.until(lambda: ur.status._program is False)
    assert "got no robot_mode, safety_mode yet" in ur.status.fault()
    ur.say(program=True, mode=UrMode.RUNNING, safety=UrSafety.NORMAL)
    ur.until(lambda: ur.status.fault() is None)


def test_a_franka_that_stops_and_goes_on_between_two_messages_that_are_read_is_told_once(franka):
    for mode in (FrankaMode.MOVE, FrankaMode.IDLE, FrankaMode.MOVE):
        franka.say(mode)
    franka.hear_all()
    assert franka.status._mode == FrankaMode.MOVE and not franka.status.follows_nobody()
    assert "got IDLE, expected MOVE" in franka.status.fault()
    assert franka.status.fault() is None


def test_an_error_of_a_franka_that_is_cleared_at_once_is_told_once(franka):
    franka.say(FrankaMode.MOVE, "cartesian_reflex")
    franka.say(FrankaMode.MOVE)
    franka.hear_all()
    assert "with cartesian_reflex" in franka.status.fault()
    assert franka.status.fault() is None


class Messages:
    """A node that only keeps the callbacks."""

    def __init__(self):
        self.heard: dict[str, Any] = {}

    def hear(self, topic, message_type, callback, profile, *, raw=False):
        """Keeps the callback of a topic."""
        self.heard[topic.rpartition("/")[2]] = callback


def first_words(messages):
    """Answers `listen` by topic and type, as a robot that is ready."""

    def wait(topic, message_type, profile, *, timeout_s):
        if message_type is FrankaRobotState:
            return FrankaRobotState(robot_mode=int(FrankaMode.MOVE))
        return message_type(**messages[topic.rpartition("/")[2]])

    return wait


READY = {
    "robot_program_running": {"data": True},
    "robot_mode": {"mode": int(UrMode.RUNNING)},
    "safety_mode": {"mode": int(UrSafety.NORMAL)},
}


def test_what_passed_before_the_robot_was_listened_to_is_not_told():
    node: Any = Messages()
    status = UrStatus(node, Interlock(kind="ur"))
    for topic, fields in READY.items():
        node.heard[topic](SimpleNamespace(**fields))
    node.heard["robot_program_running"](SimpleNamespace(data=False))
    status.listen(first_words(READY), 1.0)
    assert status.fault() is None


def test_what_a_robot_goes_through_while_it_is_recovered_is_not_told_after_it():
    node: Any = Messages()
    status = UrStatus(node, Interlock(kind="ur"))
    status.listen(first_words({**READY, "robot_program_running": {"data": False}}), 1.0)

    class Call:
        """Brings the robot back at once."""

        def service(self, service_type, name, request, timeout_s):
            assert "got no running program" in (status.fault() or "")
            for mode in (UrMode.IDLE, UrMode.RUNNING):
                node.heard["robot_mode"](SimpleNamespace(mode=int(mode)))
            node.heard["robot_program_running"](SimpleNamespace(data=True))
            return SimpleNamespace(success=True)

    call: Any = Call()
    status.recover(call, lambda step: None)
    assert status.fault() is None


def test_a_franka_in_an_unknown_mode_is_not_recovered():
    node: Any = Messages()
    status = FrankaStatus(node, Interlock(kind="franka"))
    status._read(FrankaRobotState(robot_mode=9))
    nobody: Any = None
    with pytest.raises(RecoveryError, match="got a robot in robot_mode 9, expected REFLEX or IDLE; unknown mode"):
        status.recover(nobody, lambda step: None)


def test_waiting_for_a_robot_ends_with_what_still_stands():
    with pytest.raises(RecoveryError, match="every step was taken, but after 0 s still its brakes are closed"):
        wait_until_ready(lambda: "its brakes are closed", 0.0)
