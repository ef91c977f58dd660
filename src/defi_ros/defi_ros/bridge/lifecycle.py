"""The life of a node: configure, activate, be diagnosed, end with the safe action last; knows nothing of what it does.

A node derives from `DefiNode`, fills in the hooks `configure`, `activate`, `deactivate`, `cleanup`, and its module ends
with `def main(): raise SystemExit(run(ThatNode))`. What can fail fails in `configure`, by raising a `DefiError`.
"""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Callable
from typing import Any, ClassVar

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from std_msgs.msg import String

from defi_models.contract import DefiError
from defi_ros.bridge import qos
from defi_ros.bridge.health import Health
from defi_ros.bridge.owner import OwningNode
from defi_ros.bridge.params import robot_of
from defi_ros.bridge.process import make_executor, run
from defi_ros.robot import RobotFile

__all__ = ["DefiNode", "NodeError", "make_executor", "run"]

DIAGNOSTICS_PERIOD_S = 1.0
LOG_PERIOD_S = 0.1
TROUBLE_PERIOD_S = 0.05  # an arm without chunks is at rest after 0.3 s at the soonest
START_TIMEOUT_S = 15.0  # a simulation with rendering starts in about 3 s, on a busy machine in 8 s


class NodeError(DefiError):
    """A node cannot be configured or activated, for a reason in the graph around it."""


class DefiNode(OwningNode):
    """A lifecycle node that owns its threads and says how it fares.

    Hooks run in the thread that spins the node (or the main thread while it comes up) and may wait, with a timeout,
    in `configure` only. Everything made by `say`, `hear`, `offer`, `every` and `start_worker` is owned by the node:
    workers end at deactivation, the rest at cleanup.

    Args:
        context: The ROS context; None is the default one.
        namespace: Namespace of all its relative names.
        parameters: Parameter name -> value, as a launch file would give them.
    """

    NAME: ClassVar[str] = "defi_node"
    SECTIONS: ClassVar[tuple[str, ...]] = ()  # of the robot file, whose values `robot_file` shows as parameters
    PRIORITY_OF: ClassVar[str] = ""  # whose value of `nodes.nice` applies; empty: NAME's

    def __init__(
        self, *, context: Context | None = None, namespace: str | None = None, parameters: dict[str, Any] | None = None
    ):
        overrides = [Parameter(name, value=value) for name, value in (parameters or {}).items()]
        super().__init__(self.NAME, context=context, namespace=namespace, parameter_overrides=overrides)
        self.failure: str | None = None
        self.owns_process = False
        self.health = Health(self.get_name())
        self._state = "unconfigured"
        self._diagnostics = Node.create_publisher(self, DiagnosticArray, "/diagnostics", qos.EVENTS)
        self.declare_parameter("autostart", True)
        self.declare_parameter("robot", "")
        self.declare_parameter("start_timeout_s", START_TIMEOUT_S)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self.publish_diagnostics)
        self.create_timer(LOG_PERIOD_S, self.log_news)

    # Hooks -----------------------------------------------------------------------------------------------------------

    def configure(self) -> None:
        """Reads parameters, loads and connects; raises `DefiError` with the one clear message when it cannot."""

    def activate(self) -> None:
        """Starts work; publishers speak from here on. Raises `DefiError` to refuse."""

    def deactivate(self) -> None:
        """Ends work; the last thing it says is the safe one. Publishers still speak here. Must not raise."""

    def cleanup(self) -> None:
        """Lets go of what `configure` made beyond publishers, subscriptions, services and timers. Must not raise."""

    def describe(self) -> None:
        """Called before each diagnostics message, to bring `self.health` up to date."""

    def robot_file(self) -> RobotFile:
        """The robot file, with single values overridden by ROS parameters; gives this process its priority.

        Raises:
            ConfigError: see `defi_ros.bridge.params.robot_of`.
        """
        robot = robot_of(self, self.SECTIONS)
        if self.owns_process:
            nice = getattr(robot.nodes.nice, self.PRIORITY_OF or self.NAME, 0)
            with contextlib.suppress(OSError):  # a negative value needs a privilege that is seldom there
                os.setpriority(os.PRIO_PROCESS, 0, nice)  # threads started from here on inherit it
        return robot

    @property
    def start_timeout_s(self) -> float:
        """How long `configure` may wait for what other nodes say [s]: the parameter of that name."""
        return float(self.get_parameter("start_timeout_s").value or START_TIMEOUT_S)

    def now_ns(self) -> int:
        """The ROS clock [ns]; any thread."""
        return self.get_clock().now().nanoseconds

    @property
    def state(self) -> str:
        """The lifecycle state in one word; "failed" after a failure."""
        return "failed" if self.failure else self._state

    @property
    def is_active(self) -> bool:
        """Whether the lifecycle state is active, failed or not."""
        return self._state == "active"

    def wait_to_hear(self, topic: str, message_type: type, profile: QoSProfile, **until: Any) -> Any | None:
        """See `OwningNode.wait_to_hear`; shows what is waited for."""
        self.health.set(mode=f"waits for {topic}")
        try:
            return super().wait_to_hear(topic, message_type, profile, **until)
        finally:
            self.health.set(mode="")

    def tell_troubles(self, name: str) -> None:
        """Says on the latched `<name>/trouble` what keeps this node from its work, whenever it changes; empty: nothing.

        Diagnostics say the same once a second, to people; this is for the one node that must act at once and say why.
        """
        publisher = self.say(f"{name}/trouble", String, qos.LATCHED)
        told: list[str | None] = [None]

        def tell() -> None:
            troubles = self.health.troubles
            if self.is_active and troubles != told[0]:
                told[0] = troubles
                publisher.publish(String(data=troubles))

        self.every(TROUBLE_PERIOD_S, tell)

    # Failure and diagnostics -----------------------------------------------------------------------------------------

    def fail(self, reason: str) -> None:
        """The node cannot go on: says why and asks `run` to stop it, the safe action last. Any thread."""
        if self.failure is None:
            self.failure = reason
            self.get_logger().error(reason)
        self.stopping.set()

    def on_worker_failure(self, name: str, error: Exception) -> None:
        """The node fails with its thread."""
        if not isinstance(error, DefiError):
            self.get_logger().error("".join(traceback.format_exception(error)))
        self.fail(f"{self.get_name()}: its thread {name!r} failed: {type(error).__name__}: {error}")

    def log_news(self) -> None:
        """Logs the troubles that began or ended. In the spinning thread: a line costs up to 40 ms the first time."""
        for severe, text in self.health.take_news():
            if severe:  # on lines of their own: rclpy tells its loggers' calls apart by line and refuses two severities
                self.get_logger().warning(text)
            else:
                self.get_logger().info(text)

    def publish_diagnostics(self) -> None:
        """Says on /diagnostics how the node fares; once a second, and at every change of state."""
        self.describe()
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        status = self.health.status(self.state)
        if self.failure:
            status.message = self.failure
        message.status = [status]
        self._diagnostics.publish(message)

    # Transitions (rclpy calls these) ---------------------------------------------------------------------------------

    def _try(self, hook: Callable[[], None]) -> bool:
        """Whether the hook returned; what it raised is logged, and the first such is the node's failure."""
        try:
            hook()
        except DefiError as error:
            reason = str(error)
        except Exception as error:  # rclpy would swallow it without a word
            self.get_logger().error(traceback.format_exc())
            reason = f"{type(error).__name__}: {error}"
        else:
            return True
        self.get_logger().error(reason)
        self.failure = self.failure or reason
        return False

    def _enter(self, state: str) -> bool:
        """Takes the state and says so; False when `describe` could not."""
        self._state = state
        self.log_news()
        return self._try(self.publish_diagnostics)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Runs `configure`; a failure leaves the node unconfigured with everything released."""
        self.failure = None
        if self._enter("configuring") and self._try(self.configure) and self._enter("inactive"):
            return TransitionCallbackReturn.SUCCESS
        self.release()
        self._enter("unconfigured")
        return TransitionCallbackReturn.FAILURE

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Opens the publishers and runs `activate`; a failure leaves the node inactive and silent."""
        self.failure = None
        super().on_activate(state)
        if self._try(self.activate) and self._enter("active"):
            return TransitionCallbackReturn.SUCCESS
        if self._state == "active":  # only `describe` failed: what was begun ends with the safe action
            self._try(self.deactivate)
        self.stop_workers()
        super().on_deactivate(state)
        self._enter("inactive")
        return TransitionCallbackReturn.FAILURE

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Runs `deactivate`, ends the workers, and only then silences the publishers."""
        done = self._try(self.deactivate)
        self.stop_workers()
        super().on_deactivate(state)
        done = self._enter("inactive") and done
        return TransitionCallbackReturn.SUCCESS if done else TransitionCallbackReturn.FAILURE

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Runs `cleanup` and releases what the node owns."""
        done = self._try(self.cleanup)
        self.release()
        done = self._enter("unconfigured") and done
        return TransitionCallbackReturn.SUCCESS if done else TransitionCallbackReturn.FAILURE

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Ends from any state."""
        if self._state == "active":
            self.on_deactivate(state)
        if self._state == "inactive":
            self.on_cleanup(state)
        self._enter("finalized")
        return TransitionCallbackReturn.SUCCESS

    # Coming up and going down ----------------------------------------------------------------------------------------

    def bring_up(self) -> bool:
        """Configures and activates; False when one failed, with the reason in `failure`."""
        for trigger in (self.trigger_configure, self.trigger_activate):
            if trigger() != TransitionCallbackReturn.SUCCESS:
                return False
        for timer in self.timers:  # what came due meanwhile would fire at once, and then be silent for as long
            timer.reset()
        return True

    def shut_down(self) -> None:
        """Deactivates and cleans up, from whatever state it is in."""
        if self._state != "finalized":
            self.trigger_shutdown()
