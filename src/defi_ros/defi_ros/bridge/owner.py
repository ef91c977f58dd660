"""What a node owns and lets go of: publishers, subscriptions, services, timers and threads; knows no lifecycle state.

Everything made here is released in reverse order when the owner says so; threads are stopped and joined first.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import Empty

from defi_ros.bridge import qos
from defi_ros.bridge.worker import Worker

WORKER_JOIN_S = 0.4  # leaves time for the rest of a shutdown, which must be over within 1 s
LISTEN_SLICE_S = 0.05  # how long a signal may go unnoticed while a node waits to hear something


class OwningNode(LifecycleNode):
    """A lifecycle node that can release all it made.

    Attributes:
        stopping: Set when the node is asked to end; whoever waits, looks at it.
    """

    def __init__(self, name: str, **options: Any) -> None:
        """Owns nothing yet; `options` are those of `rclpy.lifecycle.LifecycleNode`."""
        super().__init__(name, **options)
        self.stopping = threading.Event()
        self._workers: list[Worker] = []
        self._owned: list[Callable[[], object]] = []

    def say(self, topic: str, message_type: type, profile: QoSProfile) -> Any:
        """A publisher that is silent while the node is inactive."""
        publisher = self.create_lifecycle_publisher(message_type, topic, profile)
        self._owned.append(lambda: self.destroy_lifecycle_publisher(publisher))
        return publisher

    def hear(
        self, topic: str, message_type: type, callback: Callable[[Any], None], profile: QoSProfile, *, raw: bool = False
    ) -> Any:
        """A subscription; `callback` copies in and returns. With `raw` it gets the bytes, for what comes too often."""
        subscription = self.create_subscription(message_type, topic, callback, profile, raw=raw)
        self._owned.append(lambda: self.destroy_subscription(subscription))
        return subscription

    def keep_alive(self, name: str) -> Callable[[], object]:
        """Lets others see by `watch` on `<name>/alive` that this process lives, until what is returned is called.

        Nothing is ever sent there.
        """
        publisher = Node.create_publisher(self, Empty, f"{name}/alive", qos.ALIVE)
        self._owned.append(lambda: self.destroy_publisher(publisher))
        return lambda: self.destroy_publisher(publisher)

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
        worker = Worker(name, body, self.on_worker_failure)
        self._workers.append(worker)
        worker.start()
        return worker

    def on_worker_failure(self, name: str, error: Exception) -> None:
        """Called in the thread whose body raised."""
        raise NotImplementedError

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
                executor.spin_once(timeout_sec=LISTEN_SLICE_S)
        finally:
            executor.shutdown()
            listener.destroy_node()
        return heard[0] if heard else None

    def stop_workers(self) -> None:
        """Asks every thread to end and waits for it, within bounds."""
        for worker in self._workers:
            if not worker.stop(WORKER_JOIN_S):
                self.get_logger().warning(
                    f"thread {worker.name!r} still ran {WORKER_JOIN_S} s after it was asked to stop"
                )
        self._workers = [worker for worker in self._workers if worker.running]

    def release(self) -> None:
        """Lets go of all that is owned, in reverse order."""
        for release in reversed(self._owned):
            release()
        self._owned.clear()

    @property
    def stuck(self) -> bool:
        """Whether a worker did not end when asked to."""
        return any(worker.running for worker in self._workers)
