"""Joint states as the halves of inference keep them: fewer than come, and none of them missed."""

from __future__ import annotations

import array
import itertools
import types

import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import JointState

from defi_ros.bridge.convert import to_stamp
from defi_ros.bridge.lifecycle import DefiNode
from defi_ros.nodes import joint_inputs
from defi_ros.nodes.joint_inputs import APART_S, JointInputs
from defi_ros.robot import load_robot

pytestmark = pytest.mark.ros
ROBOT = load_robot("franka")
JOINTS, HOME, FINGER = ROBOT.spec.joint_names, ROBOT.spec.home.tolist(), ROBOT.gripper.joint
SPEED_RAD_S = 0.5


class Listener(DefiNode):
    """Hears joint states and does nothing."""

    NAME = "listener"

    def configure(self) -> None:
        self.inputs = JointInputs(self, self.robot_file())


@pytest.fixture
def listener(graph):
    return graph.start(Listener)


def said(names, positions, time_ns):
    message = JointState(name=list(names), position=array.array("d", positions))
    message.header.stamp = to_stamp(time_ns)
    return message


@pytest.fixture
def tell(listener, monkeypatch):
    """Says what `messages(time_ns, angle)` lists every 2 ms for some seconds, the first joint turning; stamps and angles.

    On a clock of its own and by hand, so that no message is late or lost, however busy the machine.
    """
    clock = types.SimpleNamespace(s=100.0)
    monkeypatch.setattr(joint_inputs, "time", types.SimpleNamespace(monotonic=lambda: clock.s))

    def run(messages, seconds):
        began_s, began_ns, told = clock.s, listener.now_ns() - round(seconds * 1e9), []
        while clock.s - began_s < seconds:
            clock.s += 0.002
            time_ns = began_ns + round((clock.s - began_s) * 1e9)
            told.append((time_ns, SPEED_RAD_S * (time_ns - began_ns) / 1e9))
            for message in messages(*told[-1]):
                listener.inputs._on_joints(serialize_message(message))
        return told

    return run


def test_of_many_joint_states_enough_are_kept_to_say_where_the_arm_was(listener, tell):
    told = tell(lambda time_ns, angle: [said([*JOINTS, FINGER], [angle, *HOME[1:], 0.02], time_ns)], 0.5)
    kept = len(listener.inputs._history._samples)
    assert 10 < kept <= 0.5 / APART_S + 2 < len(told)
    for time_ns, angle in told[20:-20:5]:
        sample = listener.inputs.at(time_ns)
        assert not isinstance(sample, str), sample
        assert sample.positions[0] == pytest.approx(angle, abs=1e-6) and sample.gripper == pytest.approx(0.5)


def test_a_gripper_that_speaks_just_before_the_arm_does_not_hide_it(listener, tell):
    """Joint states were once taken one in so many, whatever they were of: of a driver with two publishers always the wrong one."""
    told = tell(
        lambda time_ns, angle: [said([FINGER], [0.02], time_ns), said(JOINTS, [angle, *HOME[1:]], time_ns)],
        0.3,
    )
    time_ns, angle = told[-30]
    sample = listener.inputs.at(time_ns)
    assert not isinstance(sample, str), sample
    assert sample.positions[0] == pytest.approx(angle, abs=1e-6) and sample.gripper == pytest.approx(0.5)


def test_a_gripper_that_speaks_just_after_the_arm_is_heard(listener, tell):
    """For ten milliseconds after the arm nothing was read at all: a gripper at the same rate was never heard."""
    turn = itertools.count()

    def messages(time_ns, angle):
        number = next(turn) % 15  # both at 33 Hz, 2 ms apart
        if number == 0:
            return [said(JOINTS, [angle, *HOME[1:]], time_ns)]
        return [said([FINGER], [0.02], time_ns)] if number == 1 else []

    told = tell(messages, 0.4)
    sample = listener.inputs.at(told[-30][0])
    assert not isinstance(sample, str), sample
    assert sample.gripper == pytest.approx(0.5) and not listener.health.troubles


def test_an_arm_without_its_gripper_is_a_trouble_that_names_the_joint(listener, tell):
    tell(lambda time_ns, angle: [said(JOINTS, [angle, *HOME[1:]], time_ns)], 0.05)
    assert FINGER in listener.health.troubles and "gripper.joint" in listener.health.troubles
    assert "expected them" in str(listener.inputs.at(listener.now_ns()))
