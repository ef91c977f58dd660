import pytest

from defi_ros.up.graph import Graph
from defi_ros.up.interruption import Interruption
from defi_ros.up.report import BridgeFigures, Report
from defi_ros.up.status import NodeStatus, TaskStatus

SLOW = "too slow for real time: got a real-time factor of 0.76, expected 1"


class Told:
    """A view that keeps what it was told."""

    def __init__(self):
        self.tasks, self.arm, self.notes = [], "", []

    def show(self, nodes, tasks, arm=""):
        self.tasks, self.arm = list(tasks), arm

    def note(self, text):
        self.notes.append(text)

    def close(self):
        pass


class Run:
    """A task whose result is there at once."""

    feedback, refused = None, False

    def __init__(self, success):
        self._success = success

    def result(self):
        return self._success, self

    duration_s, reason = 1.4, "the policy lost the authority"

    def cancel(self):
        pass


class Heard:
    """A graph in which every task ends at once."""

    control, at_rest, arm = None, True, "HOLD: start"

    def __init__(self, success, trouble):
        self._success, self._trouble, self.news = success, trouble, []
        self.others = self

    def nodes(self):
        return [NodeStatus("task_node", "active"), NodeStatus("sim_node", "active", trouble=self._trouble)]

    def ask_task(self, instruction, timeout_s):
        return Run(self._success)

    def take_news(self):
        news, self.news = self.news, []
        return news

    def forget(self, nodes):
        pass

    def hanging(self):
        return []

    def figures(self):
        return BridgeFigures()

    def close(self):
        pass


@pytest.fixture
def graph(tmp_path):
    made = Graph((), tmp_path, Told(), Report("franka"), Interruption())
    made.tasks = [TaskStatus("open the drawer"), TaskStatus("turn on the led")]
    return made


@pytest.mark.parametrize(
    ("success", "trouble", "reason"),
    [
        (False, SLOW, f"the policy lost the authority (sim_node: {SLOW})"),
        (False, "", "the policy lost the authority"),
        (True, SLOW, "the policy lost the authority"),
    ],
)
def test_a_failed_task_names_what_was_wrong_with_the_simulation_then(graph, success, trouble, reason):
    graph._listener = Heard(success, trouble)
    assert graph.run_task(0, 30.0).reason == reason
    assert graph._view.tasks[0].reason == reason


def test_a_stop_shows_the_running_task_as_failed_and_leaves_those_that_wait(graph):
    graph._listener = Heard(False, "")
    graph.tasks[0] = TaskStatus("open the drawer", "running", 2.3, "asked for by task_node")
    graph.stop("stopped by Ctrl-C")
    assert [(task.status, task.reason) for task in graph._view.tasks] == [
        ("failed", "stopped by Ctrl-C"),
        ("waiting", ""),
    ]


def test_what_other_programs_ask_and_who_has_the_arm_reach_the_view(graph):
    graph._listener = Heard(False, "")
    graph._listener.news = ["task 'x' of another program: running"]
    graph.wait(lambda: True, None)
    assert graph._view.arm == ""  # no arm bridge of one's own runs
    graph.supervisor.pid = lambda name: 4242
    graph.wait(lambda: True, None)
    assert graph._view.notes == ["task 'x' of another program: running"]
    assert graph._view.arm == "HOLD: start"
