"""Goals that other programs send to run_task: what they ask and how it ends. Knows nothing of one's own tasks but their ids."""

from __future__ import annotations

import uuid
from collections import deque
from typing import Any

from action_msgs.msg import GoalStatus, GoalStatusArray
from rclpy.node import Node
from rclpy.qos import qos_profile_action_status_default
from rclpy.task import Future
from unique_identifier_msgs.msg import UUID

from defi_msgs.action import RunTask
from defi_msgs.msg import Instruction
from defi_ros.bridge import qos

AT_WORK = (GoalStatus.STATUS_ACCEPTED, GoalStatus.STATUS_EXECUTING, GoalStatus.STATUS_CANCELING)


class OtherGoals:
    """Listens to run_task in the thread that spins the node; `take_news` and `own_goal` may be called from another."""

    def __init__(self, node: Node) -> None:
        """Hears from now on."""
        self._own: set[bytes] = set()
        self._followed: set[bytes] = set()
        self._at_work = False
        self._text = self._told = self._last = ""
        self._news: deque[str] = deque()
        node.create_subscription(
            GoalStatusArray, "run_task/_action/status", self._on_goals, qos_profile_action_status_default
        )
        node.create_subscription(Instruction, "instruction", self._on_instruction, qos.LATCHED)
        self._results = node.create_client(RunTask.Impl.GetResultService, "run_task/_action/get_result")

    def own_goal(self) -> UUID:
        """An id for a goal that is not another's."""
        goal = uuid.uuid4().bytes
        self._own.add(goal)
        return UUID(uuid=list(goal))

    def take_news(self) -> list[str]:
        """What began or ended since the last call, a line each."""
        return [self._news.popleft() for _ in range(len(self._news))]

    def _on_goals(self, message: GoalStatusArray) -> None:
        at_work = {bytes(one.goal_info.goal_id.uuid) for one in message.status_list if one.status in AT_WORK}
        for one in message.status_list:
            goal = bytes(one.goal_info.goal_id.uuid)
            if goal not in self._own and goal not in self._followed:
                self._followed.add(goal)
                request = RunTask.Impl.GetResultService.Request(goal_id=one.goal_info.goal_id)
                self._results.call_async(request).add_done_callback(self._on_result)
        self._at_work = bool(at_work) and not at_work & self._own
        self._tell()

    def _on_instruction(self, message: Instruction) -> None:
        self._text = message.text
        self._tell()

    def _tell(self) -> None:
        """The instruction and the state of its goal come in either order."""
        if not self._at_work:
            self._told = ""
        elif self._text and self._text != self._told:
            self._told = self._last = self._text
            self._news.append(f"task {self._text!r} of another program: running")

    def _on_result(self, done: Future) -> None:
        response: Any = done.result()
        if response is None:
            return
        result = response.result
        if not result.duration_s:  # it was never begun
            self._news.append(f"task of another program: {result.reason}")
            return
        ended = "done" if result.success and response.status == GoalStatus.STATUS_SUCCEEDED else "failed"
        self._news.append(
            f"task {self._last!r} of another program: {ended} after {result.duration_s:.1f} s: {result.reason}"
        )
