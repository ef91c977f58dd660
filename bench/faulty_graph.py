"""The graph of the simulated Franka with a relay in it, where what cameras, arm and policy say can be spoilt on its way."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray
from witness import SPEED_OVER_S, Witness

from defi_msgs.msg import ActionChunk
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


class Relay(Witness):
    """Passes everything on, spoilt where a fault is set, and hears how the bridge takes it.

    What is not spoilt stays bytes: reading two cameras and 200 joint states a second would take a third of a core.
    """

    def __init__(self) -> None:
        """Begins to pass on."""
        super().__init__(hears_joints=False)
        self.spoils: dict[str, Spoil] = {}
        for topic, (kind, profile) in TYPES.items():
            publisher = self.node.create_publisher(kind, topic, profile)
            self.node.create_subscription(kind, RAW + topic, self._pass_on(topic, publisher), profile, raw=True)
        self._looked_s = 0.0
        self.begin()

    def _pass_on(self, topic: str, publisher: Any) -> Callable[[bytes], None]:
        kind, _ = TYPES[topic]

        def pass_on(raw: bytes) -> None:
            if topic == "joint_states" and time.monotonic() - self._looked_s > SPEED_OVER_S:
                self._looked_s = time.monotonic()
                self.on_joints(deserialize_message(raw, kind))
            spoil = self.spoils.get(topic)
            passed = raw if spoil is None else spoil(deserialize_message(raw, kind))
            if passed is not None:
                publisher.publish(passed)

        return pass_on


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
