"""One task at a time: asks for the authority, says the instruction, and ends with the arm in HOLD and nothing asked."""

from __future__ import annotations

import math
import time
import uuid
from typing import Any

from rclpy.action.server import ActionServer, CancelResponse, GoalResponse

from defi_msgs.action import RunTask
from defi_msgs.msg import ControlState, Instruction, TaskOutcome
from defi_msgs.srv import SetAuthority
from defi_ros.bridge import qos
from defi_ros.bridge.convert import to_stamp
from defi_ros.bridge.lifecycle import DefiNode, run
from defi_ros.nodes.attempt import BRIDGE_SILENCE_S, Attempt, Phase

FEEDBACK_PERIOD_S = 0.2
REST_TIMEOUT_S = 1.0  # from any allowed speed the arm is at rest within 0.5 s


class TaskNode(DefiNode):
    """Action server `run_task`.

    A goal that is refused (empty instruction, another task running) is accepted and aborted at once, because a
    rejected goal cannot carry a reason to the client; nothing moves and nothing is said on `instruction`.
    """

    NAME = "task_node"

    def __init__(self, **options) -> None:
        """See `DefiNode`."""
        super().__init__(**options)
        self.declare_parameter("default_timeout_s", 60.0)
        self._attempt: Attempt | None = None
        self._refused: dict[bytes, str] = {}
        self._heard: ControlState | None = None
        self._heard_s = -math.inf

    def configure(self) -> None:
        """Makes the action server and what it speaks and hears."""
        if self.get_parameter("robot").value:
            self.robot_file()
        self._instruction = self.say("instruction", Instruction, qos.LATCHED)
        self.hear("control_state", ControlState, self._on_control_state, qos.STREAM)
        self.hear("task_outcome", TaskOutcome, self._on_outcome, qos.EVENTS)
        self._authority = self.create_client(SetAuthority, "set_authority")
        self.own(lambda: self.destroy_client(self._authority))
        self._server = ActionServer(
            self,
            RunTask,
            "run_task",
            execute_callback=self._result,
            goal_callback=lambda _goal: GoalResponse.ACCEPT,
            handle_accepted_callback=self._accept,
            cancel_callback=self._cancel,
        )
        self.own(self._server.destroy)
        self.every(FEEDBACK_PERIOD_S / 4, self._watch)
        self.every(FEEDBACK_PERIOD_S, self._feed_back)

    def activate(self) -> None:
        """Says that nothing is asked, so that an instruction of an earlier life is forgotten."""
        self._say_instruction("", "")

    def deactivate(self) -> None:
        """Ends a running task: nothing asked, HOLD."""
        if self._attempt is not None:
            self._end(False, "task_node is shutting down")
            self._finish()

    def describe(self) -> None:
        """Shows the running task."""
        attempt = self._attempt
        self.health.set(
            mode=attempt.phase.value if attempt else "idle",
            instruction=attempt.instruction if attempt else "",
        )

    # Goals -----------------------------------------------------------------------------------------------------------

    def _accept(self, goal: Any) -> None:
        request = goal.request
        reason = self._why_not(request)
        if reason is not None:
            self.get_logger().warning(reason)
            self._refused[bytes(goal.goal_id.uuid)] = reason
            goal.execute()
            return
        now_s = time.monotonic()
        timeout_s = request.timeout_s or float(self.get_parameter("default_timeout_s").value or 0.0)
        instruction = request.instruction.strip()
        attempt = Attempt(goal, uuid.uuid4().hex, instruction, timeout_s, now_s, phase_since_s=now_s)
        self._attempt = attempt
        self.get_logger().info(f"task {attempt.instruction!r}: asking for authority")
        self._ask_for_policy(attempt)

    def _why_not(self, request: RunTask.Goal) -> str | None:
        if self.state != "active":
            return f"refused: task_node is {self.state}, expected active"
        if not request.instruction.strip():
            return "refused: got an empty instruction, expected what the robot should do, in words"
        if not (math.isfinite(request.timeout_s) and request.timeout_s >= 0.0):
            return f"refused: got timeout_s {request.timeout_s}, expected seconds, or 0 for the default"
        if self._attempt is not None:
            return (
                f"refused: the task {self._attempt.instruction!r} is running, expected one at a time. Cancel it first."
            )
        return None

    def _cancel(self, goal: Any) -> CancelResponse:
        attempt = self._attempt
        if attempt is None or attempt.goal.goal_id != goal.goal_id:
            return CancelResponse.REJECT
        attempt.canceled = True
        self._end(False, "canceled")
        return CancelResponse.ACCEPT

    def _result(self, goal: Any) -> RunTask.Result:
        """Called by rclpy once an attempt is over, to tell its result."""
        refused = self._refused.pop(bytes(goal.goal_id.uuid), None)
        if refused is not None:
            goal.abort()
            return RunTask.Result(success=False, reason=refused)
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            goal.abort()
            return RunTask.Result(success=False, reason="the attempt is gone")
        if attempt.success:
            goal.succeed()
        elif attempt.canceled:
            goal.canceled()
        else:
            goal.abort()
        return RunTask.Result(
            success=attempt.success, reason=attempt.reason, duration_s=attempt.ended_s - attempt.started_s
        )

    # What happens to an attempt --------------------------------------------------------------------------------------

    def _ask(self, mode: int, attempt: Attempt, answered: Any = None) -> None:
        future = self._authority.call_async(SetAuthority.Request(mode=mode, reset=False, source=self.NAME))
        if answered is not None:
            future.add_done_callback(lambda done: answered(attempt, done.result()))

    def _ask_for_policy(self, attempt: Attempt) -> None:
        """Asks once the bridge is heard: a graph that has just come up takes a moment to find itself."""
        if self._authority.service_is_ready() and not self._bridge_lost():
            attempt.asked = True
            self._ask(SetAuthority.Request.POLICY, attempt, self._granted)

    def _granted(self, attempt: Attempt, answer: SetAuthority.Response | None) -> None:
        if attempt is not self._attempt or attempt.phase != Phase.ASKING or answer is None:
            return
        if not answer.granted:
            self._end(False, f"the arm bridge refused: {answer.reason}")
            return
        attempt.enter(Phase.RUNNING, time.monotonic())
        self._say_instruction(attempt.instruction, attempt.task_id)

    def _on_control_state(self, message: ControlState) -> None:
        self._heard, self._heard_s = message, time.monotonic()

    def _on_outcome(self, message: TaskOutcome) -> None:
        attempt = self._attempt
        if attempt is not None and attempt.phase == Phase.RUNNING and message.task_id == attempt.task_id:
            self._end(message.success, message.reason)

    def _bridge_lost(self) -> bool:
        return time.monotonic() - self._heard_s > BRIDGE_SILENCE_S

    def _watch(self) -> None:
        """Ends what must end; every 50 ms."""
        attempt = self._attempt
        if attempt is None or attempt.phase == Phase.OVER:
            return
        now_s = time.monotonic()
        if attempt.phase == Phase.ENDING:
            at_rest = self._heard is not None and self._heard.at_rest and self._heard.mode != ControlState.POLICY
            if at_rest or self._bridge_lost() or now_s - attempt.phase_since_s > REST_TIMEOUT_S:
                self._finish()
            return
        if not attempt.asked:
            self._ask_for_policy(attempt)
        reason = attempt.why_over(self._heard, now_s - self._heard_s, now_s)
        if reason is not None:
            self._end(False, reason)

    def _end(self, success: bool, reason: str) -> None:
        """Nothing is asked any more; the goal ends once the arm is at rest."""
        attempt = self._attempt
        if attempt is None or attempt.phase in (Phase.ENDING, Phase.OVER):
            return
        attempt.success, attempt.reason, attempt.ended_s = success, reason, time.monotonic()
        attempt.enter(Phase.ENDING, attempt.ended_s)
        self._say_instruction("", "")
        if self._heard is None or self._heard.mode != ControlState.STOPPED:
            self._ask(SetAuthority.Request.HOLD, attempt)
        self.get_logger().info(f"task {attempt.instruction!r}: {'success' if success else 'failed'}: {reason}")

    def _finish(self) -> None:
        if self._attempt is not None and self._attempt.phase != Phase.OVER:
            self._attempt.enter(Phase.OVER, time.monotonic())
            self._attempt.goal.execute()

    # What it says ----------------------------------------------------------------------------------------------------

    def _say_instruction(self, text: str, task_id: str) -> None:
        message = Instruction(text=text, task_id=task_id)
        message.header.stamp = to_stamp(self.now_ns())
        self._instruction.publish(message)

    def _feed_back(self) -> None:
        attempt = self._attempt
        if attempt is None or attempt.phase in (Phase.ENDING, Phase.OVER):
            return
        state = self._heard
        known = state is not None and state.camera_to_command_n > 0
        attempt.goal.publish_feedback(
            RunTask.Feedback(
                elapsed_s=time.monotonic() - attempt.started_s,
                latency_ms=state.camera_to_command_p50_ms if state is not None and known else math.nan,
                mode=state.mode if state is not None else ControlState.HOLD,
            )
        )


def main() -> None:
    """Runs the node."""
    raise SystemExit(run(TaskNode))


if __name__ == "__main__":
    main()
