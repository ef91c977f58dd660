"""task_node against a played arm bridge."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("rclpy")

from action_msgs.msg import GoalStatus

from defi_msgs.action import RunTask
from defi_msgs.msg import ControlState, Instruction, TaskOutcome
from defi_msgs.srv import SetAuthority
from defi_ros.bridge import qos
from defi_ros.bridge.action_client import ActionClient
from defi_ros.nodes.task_node import TaskNode

pytestmark = pytest.mark.ros


class FakeBridge:
    """Grants authority and says control_state at 50 Hz."""

    def __init__(self, graph):
        self.state = ControlState(mode=ControlState.HOLD, at_rest=True)
        self.asked: list[int] = []
        self.refusal = ""
        self.silent = False
        self._publisher = graph.speaker("control_state", ControlState, qos.STREAM)
        graph.peer.create_service(SetAuthority, "set_authority", self._on_ask)
        graph.peer.create_timer(0.02, self._say)

    def _on_ask(self, request, response):
        self.asked.append(request.mode)
        response.granted, response.reason = not self.refusal, self.refusal
        if response.granted:
            self.state.mode = request.mode
        return response

    def _say(self):
        if not self.silent:
            self._publisher.publish(self.state)


class Client:
    """Sends goals as `defi up` does."""

    def __init__(self, graph):
        self._graph = graph
        self._client = ActionClient(graph.peer, RunTask, "run_task")
        self.feedback: list[RunTask.Feedback] = []

    def send(self, instruction, timeout_s=10.0):
        """The handle of the goal."""
        self._graph.until(self._client.server_is_ready)
        goal = RunTask.Goal(instruction=instruction, timeout_s=timeout_s)
        future = self._client.send_goal_async(goal, feedback_callback=lambda m: self.feedback.append(m.feedback))
        self._graph.until(future.done)
        return future.result()

    def result(self, handle, timeout_s=5.0):
        """(status, result) of the goal."""
        future = handle.get_result_async()
        self._graph.until(future.done, timeout_s)
        return future.result().status, future.result().result


@pytest.fixture
def scene(graph):
    bridge = FakeBridge(graph)
    said = graph.listen("instruction", Instruction, qos.LATCHED)
    node = graph.start(TaskNode)
    client = Client(graph)
    graph.until(lambda: node._authority.service_is_ready() and not node._bridge_lost())
    return bridge, said, node, client


def running(graph, said, text):
    """The instruction, once it has been said."""
    return graph.until(lambda: next((m for m in said if m.text == text), None))


def test_a_task_takes_the_authority_says_the_instruction_and_ends_in_hold(graph, scene):
    bridge, said, _, client = scene
    handle = client.send("  open the drawer ")
    instruction = running(graph, said, "open the drawer")
    assert bridge.asked == [ControlState.POLICY]
    outcomes = graph.speaker("task_outcome", TaskOutcome)
    graph.until(outcomes.get_subscription_count)
    outcomes.publish(TaskOutcome(task_id="another", success=True, reason="not this one"))
    outcomes.publish(TaskOutcome(task_id=instruction.task_id, success=True, reason="drawer at 0.20 m"))
    status, result = client.result(handle)
    assert status == GoalStatus.STATUS_SUCCEEDED
    assert result.success and result.reason == "drawer at 0.20 m" and result.duration_s > 0.0
    assert bridge.asked == [ControlState.POLICY, ControlState.HOLD]
    assert (said[-1].text, said[-1].task_id) == ("", "")


def test_an_empty_instruction_is_refused_with_a_reason_and_nothing_moves(graph, scene):
    bridge, said, _, client = scene
    before = len(said)
    status, result = client.result(client.send("   "))
    assert status == GoalStatus.STATUS_ABORTED
    assert "empty instruction" in result.reason
    assert not bridge.asked and len(said) == before


def test_a_second_task_is_refused_while_one_runs(graph, scene):
    _, said, _, client = scene
    client.send("open the drawer")
    running(graph, said, "open the drawer")
    status, result = client.result(client.send("close the drawer"))
    assert status == GoalStatus.STATUS_ABORTED
    assert "'open the drawer' is running" in result.reason


def test_a_task_that_is_not_done_in_time_fails_with_the_time(graph, scene):
    bridge, _, _, client = scene
    status, result = client.result(client.send("open the drawer", timeout_s=0.3))
    assert status == GoalStatus.STATUS_ABORTED
    assert result.reason == "timeout: not done after 0.3 s"
    assert bridge.asked[-1] == ControlState.HOLD


def test_cancel_ends_a_task_in_hold(graph, scene):
    bridge, said, _, client = scene
    handle = client.send("open the drawer")
    running(graph, said, "open the drawer")
    handle.cancel_goal_async()
    status, result = client.result(handle)
    assert status == GoalStatus.STATUS_CANCELED and result.reason == "canceled"
    assert bridge.asked[-1] == ControlState.HOLD


def test_a_stop_aborts_the_task_with_its_reason(graph, scene):
    bridge, said, _, client = scene
    handle = client.send("open the drawer")
    running(graph, said, "open the drawer")
    bridge.state.mode, bridge.state.reason = ControlState.STOPPED, "emergency stop on emergency_stop"
    status, result = client.result(handle)
    assert status == GoalStatus.STATUS_ABORTED
    assert result.reason == "STOPPED: emergency stop on emergency_stop"


def test_a_policy_that_lost_the_authority_aborts_the_task_with_the_reason(graph, scene):
    bridge, said, _, client = scene
    handle = client.send("open the drawer")
    running(graph, said, "open the drawer")
    bridge.state.mode, bridge.state.reason = ControlState.HOLD, "no new chunk for 0.50 s"
    _, result = client.result(handle)
    assert result.reason == "the policy lost the authority: no new chunk for 0.50 s"


def taken_over(graph, scene):
    """A task under way, whose arm a person has taken."""
    bridge, said, _, client = scene
    handle = client.send("open the drawer")
    running(graph, said, "open the drawer")
    bridge.state.mode, bridge.state.source = ControlState.TELEOP, "keyboard"
    graph.until(lambda: client.feedback and client.feedback[-1].mode == ControlState.TELEOP)
    return bridge, client, handle


def test_a_task_that_a_person_took_over_tells_who_took_the_arm(graph, scene):
    bridge, client, handle = taken_over(graph, scene)
    bridge.state.mode, bridge.state.reason = ControlState.HOLD, "keyboard released the deadman"
    _, result = client.result(handle)
    assert result.reason == "keyboard took the arm and did not give it back: keyboard released the deadman"


def test_a_person_who_gave_the_arm_back_is_not_blamed(graph, scene):
    bridge, client, handle = taken_over(graph, scene)
    bridge.state.mode, bridge.state.source = ControlState.POLICY, "task_node"
    graph.until(lambda: client.feedback[-1].mode == ControlState.POLICY)
    bridge.state.mode, bridge.state.reason = ControlState.HOLD, "gripper: still open"
    _, result = client.result(handle)
    assert result.reason == "the policy lost the authority: gripper: still open"


def test_a_task_that_was_never_begun_tells_why_the_arm_rested(graph, scene):
    bridge, _, _, client = scene
    bridge.state.at_rest, bridge.state.verdict_reason = True, "inference_node: got 'foo bar', which no task knows"
    _, result = client.result(client.send("foo bar", timeout_s=0.3))
    assert result.reason == (
        "timeout: not done after 0.3 s; the arm rests: inference_node: got 'foo bar', which no task knows"
    )


def test_a_silent_arm_bridge_aborts_the_task(graph, scene):
    bridge, said, _, client = scene
    handle = client.send("open the drawer")
    running(graph, said, "open the drawer")
    graph.until(lambda: client.feedback and client.feedback[-1].mode == ControlState.POLICY)
    bridge.silent = True
    _, result = client.result(handle)
    assert "lost the arm bridge" in result.reason


def test_a_refused_authority_aborts_the_task_with_the_reason(graph, scene):
    bridge, said, _, client = scene
    bridge.refusal = "keyboard holds the deadman; release it first"
    before = len(said)
    _, result = client.result(client.send("open the drawer"))
    assert result.reason == "the arm bridge refused: keyboard holds the deadman; release it first"
    assert all(not message.text for message in said[before:])


def test_feedback_tells_time_latency_and_mode(graph, scene):
    bridge, _, _, client = scene
    client.send("open the drawer")
    graph.until(lambda: len(client.feedback) >= 2)
    assert client.feedback[-1].mode == ControlState.POLICY and math.isnan(client.feedback[-1].latency_ms)
    bridge.state.camera_to_command_n, bridge.state.camera_to_command_p50_ms = 3, 71.5
    graph.until(lambda: client.feedback[-1].latency_ms == 71.5)
    assert client.feedback[-1].elapsed_s > client.feedback[0].elapsed_s


def test_without_an_arm_bridge_a_task_is_refused(graph):
    graph.start(TaskNode)
    client = Client(graph)
    _, result = client.result(client.send("open the drawer"))
    assert "no arm bridge is heard" in result.reason


def test_shutting_down_takes_the_instruction_back(graph, scene):
    bridge, said, node, client = scene
    client.send("open the drawer")
    running(graph, said, "open the drawer")
    node.trigger_deactivate()
    graph.until(lambda: said[-1].text == "" and bridge.asked[-1] == ControlState.HOLD)
