"""Another arm bridge of the same name: found out by what it says, for DDS remembers one that was killed for a while."""

from __future__ import annotations

import struct
import time
from collections import deque
from typing import Any

from defi_models.contract import NS_PER_S
from defi_msgs.msg import ControlState
from defi_ros.bridge import qos
from defi_ros.bridge.lifecycle import DefiNode

TOPIC = "control_state"
LATELY_S = 1.0  # a bridge speaks every 20 ms
OWN = 200  # stamps that are kept: four seconds of them
# A message begins with four bytes that say how it is written, and the stamp of its header.
STAMP = struct.Struct("<4xiI")


class RivalBridge:
    """Listens to `control_state` while it has another publisher. Belongs to the spinning thread, but for `own`.

    Attributes:
        own: Stamps of what this bridge said [ns]; any thread appends.
    """

    def __init__(self, node: DefiNode) -> None:
        """Does not listen yet."""
        self._node = node
        self._ears: Any = None
        self._heard_s: float | None = None
        self.own: deque[int] = deque(maxlen=OWN)
        node.own(self._stop_listening)

    def look(self) -> str | None:
        """Why two command the arm, or None. A few times a second."""
        if self._node.count_publishers(TOPIC) < 2:
            self._stop_listening()
            return None
        if self._ears is None:
            on_state: Any = self._on_state  # rclpy's types know of no bytes
            self._ears = self._node.create_subscription(ControlState, TOPIC, on_state, qos.STREAM, raw=True)
        if self._heard_s is None or time.monotonic() - self._heard_s > LATELY_S:
            return None
        return (
            "arm bridge: got control_state from another arm bridge too, expected to be the only one; stop one of them"
        )

    def _on_state(self, raw: bytes) -> None:
        seconds, nanoseconds = STAMP.unpack_from(raw)
        if seconds * NS_PER_S + nanoseconds not in self.own:
            self._heard_s = time.monotonic()

    def _stop_listening(self) -> None:
        if self._ears is not None:
            self._node.destroy_subscription(self._ears)
            self._ears = self._heard_s = None
