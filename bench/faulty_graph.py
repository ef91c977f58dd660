"""The graph of the simulated Franka with a relay in it, where what cameras, arm and policy say can be spoilt on its way."""

from __future__ import annotations

import copy
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool, Float64MultiArray

from defi_msgs.msg import ActionChunk, ControlState, TeleopCommand
from defi_msgs.srv import SetAuthority
from defi_ros.bridge import qos
from defi_ros.bridge.convert import to_ns, to_stamp
from defi_ros.bringup import Process

RAW = "raw/"
RELAYED = {
    "sim_node": ("camera/static/image_raw", "camera/wrist/image_raw", "joint_states"),
    "action_node": ("action_chunk",),
}
TYPES = {
    "camera/static/image_raw": (Image, qos.IMAGES),
    "camera/wrist/image_raw": (Image, qos.IMAGES),
    "joint_states": (JointState, qos.STREAM),
    "action_chunk": (ActionChunk, qos.STREAM),
}
STILL_RAD_S = 0.01
Spoil = Callable[[Any], Any]  # a message -> what is passed on, or None


@dataclass(frozen=True)
class Relayed(Process):
    """A process whose topics go through the relay."""

    topics: tuple[str, ...] = ()

    def command(self, python: str) -> list[str]:
        """Its topics are renamed."""
        renamed = [word for topic in self.topics for word in ("-r", f"{topic}:={RAW}{topic}")]
        return [*Process.command(self, python), *renamed]


def with_relay(processes: Sequence[Process]) -> list[Process]:
    """The same processes, those of `RELAYED` with renamed topics."""
    return [
        Relayed(**{field.name: getattr(one, field.name) for field in fields(Process)}, topics=RELAYED[one.name])
        if one.name in RELAYED
        else one
        for one in processes
    ]


class Relay:
    """Passes everything on, spoilt where a fault is set; hears how the bridge takes it. Owns one node and two threads."""

    def __init__(self) -> None:
        self.spoils: dict[str, Spoil] = {}
        self.states: deque[tuple[float, ControlState]] = deque(maxlen=5000)
        self.moves: deque[tuple[float, float]] = deque(maxlen=5000)  # fastest measured joint [rad/s]
        self.troubles: dict[str, str] = {}
        self.wish: TeleopCommand | None = None
        self._before: tuple[float, Any] | None = None
        self._context = Context()
        rclpy.init(args=[], context=self._context)
        self.node = Node("faults", context=self._context)
        for topic, (kind, profile) in TYPES.items():
            publisher = self.node.create_publisher(kind, topic, profile)
            self.node.create_subscription(kind, RAW + topic, self._pass_on(topic, publisher), profile)
        self.node.create_subscription(ControlState, "control_state", self._on_state, qos.STREAM)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.EVENTS)
        self.stop = self.node.create_publisher(Bool, "emergency_stop", qos.EVENTS)
        self.teleop = self.node.create_publisher(TeleopCommand, "teleop/command", qos.STREAM)
        self.authority = self.node.create_client(SetAuthority, "set_authority")
        self.node.create_timer(0.02, self._say_wish)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._spin, name="relay", daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._stopping.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def _pass_on(self, topic: str, publisher: Any) -> Callable[[Any], None]:
        def pass_on(message: Any) -> None:
            if topic == "joint_states":
                self._measure(message)
            spoil = self.spoils.get(topic)
            passed = message if spoil is None else spoil(copy.copy(message))
            if passed is not None:
                publisher.publish(passed)

        return pass_on

    def _measure(self, message: JointState) -> None:
        now_s, positions = to_ns(message.header.stamp) / 1e9, np.array(message.position[:7])
        if self._before is not None and now_s - self._before[0] > 0.03:
            speed = np.abs(positions - self._before[1]).max() / (now_s - self._before[0])
            self.moves.append((time.monotonic(), float(speed)))
            self._before = now_s, positions
        elif self._before is None:
            self._before = now_s, positions

    def _on_state(self, message: ControlState) -> None:
        self.states.append((time.monotonic(), message))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.troubles[status.name] = "" if status.level == status.OK else status.message

    def _say_wish(self) -> None:
        if self.wish is not None:
            self.wish.header.stamp = self.node.get_clock().now().to_msg()
            self.teleop.publish(self.wish)

    def ask(self, mode: int, *, reset: bool = False, timeout_s: float = 3.0) -> SetAuthority.Response | None:
        """Asks the bridge for a mode; None when it does not answer."""
        if not self.authority.wait_for_service(timeout_s):
            return None
        future = self.authority.call_async(SetAuthority.Request(mode=mode, source="bench", reset=reset))
        end_s = time.monotonic() + timeout_s
        while not future.done() and time.monotonic() < end_s:
            time.sleep(0.01)
        return future.result() if future.done() else None

    @property
    def state(self) -> ControlState | None:
        """The newest control_state."""
        return self.states[-1][1] if self.states else None

    @property
    def moving(self) -> bool:
        """Whether the bridge commands a motion that is more than a creep."""
        state = self.state
        return state is not None and len(state.commanded_velocity) > 0 and np.abs(state.commanded_velocity).max() > 0.05

    @property
    def arm_stands(self) -> bool:
        """Whether the measured joints have stood still for 0.2 s."""
        recent = [speed for at_s, speed in list(self.moves) if time.monotonic() - at_s < 0.2]
        return bool(recent) and max(recent) < STILL_RAD_S

    def close(self) -> None:
        """Ends its thread and node."""
        self._stopping.set()
        self._thread.join(2.0)
        self.node.destroy_node()
        self._context.try_shutdown()


def drop(_: Any) -> None:
    """Passes nothing on."""


def shifted(seconds: float) -> Spoil:
    """Moves the stamp."""

    def spoil(message: Any) -> Any:
        message.header = copy.deepcopy(message.header)
        message.header.stamp = to_stamp(to_ns(message.header.stamp) + round(seconds * 1e9))
        return message

    return spoil


def frozen(*, stamps: bool) -> Spoil:
    """Repeats the first message; `stamps` keeps the time of each, as a camera that hangs inside does."""
    kept: list[Any] = []

    def spoil(message: Any) -> Any:
        kept.append(message) if not kept else None
        again = copy.copy(kept[0])
        if stamps:
            again.header = message.header
        return again

    return spoil


def changed(**values: Any) -> Spoil:
    """Replaces fields; a value that is callable gets the message."""

    def spoil(message: Any) -> Any:
        new = {name: value(message) if callable(value) else value for name, value in values.items()}
        for name, value in new.items():
            setattr(message, name, value)
        return message

    return spoil


def delayed(relay: Relay, topic: str, seconds: float) -> Spoil:
    """Passes each message on so much later."""
    kind, profile = TYPES[topic]
    publisher = relay.node.create_publisher(kind, topic, profile)

    def spoil(message: Any) -> None:
        threading.Timer(seconds, publisher.publish, (message,)).start()

    return spoil


def intruder(relay: Relay) -> Callable[[], Any]:
    """Another publisher on the arm's command topic; returns what removes it."""
    publisher = relay.node.create_publisher(Float64MultiArray, "forward_position_controller/commands", qos.COMMANDS)
    return lambda: relay.node.destroy_publisher(publisher)


def out(text: str) -> None:
    """Writes a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
