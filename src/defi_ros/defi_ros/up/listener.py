"""The ears and the voice of `defi up` in the ROS graph: hears how nodes fare, asks for tasks and resets.

Owns one ROS node and the one thread that spins it. The main thread asks for snapshots and polls futures; nothing
here waits for an answer.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import rclpy
from action_msgs.msg import GoalStatus
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.context import Context
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from rclpy.utilities import get_rmw_implementation_identifier
from unique_identifier_msgs.msg import UUID

from defi_msgs.action import RunTask
from defi_msgs.msg import ActionChunk, ControlState
from defi_msgs.srv import ResetSim
from defi_ros.bridge import qos
from defi_ros.bridge.action_client import ActionClient
from defi_ros.bridge.lifecycle import make_executor
from defi_ros.control.authority import Mode
from defi_ros.up.other_goals import OtherGoals
from defi_ros.up.report import BridgeFigures
from defi_ros.up.status import NodeStatus, node_status

SILENT_AFTER_S = 3.0  # three diagnostics missed
SILENT = f"nothing heard of it for {SILENT_AFTER_S:.0f} s; it waits for the CPU, or hangs"
HANGS_AFTER_S = 10.0  # a node that worked speaks every second, whatever it computes
SPIN_SLICE_S = 0.1
HELD_WITHIN_RAD = 0.11  # the bridge takes over where the arm is when it is more than control.reanchor_rad = 0.1 away
JOIN_S = 0.5
DISTRIBUTIONS = {"7": "jazzy", "9": "kilted"}  # major version of rclpy -> ROS distribution, REP 2000
ChunkHeard = Callable[[float, float, float], None]


class GraphListener:
    """What is known of a running graph. Made and closed in the main thread."""

    def __init__(
        self, nodes: Sequence[str], namespace: str, chunk_heard: ChunkHeard, pid: Callable[[str], int | None]
    ) -> None:
        """Joins the graph.

        Args:
            nodes: The lifecycle nodes to watch.
            namespace: Their namespace; empty for none.
            chunk_heard: Called in the spinning thread with the arguments of `Report.add_chunk`.
            pid: Process id of a watched node; what another process of that name says is not heard.
        """
        self._lock = threading.Lock()
        self._heard: dict[str, tuple[float, NodeStatus]] = {}
        self._watched = tuple(nodes)
        self._control: ControlState | None = None
        self._control_s = 0.0
        self._chunk_heard, self._pid = chunk_heard, pid
        self._context = Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node("defi_up", context=self._context, namespace=namespace or None, start_parameter_services=False)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.EVENTS)
        self._node.create_subscription(ControlState, "control_state", self._on_control, qos.STATES)
        self._node.create_subscription(ActionChunk, "action_chunk", self._on_chunk, qos.STREAM)
        self._tasks = ActionClient(self._node, RunTask, "run_task")
        self._resets = self._node.create_client(ResetSim, "sim/reset")
        self.others = OtherGoals(self._node)
        self._executor = make_executor(self._context)
        self._executor.add_node(self._node)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._spin, name="defi-up-listener", daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._stopping.is_set() and self._context.ok():
            self._executor.spin_once(timeout_sec=SPIN_SLICE_S)

    def close(self) -> None:
        """Leaves the graph; returns within a second."""
        self._stopping.set()
        self._executor.wake()
        self._thread.join(JOIN_S)
        if not self._thread.is_alive():
            self._tasks.destroy()
            self._node.destroy_node()
        self._context.try_shutdown()

    # What was heard --------------------------------------------------------------------------------------------------

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        now_s = time.monotonic()
        for status in message.status:
            if status.name not in self._watched or not self._is_own(status):
                continue
            values = {pair.key: pair.value for pair in status.values}
            trouble = "" if status.level == status.OK else status.message
            with self._lock:
                self._heard[status.name] = (now_s, node_status(status.name, values, trouble))

    def _is_own(self, status: DiagnosticStatus) -> bool:
        """Whether a process of this graph says it; a node that does not name its process is believed."""
        return status.hardware_id in ("", f"{socket.gethostname()}:{self._pid(status.name)}")

    def _on_control(self, message: ControlState) -> None:
        self._control, self._control_s = message, time.monotonic()

    def _on_chunk(self, message: ActionChunk) -> None:
        self._chunk_heard(time.monotonic(), message.imagination_ms, message.inference_ms)

    def forget(self, nodes: Sequence[str]) -> None:
        """Takes nodes for starting again, as after the end of their process."""
        with self._lock:
            for name in nodes:
                self._heard[name] = (time.monotonic(), NodeStatus(name, "restarting"))

    def nodes(self) -> list[NodeStatus]:
        """How every watched node fares, in the order given."""
        now_s = time.monotonic()
        with self._lock:
            heard = dict(self._heard)
        return [
            NodeStatus(name)
            if name not in heard
            else replace(heard[name][1], state="silent", rate_hz=None, latency_ms=None, trouble=SILENT)
            if heard[name][1].active and now_s - heard[name][0] > SILENT_AFTER_S
            else heard[name][1]
            for name in self._watched
        ]

    def hanging(self) -> list[str]:
        """Nodes that were active and have said nothing for ten seconds in which others spoke."""
        with self._lock:
            heard = dict(self._heard)
        # Not now: this process may have stood still too.
        latest_s = max((at_s for at_s, _ in heard.values()), default=0.0)
        return [name for name, (at_s, status) in heard.items() if status.active and latest_s - at_s > HANGS_AFTER_S]

    @property
    def control(self) -> ControlState | None:
        """The newest control_state; None before the first."""
        return self._control

    @property
    def arm(self) -> str:
        """Who has the arm and why, as in "STOPPED: emergency stop at the input device"; empty before the first word."""
        control = self._control
        return f"{Mode(control.mode).name}: {control.reason}" if control else ""

    @property
    def at_rest(self) -> bool:
        """Whether the bridge says that the arm is not moving and no policy or person moves it."""
        control = self._control
        return control is None or (control.at_rest and control.mode in (ControlState.HOLD, ControlState.STOPPED))

    def holds_since(self, since_s: float) -> bool:
        """Whether the arm was at rest where it is commanded to be in a control_state heard after `since_s` (monotonic)."""
        control = self._control
        if control is None or self._control_s < since_s or not self.at_rest or not len(control.measured):
            return False
        away = [abs(m - c) for m, c in zip(control.measured, control.commanded, strict=True)]
        return max(away) < HELD_WITHIN_RAD

    def figures(self) -> BridgeFigures:
        """What the bridge measured so far."""
        control = self._control
        if control is None:
            return BridgeFigures()
        return BridgeFigures(
            command_rate_hz=control.tick_rate_hz,
            jitter_p50_ms=control.jitter_p50_ms,
            jitter_p99_ms=control.jitter_p99_ms,
            jitter_max_ms=control.jitter_max_ms,
            camera_to_command_p50_ms=control.camera_to_command_p50_ms,
            camera_to_command_p99_ms=control.camera_to_command_p99_ms,
            camera_to_command_n=control.camera_to_command_n,
            limit_violations=control.limit_violations,
            stale_refusals=control.stale_refusals,
        )

    @property
    def tasks_are_served(self) -> bool:
        """Whether task_node's action server has been found."""
        return self._tasks.server_is_ready()

    @property
    def resets_are_served(self) -> bool:
        """Whether sim_node's reset service has been found."""
        return self._resets.service_is_ready()

    # What is asked ---------------------------------------------------------------------------------------------------

    def ask_reset(self, seed: int, task: str) -> Future:
        """Asks for a new scene in which `task` (empty: any) can be done; the future holds a ResetSim.Response."""
        return self._resets.call_async(ResetSim.Request(seed=seed, task=task))

    def ask_task(self, instruction: str, timeout_s: float) -> TaskRun:
        """Asks for a task."""
        return TaskRun(self._tasks, instruction, timeout_s, self.others.own_goal())


class TaskRun:
    """One goal of run_task, polled from the main thread."""

    def __init__(self, client: ActionClient, instruction: str, timeout_s: float, goal_id: UUID) -> None:
        """Sends the goal."""
        self.feedback: RunTask.Feedback | None = None
        self._result: Future | None = None
        goal = RunTask.Goal(instruction=instruction, timeout_s=timeout_s)
        self._goal = client.send_goal_async(goal, feedback_callback=self._on_feedback, goal_uuid=goal_id)

    def _on_feedback(self, message: Any) -> None:
        self.feedback = message.feedback

    @property
    def refused(self) -> bool:
        """Whether task_node did not accept the goal."""
        return self._goal.done() and not self._handle.accepted

    @property
    def _handle(self) -> Any:
        return self._goal.result()

    def result(self) -> tuple[bool, RunTask.Result] | None:
        """(succeeded, result) once it has ended."""
        if self._result is None and self._goal.done() and self._handle.accepted:
            self._result = self._handle.get_result_async()
        if self._result is None or not self._result.done():
            return None
        response: Any = self._result.result()
        return bool(response.result.success and response.status == GoalStatus.STATUS_SUCCEEDED), response.result

    def cancel(self) -> None:
        """Asks for its end; the arm is then brought to rest."""
        if self._goal.done() and self._handle.accepted:
            self._handle.cancel_goal_async()


def middleware() -> tuple[str | None, str | None]:
    """(ROS distribution, middleware) of this process; ROS from wheels does not say its distribution itself."""
    distribution = os.environ.get("ROS_DISTRO")
    if not distribution:
        try:
            distribution = DISTRIBUTIONS.get(version("ros-rclpy").partition(".")[0])
        except PackageNotFoundError:
            distribution = None
    return distribution, get_rmw_implementation_identifier()
