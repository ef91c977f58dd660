import sys
import time
from dataclasses import dataclass, field

import pytest

from defi_ros.bringup import Process
from defi_ros.up import supervisor as supervising
from defi_ros.up.processes import StopTimes
from defi_ros.up.supervisor import ProcessEndedError, Supervisor, merged_environment


@dataclass(frozen=True, slots=True)
class Toy(Process):
    """A process that runs a line of Python."""

    code: str = field(default="")

    def command(self, python):
        return [python, "-c", self.code]


def toy(name, code, *, respawn=False):
    return Toy(name, "toy", respawn=respawn, code=code)


@pytest.fixture
def supervise(tmp_path, monkeypatch):
    monkeypatch.setattr(supervising, "RESTART_PAUSE_S", 0.0)
    made = []

    def make(*toys):
        made.append(Supervisor(toys, tmp_path, StopTimes(0.2, 0.4, 1.0)))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.stop()


def poll_until(one, true, timeout_s=10.0):
    ends = []
    end_s = time.monotonic() + timeout_s
    while not true(ends):
        assert time.monotonic() < end_s, "did not come true in time"
        ends += one.poll()
        time.sleep(0.01)
    return ends


SLEEP = "import time; time.sleep(60)"


def test_an_inference_process_that_dies_is_started_again_with_the_reason(supervise):
    one = supervise(toy("imagination_node", SLEEP, respawn=True))
    first = one.pid("imagination_node")
    one._children["imagination_node"].send(9)
    (end,) = poll_until(one, lambda ends: ends and one.pid("imagination_node"))
    assert "SIGKILL" in end.reason
    assert one.pid("imagination_node") != first


def test_a_process_that_hangs_is_killed_and_started_again_unless_it_moves_the_arm(supervise):
    one = supervise(toy("imagination_node", SLEEP, respawn=True), toy("arm_bridge_node", SLEEP))
    first, bridge = one.pid("imagination_node"), one.pid("arm_bridge_node")
    assert one.kill("imagination_node") and not one.kill("arm_bridge_node") and not one.kill("sim_node")
    (end,) = poll_until(one, lambda ends: ends and one.pid("imagination_node"))
    assert end.name == "imagination_node" and "SIGKILL" in end.reason
    assert one.pid("imagination_node") != first and one.pid("arm_bridge_node") == bridge


def test_the_end_of_a_process_that_may_not_end_names_it_and_its_log(supervise, tmp_path):
    one = supervise(toy("arm_bridge_node", "raise SystemExit('the arm is gone')"))
    with pytest.raises(ProcessEndedError, match=r"arm_bridge_node ended: exit code 1 .*the arm is gone.*see .*\.log"):
        poll_until(one, lambda ends: False)


def test_a_process_that_keeps_dying_is_given_up(supervise):
    one = supervise(toy("action_node", "raise SystemExit(1)", respawn=True))
    with pytest.raises(ProcessEndedError, match="action_node ended 5 times within 60 s, at most 4 restarts"):
        poll_until(one, lambda ends: False)
    assert len(one.reasons["action_node"]) == 5


def test_a_refused_configuration_is_not_tried_again_and_its_message_is_shown(supervise):
    code = "import sys; sys.stderr.write('camera wrist sent nothing\\n'); sys.exit(2)"
    one = supervise(toy("imagination_node", code, respawn=True))
    with pytest.raises(ProcessEndedError, match=r"imagination_node could not start\. camera wrist sent nothing"):
        poll_until(one, lambda ends: False)


def test_a_process_that_is_held_back_starts_with_the_next_start_and_the_others_once(tmp_path):
    one = Supervisor([toy("sim_node", SLEEP), toy("arm_bridge_node", SLEEP)], tmp_path, StopTimes(0.2, 0.4, 1.0))
    try:
        one.start(held_back="arm_bridge_node")
        first = one.pid("sim_node")
        assert first and one.pid("arm_bridge_node") is None
        one.start()
        assert one.pid("arm_bridge_node") and one.pid("sim_node") == first
    finally:
        one.stop()


def test_stopping_twice_does_nothing_more(supervise):
    one = supervise(toy("sim_node", SLEEP))
    one.stop()
    one.stop()
    assert len(one.reasons["sim_node"]) == 1


def test_what_the_user_set_goes_before_what_a_process_wants():
    assert merged_environment({"A": "user"}, {"A": "file", "B": "file"}) == {"A": "user", "B": "file"}


def test_a_child_runs_the_interpreter_of_its_parent(supervise, tmp_path):
    one = supervise(toy("sim_node", "import sys; print(sys.executable, flush=True); import time; time.sleep(60)"))
    poll_until(one, lambda ends: one.log_path("sim_node").read_text().strip() == sys.executable)
