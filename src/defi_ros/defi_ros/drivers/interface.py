"""What every driver does, for arms and for grippers; `test/defi_ros/drivers` holds the suites that all must pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from rclpy.qos import QoSProfile

from defi_models.contract import DefiError, FloatArray


class DriverError(DefiError):
    """A driver cannot be made, or another node already commands its controller."""


class Speaker(Protocol):
    """The part of a node that drivers need: gated publishers, and the graph."""

    def say(self, topic: str, message_type: type, profile: QoSProfile) -> Any:
        """A publisher that is silent while the node is inactive."""
        ...

    def own(self, release: Callable[[], object]) -> None:
        """Calls `release` when the node lets go of what it made."""
        ...

    def get_publishers_info_by_topic(self, topic_name: str, no_mangle: bool = False) -> list[Any]:
        """The publishers of a topic."""
        ...

    def get_name(self) -> str:
        """The node's name."""
        ...

    def get_namespace(self) -> str:
        """The node's namespace."""
        ...


@runtime_checkable
class ArmDriver(Protocol):
    """Sends joint set points to one controller. `send` belongs to the thread of the control loop."""

    @property
    def topic(self) -> str:
        """The command topic, fully resolved."""
        ...

    def send(self, positions: FloatArray, velocities: FloatArray, time_ns: int) -> None:
        """The arm shall be at `positions` [rad] moving at `velocities` [rad/s], each (joints,), at `time_ns` [ns].

        Zero velocities mean: stay there. The last call of a session has them.
        """
        ...


@runtime_checkable
class GripperDriver(Protocol):
    """Sends openings to a gripper's action. Belongs to the thread that spins the node; nothing here waits."""

    def command(self, opening: float) -> None:
        """Starts to move to `opening`, 0 closed .. 1 open; replaces what was commanded before."""
        ...

    def poll(self) -> str | None:
        """Sends what waits for the action server, and says what is wrong, or None. Call it a few times a second."""
        ...

    def destroy(self) -> None:
        """Lets go of the action client."""
        ...


def check_sole_publisher(node: Speaker, topic: str) -> None:
    """Refuses a command topic that somebody else publishes already.

    Raises:
        DriverError: names the other node; two commanders fight over the arm.
    """
    own = (node.get_name(), node.get_namespace())
    others = {
        info.node_namespace.rstrip("/") + "/" + info.node_name
        for info in node.get_publishers_info_by_topic(topic)
        if (info.node_name, info.node_namespace) != own  # one's own earlier life may be remembered for a while
    }
    if others:
        raise DriverError(
            f"{own[0]}: got another publisher on {topic}: {', '.join(sorted(others))}; expected to be the only one. "
            "Stop that node before this one may command the arm."
        )
