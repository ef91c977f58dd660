"""teleop_node with a joystick and a keyboard, on a graph where the peer plays the device and the arm bridge."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys

import pytest

pytest.importorskip("rclpy")

from geometry_msgs.msg import Twist
from sensor_msgs.msg import Joy
from std_msgs.msg import Bool

from defi_msgs.msg import ControlState, TeleopCommand
from defi_msgs.srv import SetAuthority
from defi_ros.bridge import qos
from defi_ros.nodes.teleop_node import TeleopNode
from defi_ros.robot import load_robot

pytestmark = pytest.mark.ros

ROBOT = load_robot("franka")
DEADMAN, STOP, POLICY = 9, 1, 3


class Person:
    """A joystick in a person's hands, and what the node makes of it."""

    def __init__(self, graph, device="joy"):
        self.graph = graph
        self.commands = graph.listen("teleop/command", TeleopCommand, qos.STREAM)
        self.stops = graph.listen("teleop/emergency_stop", Bool)
        self.asked: list[SetAuthority.Request] = []
        graph.peer.create_service(SetAuthority, "set_authority", self._answer)
        self._joy = graph.speaker("joy", Joy, qos.STREAM)
        self.states = graph.speaker("control_state", ControlState, qos.STREAM)
        self.node = graph.start(TeleopNode, **{"teleop.device": device})
        if device == "joy":
            graph.until(self._joy.get_subscription_count)
        graph.until(lambda: self.node._stops.get_subscription_count() and self.node._authority.service_is_ready())
        graph.until(lambda: self.commands)  # a device that comes says that it is released, whatever was held before
        assert not self.commands[0].deadman
        self.commands.clear()

    def _answer(self, request, response):
        self.asked.append(request)
        response.granted, response.reason = True, "granted"
        return response

    def press(self, *buttons, forward=0.0):
        axes, pressed = [0.0] * 6, [0] * 15
        axes[1] = forward
        for button in buttons:
            pressed[button] = 1
        self._joy.publish(Joy(axes=axes, buttons=pressed))

    def hold(self, *buttons, until, **axes):
        """Presses again and again, as joy does, until the condition holds."""

        def pressed():
            self.press(*buttons, **axes)
            return until()

        self.graph.until(pressed)


@pytest.fixture
def person(graph):
    return Person(graph)


def test_a_held_deadman_sends_the_velocity_in_the_base_frame(person):
    person.hold(DEADMAN, forward=1.0, until=lambda: person.commands)
    command = person.commands[-1]
    assert (command.source, command.deadman, command.header.frame_id) == ("joystick", True, ROBOT.driver.base_frame)
    assert command.twist.linear.x == pytest.approx(ROBOT.teleop.linear_m_s)


def test_without_a_deadman_it_says_nothing_and_after_one_says_once_that_it_is_released(graph, person):
    person.press(forward=1.0)
    person.hold(DEADMAN, until=lambda: person.commands)
    assert all(command.deadman for command in person.commands)
    person.press(forward=1.0)
    graph.until(lambda: not person.commands[-1].deadman)
    assert person.commands[-1].twist == Twist()


def test_a_joystick_that_falls_silent_has_let_go(graph, person):
    person.hold(DEADMAN, forward=1.0, until=lambda: person.commands)
    graph.until(lambda: not person.commands[-1].deadman)
    assert "joystick: nothing heard on joy for" in graph.diagnostics(person.node)["message"]


def test_the_stop_button_says_pressed_and_released(graph, person):
    """Of a stop that others have pressed a device that is not pressed says nothing: its "released" would release theirs."""
    person.press()
    person.hold(STOP, until=lambda: person.stops)
    assert person.stops[0].data is True
    person.press()
    graph.until(lambda: not person.stops[-1].data)


def test_a_button_asks_for_the_authority_in_the_device_s_name(graph, person):
    person.press()
    person.hold(POLICY, until=lambda: person.asked)
    assert (person.asked[0].mode, person.asked[0].source, person.asked[0].reset) == (
        SetAuthority.Request.POLICY, "joystick", False,
    )  # fmt: skip


def test_taking_over_leaves_the_gripper_as_it_was_commanded(graph, person):
    person.states.publish(ControlState(gripper_commanded=0.0))
    graph.until(lambda: person.node._control_state is not None)
    person.hold(DEADMAN, until=lambda: person.commands)
    assert person.commands[-1].gripper == 0.0


def test_its_end_lets_go(graph, person):
    person.hold(DEADMAN, forward=1.0, until=lambda: person.commands)
    person.node.shut_down()
    graph.until(lambda: not person.commands[-1].deadman)


def test_a_keyboard_without_a_terminal_is_refused(graph, monkeypatch):
    with open(os.devnull, encoding="utf-8") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        node = graph.add(TeleopNode, **{"teleop.device": "keyboard"})
        assert not node.bring_up()
    assert "keyboard: got no terminal on standard input" in node.failure


@pytest.mark.parametrize("wrong", [["--robot", "frnaka"], ["spacemuose"]])
def test_what_there_is_not_is_told_once(wrong):
    command = [sys.executable, "-m", "defi_models.cli", "teleop", *wrong]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert repr(wrong[-1]) in done.stderr


def test_a_stop_that_nobody_hears_is_told_at_once(graph):
    """`defi teleop keyboard` on a pseudo-terminal, without an arm bridge."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "defi_models.cli", "teleop", "keyboard", "--namespace", graph.namespace]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        shown = b""
        while b"no arm bridge heard" not in shown:
            shown += os.read(ours, 4096)
        os.write(ours, b" ")
        while b"EMERGENCY STOP HEARD BY NOBODY" not in shown:
            shown += os.read(ours, 4096)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_keys_in_a_terminal_move_stop_and_leave_the_terminal_as_it_was(graph):
    """`defi teleop keyboard` as a process of its own on a pseudo-terminal."""
    commands = graph.listen("teleop/command", TeleopCommand, qos.STREAM)
    stops = graph.listen("teleop/emergency_stop", Bool)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "defi_models.cli", "teleop", "keyboard", "--namespace", graph.namespace]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:

        def type_until(key, condition):
            def typed():
                os.write(ours, key)
                return condition()

            graph.until(typed, 30.0)

        type_until(b"w", lambda: commands and commands[-1].twist.linear.x > 0.0)
        assert commands[-1].source == "keyboard"
        type_until(b" ", lambda: stops and stops[-1].data)
        graph.until(lambda: not commands[-1].deadman and not stops[-1].data)
        process.send_signal(signal.SIGINT)
        shown = b""
        while b"hold to move" not in shown:
            shown += os.read(ours, 4096)
        assert process.wait(10.0) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
