"""Every gripper driver passes one contract, against a played action server and against its emulator."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy")

from rclpy.action.server import ActionServer, CancelResponse, GoalResponse

pytest.importorskip("control_msgs")

from action_msgs.srv import CancelGoal
from control_msgs.action import GripperCommand, ParallelGripperCommand
from franka_msgs.action import Grasp, Move
from rclpy.task import Future
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from defi_ros.bridge.emulated_robot import EmulatedRobot
from defi_ros.drivers import GripperDriver, franka_gripper, gripper_action, make_gripper_driver
from defi_ros.drivers.gripper_action import GripperAction
from defi_ros.sections import Gripper
from defi_sim import kinematic

pytestmark = pytest.mark.ros


class Bench:
    """A node with the driver, and a gripper's action server."""

    def __init__(self, wire: Any) -> None:
        self.context, self.node, self.executor = wire.context, wire.node, wire.executor
        self.until = wire.until
        self.server: Any = None
        self.robot: Any = None
        self.hand: Any = None
        self.goals: list[Any] = []
        self.accept = True
        self.ending = "succeed"
        self.stalled = False

    def serve(self, action_type):
        """Starts the controller's action server."""

        def on_goal(goal):
            self.goals.append(goal)
            return GoalResponse.ACCEPT if self.accept else GoalResponse.REJECT

        def execute(handle):
            getattr(handle, self.ending)()
            return action_type.Result(stalled=self.stalled)

        self.server = ActionServer(
            self.node,
            action_type,
            "panda_gripper/gripper_cmd",
            execute_callback=execute,
            goal_callback=on_goal,
            cancel_callback=lambda _: CancelResponse.REJECT,
        )

    def emulate(self, settings, description):
        """Starts a robot with that gripper."""
        section = dataclasses.asdict(settings)
        parameters = {f"gripper.{name}": value for name, value in section.items()}
        parameters |= {"robot": "panda", "description": description, "interlock.kind": "none"}
        self.robot = EmulatedRobot(context=self.context, namespace=self.node.get_namespace(), parameters=parameters)
        self.executor.add_node(self.robot)
        assert self.robot.bring_up(), self.robot.failure
        return self.robot.simulation

    def close(self):
        """Ends everything."""
        if self.server is not None:
            self.server.destroy()
        if self.robot is not None:
            self.robot.trigger_deactivate()
            for _ in range(50):  # goals under way end
                self.executor.spin_once(timeout_sec=0.002)
            self.robot.shut_down()
            self.robot.destroy_node()


@pytest.fixture
def bench(wire):
    made = Bench(wire)
    yield made
    made.close()


class Fingers:
    """Those of an emulated gripper, slow enough to be stopped on their way."""

    def __init__(self, bench, driver, simulation):
        self.bench, self.driver, self.simulation = bench, driver, simulation
        self.told: list[float] = []  # positions, by goals and without
        tell = simulation.gripper.command

        def note(position, *args):
            self.told.append(position)
            tell(position, *args)

        simulation.gripper.command = note

    @property
    def opening(self):
        """Where they are, 0 closed .. 1 open."""
        return self.simulation.opening

    def until(self, condition):
        """Spins and polls until the condition holds."""
        self.bench.until(lambda: self.driver.poll() or condition(), timeout_s=20.0)
        assert self.driver.poll() is None

    def go_on(self, for_s):
        """Lets the robot go on for a while of its own time."""
        self.until(lambda: self.simulation._last_ns)
        end_ns = self.simulation._last_ns + for_s * 1e9
        self.until(lambda: self.simulation._last_ns > end_ns)


class GripperDriverContract:
    """Inherit, say which gripper it is, how to play it, and how to read what it is told."""

    settings: Gripper
    missing: str  # how the trouble names what is not there
    emulated: str = ""  # name of the action in the emulated robot, where it is not that of the settings

    def serve(self, bench) -> None:
        """Starts the gripper's controller, which notes in `bench.goals` what it is told."""
        raise NotImplementedError

    def opening_of(self, goal: Any) -> float:
        """The opening that it is told to go to, 0 closed .. 1 open."""
        raise NotImplementedError

    @pytest.fixture
    def driver(self, bench):
        made = make_gripper_driver(bench.node, self.settings)
        assert made is not None
        bench.node.bring_up()
        yield made
        made.destroy()

    @pytest.fixture
    def fingers(self, bench, description_of, monkeypatch):
        monkeypatch.setattr(kinematic, "GRIPPER_S", 1.5)
        settings = dataclasses.replace(self.settings, action=self.emulated or self.settings.action)
        made = make_gripper_driver(bench.node, settings)
        assert made is not None
        bench.node.bring_up()
        yield Fingers(bench, made, bench.emulate(settings, description_of("panda")))
        made.destroy()

    def test_it_is_a_gripper_driver(self, driver):
        assert isinstance(driver, GripperDriver)

    @pytest.mark.parametrize("opening", [0.0, 1.0])
    def test_an_opening_becomes_a_command(self, bench, driver, opening):
        self.serve(bench)
        bench.until(lambda: driver.poll() is None)
        driver.command(opening)
        goal = bench.until(lambda: driver.poll() is None and bench.goals and bench.goals[-1])
        assert self.opening_of(goal) == pytest.approx(opening)

    def test_without_a_controller_it_is_named_and_the_newest_wish_is_sent_once_there_is_one(self, bench, driver):
        driver.command(0.0)
        driver.command(1.0)
        assert self.missing in (driver.poll() or "")
        self.serve(bench)
        bench.until(lambda: driver.poll() is None and bench.goals)
        assert [self.opening_of(goal) for goal in bench.goals] == [pytest.approx(1.0)]

    def test_a_wish_that_waits_for_its_controller_is_not_sent_after_a_stop(self, bench, driver):
        driver.command(0.0)
        driver.stop()
        assert driver.poll() is None
        self.serve(bench)
        driver.command(1.0)
        bench.until(lambda: driver.poll() is None and bench.goals)
        assert [self.opening_of(goal) for goal in bench.goals] == [pytest.approx(1.0)]

    def test_a_stop_on_the_way_leaves_the_fingers_there_until_the_next_wish(self, bench, fingers):
        driver = fingers.driver
        driver.poll()
        fingers.go_on(0.2)  # the driver may have to hear where they are
        driver.command(0.0)
        bench.until(lambda: driver.poll() is None and fingers.opening < 0.7)
        driver.stop()
        driver.stop()
        fingers.go_on(0.3)
        rests_at, told = fingers.opening, len(fingers.told)
        assert 0.45 < rests_at < 0.8
        fingers.go_on(0.6)
        assert fingers.opening == pytest.approx(rests_at, abs=0.002) and len(fingers.told) == told
        driver.command(1.0)
        fingers.until(lambda: fingers.opening > 0.94)

    def test_what_the_fingers_hold_is_held_on_after_a_stop(self, bench, fingers):
        driver, simulation = fingers.driver, fingers.simulation
        simulation.held_at = 0.8
        driver.command(0.0)
        bench.until(lambda: driver.poll() is None and fingers.told)
        fingers.until(lambda: simulation.gripper.goal_id is None and fingers.opening == 0.8)
        fingers.go_on(0.2)
        driver.stop()
        fingers.go_on(0.2)
        assert fingers.opening == 0.8 and len(fingers.told) == 1
        simulation.held_at = None  # without it they go on: they have pressed on it all the time
        fingers.until(lambda: fingers.opening < 0.7)


class GripperActionContract(GripperDriverContract):
    """For the two actions of ros2_control."""

    action_type: Any
    missing = "no action server on 'panda_gripper/gripper_cmd'"

    def serve(self, bench):
        bench.serve(self.action_type)

    def position_of(self, goal: Any) -> float:
        """The joint position that the goal asks for [m]."""
        raise NotImplementedError

    def opening_of(self, goal):
        return self.position_of(goal) / 0.04  # half of the width: the position of one finger

    def test_a_rejected_goal_is_told(self, bench, driver):
        bench.accept = False
        bench.serve(self.action_type)
        driver.command(1.0)
        bench.until(lambda: "rejected" in (driver.poll() or ""))

    def test_a_gripper_that_stalls_on_an_object_is_no_trouble(self, bench, driver):
        bench.ending, bench.stalled = "abort", True
        bench.serve(self.action_type)
        driver.command(0.0)
        bench.until(lambda: driver.poll() is None and bench.goals)
        assert driver.poll() is None

    def test_a_gripper_that_gives_up_is_told_until_the_next_goal(self, bench, driver):
        bench.ending = "abort"
        bench.serve(self.action_type)
        driver.command(0.0)
        bench.until(lambda: "aborted the goal without holding anything" in (driver.poll() or ""))
        bench.ending = "succeed"
        driver.command(1.0)
        bench.until(lambda: driver.poll() is None)


class TestParallelGripperCommand(GripperActionContract):
    settings = Gripper(kind="parallel_gripper_command")
    action_type = ParallelGripperCommand

    def position_of(self, goal):
        assert list(goal.command.name) == ["panda_finger_joint1"]
        assert list(goal.command.effort) == [Gripper().max_effort_n]
        return goal.command.position[0]


class TestGripperCommand(GripperActionContract):
    settings = Gripper(kind="gripper_command")
    emulated = "panda_gripper/gripper_action"
    action_type = GripperCommand

    def position_of(self, goal):
        assert goal.command.max_effort == Gripper().max_effort_n
        return goal.command.position


class TestForwardPositionGripper(GripperDriverContract):
    """A jaw that turns from -0.17 rad closed to 1.75 rad open."""

    settings = Gripper(kind="forward_position", action="jaw/commands", joint_closed=-0.17, joint_open=1.75)
    missing = "got nobody who hears"

    def serve(self, bench):
        bench.node.create_subscription(Float64MultiArray, "jaw/commands", bench.goals.append, 10)

    def opening_of(self, goal):
        return (goal.data[0] + 0.17) / 1.92

    def test_its_topic_is_told_so_that_another_publisher_is_found(self, bench, driver):
        assert driver.topics == (bench.node.resolve_topic_name("jaw/commands"),)


class Hand:
    """A played franka_gripper: goals run until they are let go, or stopped."""

    def __init__(self, bench):
        self.bench = bench
        self.running: list[Any] = []
        self.stops = 0
        self.most_at_once = 0
        self.holds = False  # whether a goal runs until `release`
        self.succeeds = True
        self.servers = [
            ActionServer(bench.node, Move, "franka_gripper/move", execute_callback=self._run),
            ActionServer(bench.node, Grasp, "franka_gripper/grasp", execute_callback=self._run),
        ]
        bench.node.create_service(Trigger, "franka_gripper/stop", self._stop)
        bench.hand = self

    async def _run(self, handle):
        self.bench.goals.append(handle.request)
        done = Future(executor=self.bench.executor)
        self.running.append(done)
        self.most_at_once = max(self.most_at_once, len(self.running))
        if not self.holds:
            done.set_result(self.succeeds)
        success = await done
        self.running.remove(done)
        (handle.succeed if success else handle.abort)()
        result = Grasp.Result() if isinstance(handle.request, Grasp.Goal) else Move.Result()
        result.success, result.error = success, "" if success else "command aborted"
        return result

    def _stop(self, request, response):
        self.stops += 1
        for done in tuple(self.running):
            done.set_result(False)
        response.success = True
        return response

    def destroy(self):
        """Lets go of the servers."""
        for server in self.servers:
            server.destroy()


class TestFrankaGripper(GripperDriverContract):
    settings = Gripper(kind="franka_gripper", action="franka_gripper", width_m=0.08)
    missing = "got no actions franka_gripper/move and franka_gripper/grasp"

    def serve(self, bench):
        bench.server = Hand(bench)

    def opening_of(self, goal):
        return goal.width / 0.08  # the whole width between both fingers

    def test_it_opens_by_move_and_closes_by_a_grasp_of_any_width_with_a_force(self, bench, driver):
        self.serve(bench)
        driver.command(1.0)
        opened = bench.until(lambda: driver.poll() is None and bench.goals and bench.goals[-1])
        assert isinstance(opened, Move.Goal) and (opened.width, opened.speed) == (0.08, 0.1)
        driver.command(0.0)
        closed = bench.until(lambda: driver.poll() is None and len(bench.goals) == 2 and bench.goals[-1])
        assert isinstance(closed, Grasp.Goal) and closed.force == 20.0
        assert (closed.width, closed.epsilon.inner, closed.epsilon.outer) == (0.0, 0.08, 0.08)

    def test_a_new_wish_stops_the_running_goal_and_waits_for_its_end(self, bench, driver):
        self.serve(bench)
        bench.hand.holds = True
        driver.command(1.0)
        bench.until(lambda: driver.poll() is None and bench.goals)
        driver.command(0.0)
        driver.command(1.0)
        driver.command(0.0)
        bench.until(lambda: driver.poll() is None and len(bench.goals) == 2)
        assert [self.opening_of(goal) for goal in bench.goals] == [1.0, 0.0]
        assert bench.hand.stops >= 1 and bench.hand.most_at_once == 1

    def test_what_the_hand_cannot_do_is_told_with_its_own_words_until_it_can(self, bench, driver):
        self.serve(bench)
        bench.hand.succeeds = False
        driver.command(0.0)
        bench.until(lambda: "franka_gripper could not grasp: command aborted" in (driver.poll() or ""))
        bench.hand.succeeds = True
        driver.command(1.0)
        bench.until(lambda: driver.poll() is None)


# What servers may do that played ones cannot: end, start again, answer late --------------------------------------------


class Answer:
    """A future that the test completes."""

    def __init__(self):
        self.told: list[Any] = []
        self.value: Any = None

    def add_done_callback(self, tell):
        self.told.append(tell)

    def result(self):
        return self.value

    def give(self, value=None, **fields):
        """Completes it, with `value` or with an object of these fields."""
        self.value = SimpleNamespace(**fields) if value is None else value
        for tell in self.told:
            tell(self)


class Goal:
    """A goal that was sent, and its handle once accepted."""

    def __init__(self, request):
        self.request, self.answer, self.result, self.cancels = request, Answer(), Answer(), []
        self.accepted = True

    def get_result_async(self):
        return self.result

    def cancel_goal_async(self):
        self.cancels.append(Answer())
        return self.cancels[-1]

    def accept(self):
        """The server accepts it."""
        self.answer.give(self)

    def reject(self):
        """The server does not."""
        self.accepted = False
        self.answer.give(self)

    def end(self, **fields):
        """The server tells its result."""
        self.result.give(status=4, result=SimpleNamespace(**fields))


class Client:
    """An action client without a server behind it."""

    ready = True

    def __init__(self, node, action_type, name):
        self.name, self.goals = name, []

    def server_is_ready(self):
        return self.ready

    def send_goal_async(self, request):
        self.goals.append(Goal(request))
        return self.goals[-1].answer

    def destroy(self):
        pass


class StopService:
    """The client of `~/stop`."""

    def __init__(self):
        self.ready, self.calls = True, []

    def service_is_ready(self):
        return self.ready

    def call_async(self, request):
        self.calls.append(Answer())
        return self.calls[-1]


class PlayedHand:
    """The Franka hand's driver, its clients, and the clock it sees."""

    def __init__(self, monkeypatch):
        self.now_s = 100.0
        monkeypatch.setattr(franka_gripper, "ActionClient", Client)
        monkeypatch.setattr(franka_gripper, "time", SimpleNamespace(monotonic=lambda: self.now_s))
        self.stop = StopService()
        node: Any = SimpleNamespace(create_client=lambda *_: self.stop, destroy_client=lambda _: None)
        self.driver = franka_gripper.FrankaGripperDriver(node, TestFrankaGripper.settings)
        self.grasps, self.moves = self.driver._grasp.goals, self.driver._move.goals

    def set_ready(self, ready):
        """Whether franka_gripper's node is seen."""
        self.driver._grasp.ready = self.driver._move.ready = ready

    def poll_for(self, duration_s):
        """Polls 50 times a second, and returns the last trouble."""
        trouble = self.driver.poll()
        for _ in range(round(duration_s / 0.02)):
            self.now_s += 0.02
            trouble = self.driver.poll()
        return trouble or ""


@pytest.fixture
def hand(monkeypatch):
    return PlayedHand(monkeypatch)


def test_a_hand_whose_node_ends_during_a_goal_takes_the_next_wish_once_it_is_back(hand):
    hand.driver.command(0.0)
    hand.grasps[0].accept()
    hand.set_ready(False)
    assert "the goal to grasp of franka_gripper is lost, expected its result; " in hand.poll_for(0.1)
    hand.driver.command(1.0)
    assert "got no actions franka_gripper/move and franka_gripper/grasp" in hand.poll_for(0.1)
    hand.set_ready(True)
    hand.poll_for(0.1)
    assert len(hand.moves) == 1
    hand.grasps[0].end(success=False, error="late")
    hand.driver.command(0.0)  # waits for the end of the move, not for that of the lost grasp
    assert len(hand.grasps) == 1
    hand.moves[0].accept()
    hand.moves[0].end(success=True, error="")
    assert len(hand.grasps) == 2 and hand.driver.poll() is None


def test_a_hand_that_was_started_again_unseen_is_asked_to_stop_and_then_takes_the_wish(hand):
    hand.driver.command(0.0)
    hand.grasps[0].accept()
    hand.driver.command(1.0)
    hand.stop.calls[0].give(success=True)
    assert not hand.poll_for(1.9) and not hand.moves
    assert "is lost, expected its result; it did not end within 2 s of franka_gripper/stop" in hand.poll_for(0.2)
    assert len(hand.moves) == 1


def test_a_hand_that_does_not_stop_gets_no_second_goal_and_is_told(hand):
    hand.driver.command(0.0)
    hand.grasps[0].accept()
    hand.driver.command(1.0)
    hand.stop.calls[0].give(success=False)
    assert "still runs the goal to grasp 2 s after franka_gripper/stop was called" in hand.poll_for(3.0)
    hand.stop.ready = False
    assert "got no service franka_gripper/stop, expected it to end the goal to grasp" in hand.poll_for(0.1)
    assert not hand.moves


def test_a_hand_is_stopped_again_for_the_goal_after_one_that_it_rejected(hand):
    hand.driver.command(0.0)
    hand.driver.command(1.0)
    hand.poll_for(0.3)  # the grasp is not answered, so that it may run
    before = len(hand.stop.calls)
    assert before == 1
    hand.grasps[0].reject()
    assert "rejected the goal to grasp" in hand.poll_for(0.0)
    hand.moves[0].accept()
    hand.driver.command(0.0)
    assert len(hand.stop.calls) == before + 1


def test_a_hand_is_stopped_as_soon_as_it_accepts_a_goal_sent_before_and_until_that_ends(hand):
    hand.driver.command(0.0)
    hand.driver.stop()
    assert not hand.stop.calls  # there is nothing to stop yet
    hand.grasps[0].accept()
    assert len(hand.stop.calls) == 1
    hand.poll_for(0.25)  # it came before the hand began
    assert len(hand.stop.calls) == 2
    hand.grasps[0].end(success=False, error="command aborted")
    assert not hand.poll_for(1.0) and len(hand.stop.calls) == 2 and not hand.moves
    hand.driver.command(1.0)
    assert len(hand.moves) == 1 and len(hand.stop.calls) == 2


def test_a_hand_that_has_closed_is_not_stopped(hand):
    hand.driver.command(0.0)
    hand.grasps[0].accept()
    hand.grasps[0].end(success=True, error="")
    hand.driver.stop()
    hand.poll_for(0.5)
    assert not hand.stop.calls


@pytest.fixture
def action(monkeypatch):
    monkeypatch.setattr(gripper_action, "ActionClient", Client)
    node: Any = None
    made = GripperAction(node, None, "gripper_cmd", lambda opening: opening)
    return made, made._client


def test_a_gripper_whose_server_ends_during_a_goal_is_told_until_the_next_goal(action):
    driver, client = action
    driver.command(0.0)
    client.goals[0].accept()
    client.ready = False
    assert "the action server on 'gripper_cmd' ended during a goal, expected the goal's result" in driver.poll()
    driver.command(1.0)
    assert "got no action server on 'gripper_cmd'" in driver.poll()
    client.ready = True
    driver.poll()
    client.goals[0].end(stalled=False)
    client.goals[1].accept()
    assert driver.poll() is None and [goal.request for goal in client.goals] == [0.0, 1.0]


def test_goals_that_are_accepted_after_a_stop_are_canceled_and_later_ones_are_not(action):
    driver, client = action
    driver.command(0.0)
    driver.command(1.0)
    driver.stop()
    driver.command(0.0)
    for goal in client.goals:
        goal.accept()
    assert [len(goal.cancels) for goal in client.goals] == [1, 1, 0]


def test_the_goal_that_runs_is_canceled_when_the_one_after_it_was_rejected(action):
    driver, client = action
    driver.command(0.0)
    client.goals[0].accept()
    driver.command(1.0)
    client.goals[1].reject()
    driver.stop()
    assert len(client.goals[0].cancels) == 1


def test_a_gripper_that_refuses_to_cancel_is_told(action):
    driver, client = action
    driver.command(0.0)
    client.goals[0].accept()
    driver.stop()
    client.goals[0].cancels[0].give(return_code=CancelGoal.Response.ERROR_REJECTED)
    assert "its controller on 'gripper_cmd' refused to cancel the goal" in driver.poll()


def test_an_arm_without_a_gripper_has_no_driver(bench):
    assert make_gripper_driver(bench.node, Gripper(kind="none")) is None
