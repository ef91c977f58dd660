"""The life of a node: configure, activate, be diagnosed, end with the safe action last; knows nothing of what it does.

A node derives from `DefiNode`, fills in the hooks `configure`, `activate`, `deactivate`, `cleanup`, and its module ends
with `def main(): raise SystemExit(run(ThatNode))`. What can fail fails in `configure`, by raising a `DefiError`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import Empty

from defi_models.contract import DefiError
from defi_ros.bridge import qos
from defi_ros.bridge.health import Health
from defi_ros.bridge.params import robot_of
from defi_ros.bridge.worker import Worker
from defi_ros.robot import RobotFile

DIAGNOSTICS_PERIOD_S = 1.0
WORKER_JOIN_S = 0.4  # leaves time for the rest of a shutdown, which must be over within 1 s
SPIN_SLICE_S = 0.05  # how long a signal may go unnoticed
START_TIMEOUT_S = 15.0  # a simulation with rendering starts in about 3 s, on a busy machine in 8 s
LAST_WORDS = 10  # callbacks that may still run after deactivation: answers to those who wait for one
EXIT_CONFIGURE_FAILED = 2
EXIT_FAILED = 1


class NodeError(DefiError):
    """A node cannot be configured or activated, for a reason in the graph around it."""


class DefiNode(LifecycleNode):
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
        self.stopping = threading.Event()
        self.owns_process = False
        self.health = Health(self.get_name(), self._log_trouble)
        self._state = "unconfigured"
        self._workers: list[Worker] = []
        self._owned: list[Callable[[], object]] = []
        self._diagnostics = Node.create_publisher(self, DiagnosticArray, "/diagnostics", qos.EVENTS)
        self.declare_parameter("autostart", True)
        self.declare_parameter("robot", "")
        self.declare_parameter("start_timeout_s", START_TIMEOUT_S)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self.publish_diagnostics)

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

    # What a node owns ------------------------------------------------------------------------------------------------

    def say(self, topic: str, message_type: type, profile: QoSProfile) -> Any:
        """A publisher that is silent while the node is inactive."""
        publisher = self.create_lifecycle_publisher(message_type, topic, profile)
        self._owned.append(lambda: self.destroy_lifecycle_publisher(publisher))
        return publisher

    def hear(self, topic: str, message_type: type, callback: Callable[[Any], None], profile: QoSProfile) -> Any:
        """A subscription; `callback` copies in and returns."""
        subscription = self.create_subscription(message_type, topic, callback, profile)
        self._owned.append(lambda: self.destroy_subscription(subscription))
        return subscription

    def keep_alive(self) -> None:
        """Lets others see by `watch` on `<name>/alive` that this process lives; nothing is ever sent there."""
        publisher = Node.create_publisher(self, Empty, f"{self.NAME}/alive", qos.ALIVE)
        self._owned.append(lambda: self.destroy_publisher(publisher))

    def watch(self, topic: str, changed: Callable[[bool], None]) -> None:
        """Calls `changed(False)` when the process that keeps a topic of profile `ALIVE` has died, `changed(True)` when alive."""

        def on_event(event: Any) -> None:
            changed(event.alive_count > 0)

        callbacks = SubscriptionEventCallbacks(liveliness=on_event, use_default_callbacks=False)
        subscription = self.create_subscription(Empty, topic, lambda _: None, qos.ALIVE, event_callbacks=callbacks)
        self._owned.append(lambda: self.destroy_subscription(subscription))

    def offer(self, name: str, service_type: type, callback: Callable[[Any, Any], Any]) -> Any:
        """A service."""
        service = self.create_service(service_type, name, callback)
        self._owned.append(lambda: self.destroy_service(service))
        return service

    def every(self, period_s: float, callback: Callable[[], None]) -> Any:
        """A timer; `callback` runs in the spinning thread also while the node is inactive."""
        timer = self.create_timer(period_s, callback)
        self._owned.append(lambda: self.destroy_timer(timer))
        return timer

    def own(self, release: Callable[[], object]) -> None:
        """Calls `release` at cleanup, in reverse order of owning."""
        self._owned.append(release)

    def start_worker(self, name: str, body: Callable[[threading.Event], None]) -> Worker:
        """Starts a thread that ends with the node's activity; when its body raises, the whole node fails and stops."""
        worker = Worker(name, body, self._worker_failed)
        self._workers.append(worker)
        worker.start()
        return worker

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

    def wait_to_hear(
        self,
        topic: str,
        message_type: type,
        profile: QoSProfile,
        *,
        timeout_s: float,
        enough: Callable[[Any], bool] | None = None,
    ) -> Any | None:
        """The first message on `topic` for which `enough` holds, or None after `timeout_s` or when asked to stop.

        For `configure` only. Listens through a node of its own, so that it works whoever spins this one.
        """
        heard: list[Any] = []

        def keep(message: Any) -> None:
            if not heard and (enough is None or enough(message)):
                heard.append(message)

        listener = Node(
            f"_{self.get_name()}_configuring",
            context=self.context,
            namespace=self.get_namespace(),
            enable_rosout=False,
            start_parameter_services=False,
        )
        executor = SingleThreadedExecutor(context=self.context)
        executor.add_node(listener)
        try:
            listener.create_subscription(message_type, topic, keep, profile)
            deadline_s = time.monotonic() + timeout_s
            while not heard and time.monotonic() < deadline_s and not self.stopping.is_set():
                executor.spin_once(timeout_sec=SPIN_SLICE_S)
        finally:
            executor.shutdown()
            listener.destroy_node()
        return heard[0] if heard else None

    # Failure and diagnostics -----------------------------------------------------------------------------------------

    def fail(self, reason: str) -> None:
        """The node cannot go on: says why and asks `run` to stop it, the safe action last. Any thread."""
        if self.failure is None:
            self.failure = reason
            self.get_logger().error(reason)
        self.stopping.set()

    def _worker_failed(self, name: str, error: Exception) -> None:
        if not isinstance(error, DefiError):
            self.get_logger().error("".join(traceback.format_exception(error)))
        self.fail(f"{self.get_name()}: its thread {name!r} failed: {type(error).__name__}: {error}")

    def _log_trouble(self, severe: bool, text: str) -> None:
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

    def _try(self, hook: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            hook()
        except DefiError as error:
            self.failure = str(error)
        except Exception as error:  # rclpy would swallow it without a word
            self.get_logger().error(traceback.format_exc())
            self.failure = f"{type(error).__name__}: {error}"
        else:
            return TransitionCallbackReturn.SUCCESS
        self.get_logger().error(self.failure)
        return TransitionCallbackReturn.FAILURE

    def _enter(self, state: str) -> None:
        self._state = state
        self.publish_diagnostics()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Runs `configure`; a failure leaves the node unconfigured with everything released."""
        self.failure = None
        self._enter("configuring")
        result = self._try(self.configure)
        if result != TransitionCallbackReturn.SUCCESS:
            self._release()
        self._enter("inactive" if result == TransitionCallbackReturn.SUCCESS else "unconfigured")
        return result

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Opens the publishers and runs `activate`; a failure leaves the node inactive and silent."""
        self.failure = None
        super().on_activate(state)
        result = self._try(self.activate)
        if result != TransitionCallbackReturn.SUCCESS:
            self._stop_workers()
            super().on_deactivate(state)
        self._enter("active" if result == TransitionCallbackReturn.SUCCESS else "inactive")
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Runs `deactivate`, ends the workers, and only then silences the publishers."""
        result = self._try(self.deactivate)
        self._stop_workers()
        super().on_deactivate(state)
        self._enter("inactive")
        return result

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Runs `cleanup` and releases what the node owns."""
        result = self._try(self.cleanup)
        self._release()
        self._enter("unconfigured")
        return result

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Ends from any state."""
        if self._state == "active":
            self.on_deactivate(state)
        if self._state == "inactive":
            self.on_cleanup(state)
        self._enter("finalized")
        return TransitionCallbackReturn.SUCCESS

    def _stop_workers(self) -> None:
        for worker in self._workers:
            if not worker.stop(WORKER_JOIN_S):
                self.get_logger().warning(
                    f"thread {worker.name!r} still ran {WORKER_JOIN_S} s after it was asked to stop"
                )
        self._workers = [worker for worker in self._workers if worker.running]

    def _release(self) -> None:
        for release in reversed(self._owned):
            release()
        self._owned.clear()

    @property
    def stuck(self) -> bool:
        """Whether a worker did not end when asked to."""
        return any(worker.running for worker in self._workers)

    # Coming up and going down ----------------------------------------------------------------------------------------

    def bring_up(self) -> bool:
        """Configures and activates; False when one failed, with the reason in `failure`."""
        for trigger in (self.trigger_configure, self.trigger_activate):
            if trigger() != TransitionCallbackReturn.SUCCESS:
                return False
        return True

    def shut_down(self) -> None:
        """Deactivates and cleans up, from whatever state it is in."""
        if self._state != "finalized":
            self.trigger_shutdown()


def make_executor(context: Context) -> Any:
    """The events executor where rclpy has it (a fraction of the CPU), else the single-threaded one."""
    try:
        from rclpy.experimental import EventsExecutor  # noqa: PLC0415  not in every distribution
    except ImportError:
        return SingleThreadedExecutor(context=context)
    return EventsExecutor(context=context)


def _spin(node: DefiNode, executor: Any) -> None:
    while not node.stopping.is_set() and node.context.ok():
        executor.spin_once(timeout_sec=SPIN_SLICE_S)


def run(node_class: Callable[..., DefiNode], args: Sequence[str] | None = None) -> int:
    """Runs one node until SIGINT, SIGTERM or its failure; returns the process' exit code.

    0 after a signal, 1 when it failed at work, 2 when it could not be configured or activated; then its one clear
    message is the last line on stderr. Call it from the main thread.
    """
    context = Context()
    rclpy.init(
        args=list(args) if args is not None else sys.argv,
        context=context,
        signal_handler_options=SignalHandlerOptions.NO,
    )
    node = node_class(context=context)
    node.owns_process = True
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: node.stopping.set())
    executor = make_executor(context)
    executor.add_node(node)
    code = 0
    try:
        if node.get_parameter("autostart").value and not node.bring_up() and not node.stopping.is_set():
            code = EXIT_CONFIGURE_FAILED
        else:
            _spin(node, executor)
            code = EXIT_FAILED if node.failure and node.stopping.is_set() else 0
    except ExternalShutdownException:
        code = 0
    except Exception as error:
        node.get_logger().error(traceback.format_exc())
        node.failure = f"{node.get_name()} failed: {type(error).__name__}: {error}"
        code = EXIT_FAILED
    finally:
        failure, stuck = node.failure, False
        try:
            if node.state == "active":
                node.trigger_deactivate()
                for _ in range(LAST_WORDS):
                    executor.spin_once(timeout_sec=0.0)
            node.shut_down()
            stuck = node.stuck
        finally:
            node.destroy_node()
            context.try_shutdown()
    if code and failure:
        sys.stderr.write(f"{failure}\n")
    if stuck:  # foreign code still runs in a thread: an orderly interpreter exit would wait for it or crash on it
        sys.stderr.flush()
        os._exit(code)
    return code
