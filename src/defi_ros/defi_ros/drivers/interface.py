"""What every driver does, for arms and for grippers; `test/defi_ros/drivers` holds the suites that all must pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, runtime_checkable

from rclpy.qos import QoSProfile

from defi_models.contract import DefiError, FloatArray
from defi_ros.bridge.caller import Caller
from defi_ros.control.command import Alone

STOP_GUARD = "stop_guard_node"  # the one other node that may publish on a command topic: zeros, when we are silent


class DriverError(DefiError):
    """A driver cannot be made or made ready, or another node already commands its controller."""


class Speaker(Protocol):
    """The part of a node that drivers need: gated publishers, subscriptions, and the graph."""

    def say(self, topic: str, message_type: type, profile: QoSProfile) -> Any:
        """A publisher that is silent while the node is inactive."""
        ...

    def hear(
        self, topic: str, message_type: type, callback: Callable[[Any], None], profile: QoSProfile, *, raw: bool = False
    ) -> Any:
        """A subscription; with `raw` its callback gets bytes."""
        ...

    def watch(self, topic: str, changed: Callable[[bool], None]) -> None:
        """Tells when the process that keeps a topic of profile `ALIVE` appears or dies."""
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


class KinematicsLike(Protocol):
    """The part of `defi_ros.control.kinematics.Kinematics` that drivers need."""

    def forward(self, q: FloatArray) -> FloatArray:
        """Pose of the tool centre point in the base frame, shape (7,), for joints, shape (joints,) [rad]."""
        ...

    def jacobian(self, q: FloatArray) -> FloatArray:
        """Twist of the tool centre point in axes of the base frame per joint velocity, shape (6, joints)."""
        ...


@runtime_checkable
class ArmDriver(Protocol):
    """Sends joint set points to one controller. `send` and `stop` belong to the thread of the control loop."""

    @property
    def topics(self) -> tuple[str, ...]:
        """The command topics, fully resolved, the main one first."""
        ...

    @property
    def companions(self) -> tuple[str, ...]:
        """Names of the other nodes that may publish there."""
        ...

    def prepare(self, call: Caller, timeout_s: float) -> None:
        """Makes the controller listen, before the first command and after a recovery; waits.

        Raises:
            DriverError: it cannot be made to listen.
        """
        ...

    def poll(self) -> str | None:
        """What keeps the controller from following, or None. Spinning thread, a few times a second; does not wait."""
        ...

    def send(self, positions: FloatArray, velocities: FloatArray, measured: FloatArray | None, time_ns: int) -> None:
        """The arm shall be at `positions` [rad] moving at `velocities` [rad/s] at `time_ns` [ns]; it is at `measured` [rad].

        All arrays have shape (joints,). Zero velocities mean: stay there. Where the arm is not known, or must not be led
        anywhere, `measured` is None.
        """
        ...

    def alone(self, time_ns: int) -> Alone:
        """What its controller does at `time_ns` [ns], having heard nothing since the last command."""
        ...

    def let_go(self, time_ns: int) -> None:
        """Nothing is commanded from now on, or what comes does not go on from what was: says what ends that motion."""
        ...

    def stop(self, positions: FloatArray, time_ns: int) -> None:
        """The last command of a session: rest at `positions`, shape (joints,) [rad]."""
        ...


class TopicDriver:
    """What arm drivers that publish on topics share; `send` is theirs."""

    companions: tuple[str, ...] = ()

    def __init__(self, *publishers: Any) -> None:
        """Takes the publishers, the main one first."""
        self._publishers = publishers

    @property
    def topics(self) -> tuple[str, ...]:
        """See `ArmDriver.topics`."""
        return tuple(publisher.topic_name for publisher in self._publishers)

    def prepare(self, call: Caller, timeout_s: float) -> None:
        """See `ArmDriver.prepare`; these controllers listen as soon as they are active."""

    def poll(self) -> str | None:
        """See `ArmDriver.poll`."""
        return None

    def send(self, positions: FloatArray, velocities: FloatArray, measured: FloatArray | None, time_ns: int) -> None:
        """See `ArmDriver.send`."""
        raise NotImplementedError

    def alone(self, time_ns: int) -> Alone:
        """See `ArmDriver.alone`."""
        del time_ns
        return Alone.HOLDS

    def let_go(self, time_ns: int) -> None:
        """See `ArmDriver.let_go`; these controllers come to rest by themselves."""

    def stop(self, positions: FloatArray, time_ns: int) -> None:
        """See `ArmDriver.stop`."""
        self.send(positions, 0.0 * positions, positions, time_ns)


@runtime_checkable
class GripperDriver(Protocol):
    """Sends openings to a gripper. Belongs to the thread that spins the node; nothing here waits."""

    @property
    def topics(self) -> tuple[str, ...]:
        """The command topics, fully resolved; none where the gripper has an action."""
        ...

    def command(self, opening: float) -> None:
        """Starts to move to `opening`, 0 closed .. 1 open; replaces what was commanded before."""
        ...

    def stop(self) -> None:
        """Forgets what waits and stops the fingers where they are; what they hold already, they go on holding.

        The next `command` ends it. Until then `poll` sends nothing but what stops a motion that was under way.
        """
        ...

    def poll(self) -> str | None:
        """Sends what waits for the gripper, and says what is wrong, or None. Call it a few times a second."""
        ...

    def destroy(self) -> None:
        """Lets go of clients."""
        ...


def check_sole_publisher(node: Speaker, topics: Iterable[str], companions: Iterable[str] = ()) -> None:
    """Refuses command topics that somebody else publishes already, other than nodes named in `companions`.

    Raises:
        DriverError: names the other nodes; two commanders fight over the arm.
    """
    own = {(name, node.get_namespace()) for name in (node.get_name(), *companions)}
    for topic in topics:
        others = {
            info.node_namespace.rstrip("/") + "/" + info.node_name
            for info in node.get_publishers_info_by_topic(topic)
            if (info.node_name, info.node_namespace) not in own  # one's own earlier life may be remembered for a while
        }
        if others:
            raise DriverError(
                f"{node.get_name()}: got another publisher on {topic}: {', '.join(sorted(others))}; expected to be the "
                "only one. Stop that node before this one may command the arm."
            )
