"""A person's input device on the graph: what it says in, `teleop/command`, emergency stop and requests out."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import numpy as np
from geometry_msgs.msg import Twist, Vector3
from rclpy.task import Future
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import Bool

from defi_models.contract import NS_PER_S
from defi_msgs.msg import ControlState, TeleopCommand
from defi_msgs.srv import SetAuthority
from defi_ros.bridge import qos
from defi_ros.bridge.convert import to_stamp
from defi_ros.bridge.lifecycle import DefiNode, run
from defi_ros.bridge.pacing import DEVICE_PRIORITY, raise_process
from defi_ros.control.authority import Mode
from defi_ros.nodes.action_stage import wait_for_description
from defi_ros.teleop.keyboard import Keyboard
from defi_ros.teleop.registry import make_device, needs_description
from defi_ros.teleop.terminal import KeyTerminal, TerminalError
from defi_ros.teleop.wish import Heard, Request, Wish

PERIOD_S = 0.02
STOP_AGAIN_S = 0.5  # a stop that is held is said again and again
KEY_WAIT_S = 0.1  # how long the thread that reads keys may not look at `stop`
SOURCES: dict[Heard, tuple[type, Any]] = {
    "joy": (Joy, qos.STATES),
    "twist": (Twist, qos.STATES),
    "joints": (JointState, qos.STATES),
}


class TeleopNode(DefiNode):
    """Says what the person wants at each word of the device and 50 times a second; a silent device has let go.

    Parameters besides the robot file's: `teleop.device` names the device. A keyboard is read from standard input.
    """

    NAME = "teleop_node"
    SECTIONS = ("teleop",)

    def configure(self) -> None:
        """Reads the device's file and, for a keyboard, takes the terminal."""
        robot = self._robot = self.robot_file()
        name = robot.teleop.device
        self._device = make_device(name, robot, wait_for_description(self) if needs_description(name) else "")
        self._frames = {"base": robot.driver.base_frame, "tool": robot.tip_frame}
        self._keys: deque[str] = deque()
        self._terminal: KeyTerminal | None = None
        if isinstance(self._device, Keyboard):
            self._terminal = KeyTerminal()
            self._terminal.open()
            self.own(self._terminal.close)
            self._terminal.say(self._device.help)
        self._held = self._stopping_arm = self._introduced = False
        self._stop_said_ns = self._stop_listeners = 0
        self._control_state: ControlState | None = None
        self._commands = self.say("teleop/command", TeleopCommand, qos.STREAM)
        self._stops = self.say("teleop/emergency_stop", Bool, qos.EVENTS)
        self._authority = self.create_client(SetAuthority, "set_authority")
        self.own(lambda: self.destroy_client(self._authority))
        for topic, kind in self._device.topics.items():
            message_type, profile = SOURCES[kind]
            self.hear(topic, message_type, getattr(self, f"_on_{kind}"), profile)
        self.hear("control_state", ControlState, self._on_state, qos.STREAM)
        self.every(PERIOD_S, self._speak)

    def activate(self) -> None:
        """Begins with nothing held; whoever hears of stops is told so first of all."""
        self._held = self._stopping_arm = False
        self._stop_said_ns = self._stop_listeners = 0
        if self.owns_process:
            raise_process(self._robot.nodes.nice.teleop_node, DEVICE_PRIORITY)
        if self._terminal is not None:
            terminal = self._terminal
            self.start_worker("keys", lambda stop: self._read_keys(terminal, stop))

    def deactivate(self) -> None:
        """Lets go of the arm."""
        self._say_wish(Wish(False, np.zeros(6), "base", 1.0))

    def describe(self) -> None:
        """Shows what the person holds."""
        if self.state == "active":
            self.health.set(device=self._device.source, deadman=self._held, stop=self._stopping_arm)

    def _read_keys(self, terminal: KeyTerminal, stop: threading.Event) -> None:
        while not stop.is_set():
            self._keys.extend(terminal.read(KEY_WAIT_S))

    # The spinning thread ---------------------------------------------------------------------------------------------

    def _on_joy(self, message: Joy) -> None:
        self._device.on_joy(list(message.axes), list(message.buttons), self.now_ns())
        self._speak()

    def _on_twist(self, message: Twist) -> None:
        linear, angular = message.linear, message.angular
        values = np.array([linear.x, linear.y, linear.z, angular.x, angular.y, angular.z])
        self._device.on_twist(values, self.now_ns())

    def _on_joints(self, message: JointState) -> None:
        self._device.on_joints(list(message.name), list(message.position), self.now_ns())

    def _on_state(self, message: ControlState) -> None:
        self._control_state = message
        self._device.note_opening(message.gripper_commanded)

    def _speak(self) -> None:
        if self.state != "active":
            return
        now_ns = self.now_ns()
        while self._keys:
            self._device.on_key(self._keys.popleft(), now_ns)
        wish = self._device.read(now_ns)
        self.health.trouble("device", wish.trouble or None)
        self._say_stop(wish.stop, now_ns)
        # A released deadman is said once, also by a device that begins: after that silence says the same.
        begins = not self._introduced and self._commands.get_subscription_count() > 0
        if wish.deadman or self._held or begins:
            self._say_wish(wish)
        self._introduced = self._introduced or begins
        for request in self._device.take_requests():
            self._ask(request)
        self._show(wish)

    def _say_stop(self, pressed: bool, now_ns: int) -> None:
        """Says a stop that is pressed again and again, and its release once: a device says nothing of what others press."""
        listeners = self._stops.get_subscription_count()
        again = pressed and not 0 <= now_ns - self._stop_said_ns <= STOP_AGAIN_S * NS_PER_S
        if pressed != self._stopping_arm or again or (pressed and listeners > self._stop_listeners):
            self._stops.publish(Bool(data=pressed))
            self._stop_said_ns = now_ns
        if pressed and not self._stopping_arm and not listeners:
            self._note("EMERGENCY STOP HEARD BY NOBODY: no arm bridge listens; use the robot's own stop")
        self._stopping_arm, self._stop_listeners = pressed, listeners

    def _say_wish(self, wish: Wish) -> None:
        x, y, z, roll, pitch, yaw = wish.twist.tolist()
        message = TeleopCommand(source=self._device.source, deadman=wish.deadman, gripper=float(wish.gripper))
        message.header.stamp = to_stamp(self.now_ns())
        message.header.frame_id = self._frames[wish.frame]
        message.twist = Twist(linear=Vector3(x=x, y=y, z=z), angular=Vector3(x=roll, y=pitch, z=yaw))
        self._commands.publish(message)
        self._held = wish.deadman
        self.health.count()

    def _ask(self, request: Request) -> None:
        if not self._authority.service_is_ready():
            self._note(f"{request.name}: no arm bridge offers set_authority")
            return
        mode = Mode.POLICY if request == Request.POLICY else Mode.HOLD
        wanted = SetAuthority.Request(mode=mode, source=self._device.source, reset=request == Request.RESET)
        self._authority.call_async(wanted).add_done_callback(self._on_answer)

    def _on_answer(self, done: Future) -> None:
        answer = done.result()
        if answer is not None:
            self._note(answer.reason)

    def _note(self, text: str) -> None:
        if self._terminal is not None:
            self._terminal.say(text)
        else:
            self.get_logger().info(text)

    def _show(self, wish: Wish) -> None:
        if self._terminal is None or not isinstance(self._device, Keyboard):
            return
        state, mode = self._control_state, "no arm bridge heard"
        if state is not None:
            mode = f"{Mode(state.mode).name} ({state.reason})"
        held = "moving" if wish.twist.any() else "held" if wish.deadman else "released"
        try:
            self._terminal.show(f"{held:<8} {self._device.status()}  |  {mode}")
        except TerminalError as error:
            self.fail(str(error))


def main() -> None:
    """Runs the node."""
    raise SystemExit(run(TeleopNode))


if __name__ == "__main__":
    main()
