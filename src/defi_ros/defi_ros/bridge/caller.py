"""Asks other nodes' services and actions and waits for the answer, from a thread that spins nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from action_msgs.msg import GoalStatus
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import Empty

from defi_models.contract import DefiError
from defi_ros.bridge import qos
from defi_ros.bridge.action_client import ActionClient

SLICE_S = 0.02


class CallError(DefiError):
    """A service or an action is not there, refused, failed, or did not answer in time."""


class Caller:
    """A node of its own for one thread that may wait; use it as a context manager.

    Args:
        beside: The node on whose behalf it asks: its context and namespace are used.
        stopping: Waiting ends early when this is set.
    """

    def __init__(self, beside: Node, stopping: threading.Event) -> None:
        self._node = Node(
            f"_{beside.get_name()}_calling",
            context=beside.context,
            namespace=beside.get_namespace(),
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._executor = SingleThreadedExecutor(context=beside.context)
        self._executor.add_node(self._node)
        self._stopping = stopping

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._node.destroy_node()

    def service(self, service_type: Any, name: str, request: Any, timeout_s: float) -> Any:
        """The answer of a service.

        Raises:
            CallError: it is not there, or does not answer within `timeout_s` [s].
        """
        deadline_s = time.monotonic() + timeout_s
        client = self._node.create_client(service_type, name)
        try:
            self._until(client.service_is_ready, deadline_s, f"{name}: got no such service for {timeout_s:g} s")
            future = client.call_async(request)
            self._until(future.done, deadline_s, f"{name}: got no answer for {timeout_s:g} s")
            return future.result()
        finally:
            self._node.destroy_client(client)

    def action(self, action_type: Any, name: str, goal: Any, timeout_s: float) -> Any:
        """The result of a goal that succeeded.

        Raises:
            CallError: there is no server, it rejects or aborts the goal, or does not end within `timeout_s` [s].
        """
        deadline_s = time.monotonic() + timeout_s
        client: Any = ActionClient(self._node, action_type, name)
        try:
            self._until(client.server_is_ready, deadline_s, f"{name}: got no such action for {timeout_s:g} s")
            sent = client.send_goal_async(goal)
            self._until(sent.done, deadline_s, f"{name}: got no answer for {timeout_s:g} s")
            handle = sent.result()
            if not handle.accepted:
                raise CallError(f"{name}: the goal was rejected, expected it to be accepted")
            ended = handle.get_result_async()
            self._until(ended.done, deadline_s, f"{name}: not over after {timeout_s:g} s")
            outcome = ended.result()
        finally:
            client.destroy()
        if outcome.status != GoalStatus.STATUS_SUCCEEDED:
            raise CallError(f"{name}: the goal ended with status {outcome.status}, expected 4 (succeeded)")
        return outcome.result

    def wait_alive(self, name: str, timeout_s: float) -> None:
        """Waits until the process lives that keeps `<name>/alive`.

        Raises:
            CallError: it was not seen for `timeout_s` [s].
        """
        alive: list[bool] = []
        callbacks = SubscriptionEventCallbacks(
            liveliness=lambda event: alive.append(True) if event.alive_count > 0 else None, use_default_callbacks=False
        )
        subscription = self._node.create_subscription(
            Empty, f"{name}/alive", lambda _: None, qos.ALIVE, event_callbacks=callbacks
        )
        try:
            self._until(lambda: bool(alive), time.monotonic() + timeout_s, f"{name}: not seen for {timeout_s:g} s")
        finally:
            self._node.destroy_subscription(subscription)

    def _until(self, condition: Callable[[], bool], deadline_s: float, otherwise: str) -> None:
        while not condition():
            if self._stopping.is_set():
                raise CallError(f"{otherwise}: stopped waiting because the node ends")
            if time.monotonic() > deadline_s:
                raise CallError(otherwise)
            self._executor.spin_once(timeout_sec=SLICE_S)
