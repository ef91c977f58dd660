"""What `defi up` hears of its graph, and of others in the same domain."""

import os
import socket
import time
import uuid

import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("defi_msgs")

from action_msgs.msg import GoalInfo, GoalStatus, GoalStatusArray  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue  # noqa: E402
from rclpy.action.server import ActionServer  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.task import Future  # noqa: E402
from unique_identifier_msgs.msg import UUID  # noqa: E402

from defi_msgs.action import RunTask  # noqa: E402
from defi_msgs.msg import ControlState, Instruction  # noqa: E402
from defi_ros.bridge import qos  # noqa: E402
from defi_ros.bridge.action_client import ActionClient  # noqa: E402
from defi_ros.up.listener import GraphListener  # noqa: E402
from defi_ros.up.other_goals import OtherGoals  # noqa: E402

pytestmark = pytest.mark.ros


class Peer:
    """A node beside the listener, spun by the test."""

    def __init__(self):
        self._context = Context()
        rclpy.init(args=[], context=self._context)
        self.namespace = f"/test_{uuid.uuid4().hex[:8]}"
        self.node = Node("peer", context=self._context, namespace=self.namespace)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)

    def until(self, true, timeout_s=15.0):
        end_s = time.monotonic() + timeout_s
        while not (value := true()):
            assert time.monotonic() < end_s, "did not come true in time"
            self._executor.spin_once(timeout_sec=0.02)
        return value

    def close(self):
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()


@pytest.fixture
def peer():
    made = Peer()
    yield made
    made.close()


@pytest.fixture
def listener(peer):
    nodes = ["imagination_node", "action_node", "task_node"]
    made = GraphListener(nodes, peer.namespace, lambda *_: None, lambda name: 4242)
    yield made
    made.close()


def status(name, process):
    return DiagnosticStatus(name=name, hardware_id=process, values=[KeyValue(key="state", value="active")])


def test_what_a_process_of_another_graph_says_is_not_shown_as_one_s_own(peer, listener):
    publisher = peer.node.create_publisher(DiagnosticArray, "/diagnostics", qos.EVENTS)
    host = socket.gethostname()
    said = [
        status("imagination_node", f"{host}:4243"),
        status("action_node", "other-machine:4242"),
        status("task_node", f"{host}:4242"),  # the last: when it is heard, the others were
    ]

    def heard():
        publisher.publish(DiagnosticArray(status=said))
        return listener.nodes()[2].active

    peer.until(heard)
    assert [node.state for node in listener.nodes()] == ["starting", "starting", "active"]


def test_a_node_that_does_not_name_its_process_is_heard(peer, listener):
    publisher = peer.node.create_publisher(DiagnosticArray, "/diagnostics", qos.EVENTS)

    def heard():
        publisher.publish(DiagnosticArray(status=[status("task_node", "")]))
        return listener.nodes()[2].active

    peer.until(heard)


def test_who_has_the_arm_is_told_with_the_reason(peer, listener):
    publisher = peer.node.create_publisher(ControlState, "control_state", qos.STREAM)

    def heard():
        publisher.publish(ControlState(mode=ControlState.STOPPED, reason="emergency stop is pressed"))
        return listener.arm

    assert peer.until(heard) == "STOPPED: emergency stop is pressed"


class FakeTaskNode:
    """Does what is asked, or refuses it, at once."""

    def __init__(self, peer):
        self._instruction = peer.node.create_publisher(Instruction, "instruction", qos.LATCHED)
        self.end = Future()
        self.server = ActionServer(peer.node, RunTask, "run_task", self._run)

    async def _run(self, goal):
        if goal.request.instruction == "refuse":
            goal.abort()
            return RunTask.Result(reason="refused: another is running")
        self._instruction.publish(Instruction(text=goal.request.instruction, task_id="1"))
        await self.end
        self._instruction.publish(Instruction())
        goal.succeed()
        return RunTask.Result(success=True, reason="drawer open", duration_s=4.2)


def test_a_goal_of_another_program_is_told_when_it_begins_and_ends_and_one_s_own_is_not(peer):
    served, others = FakeTaskNode(peer), OtherGoals(peer.node)
    client = ActionClient(peer.node, RunTask, "run_task")
    peer.until(lambda: client.server_is_ready() and others._results.service_is_ready())
    news = []

    def told(count):
        news.extend(others.take_news())
        return len(news) >= count

    client.send_goal_async(RunTask.Goal(instruction="open the drawer"))
    peer.until(lambda: told(1))
    served.end.set_result(None)
    peer.until(lambda: told(2))
    client.send_goal_async(RunTask.Goal(instruction="turn on the led"), goal_uuid=others.own_goal())
    client.send_goal_async(RunTask.Goal(instruction="refuse"))
    peer.until(lambda: told(3))
    assert news == [
        "task 'open the drawer' of another program: running",
        "task 'open the drawer' of another program: done after 4.2 s: drawer open",
        "task of another program: refused: another is running",
    ]
    served.server.destroy()
    client.destroy()


def test_state_and_instruction_of_another_s_goal_may_come_in_either_order(peer):
    working = GoalStatusArray(
        status_list=[
            GoalStatus(goal_info=GoalInfo(goal_id=UUID(uuid=list(os.urandom(16)))), status=GoalStatus.STATUS_EXECUTING)
        ]
    )
    for steps in (
        (("_on_goals", working), ("_on_instruction", Instruction(text="x"))),
        (
            ("_on_instruction", Instruction(text="x")),
            ("_on_goals", working),
        ),
    ):
        others = OtherGoals(peer.node)
        for name, message in steps:
            getattr(others, name)(message)
        assert others.take_news() == ["task 'x' of another program: running"]
