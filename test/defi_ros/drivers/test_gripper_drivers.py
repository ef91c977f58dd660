"""Every gripper driver passes one contract, against a played action server."""

from __future__ import annotations

import time
from typing import Any

import pytest

pytest.importorskip("rclpy")

import rclpy
from rclpy.action.server import ActionServer, CancelResponse, GoalResponse
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor

pytest.importorskip("control_msgs")

from control_msgs.action import GripperCommand, ParallelGripperCommand
from franka_msgs.action import Grasp, Move
from rclpy.task import Future
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from defi_ros.bridge.lifecycle import DefiNode
from defi_ros.drivers import GripperDriver, make_gripper_driver
from defi_ros.sections import Gripper

pytestmark = pytest.mark.ros


class Bench:
    """A node with the driver, and a gripper's action server."""

    def __init__(self) -> None:
        self.context = Context()
        rclpy.init(args=[], context=self.context)
        self.node = DefiNode(context=self.context, namespace=f"/gripper_{time.monotonic_ns()}")
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.server: Any = None
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

    def until(self, condition, timeout_s=5.0):
        """Spins until the condition holds and returns its value."""
        deadline_s = time.monotonic() + timeout_s
        while not (value := condition()):
            assert time.monotonic() < deadline_s
            self.executor.spin_once(timeout_sec=0.02)
        return value

    def close(self):
        """Ends everything."""
        if self.server is not None:
            self.server.destroy()
        self.node.destroy_node()
        self.executor.shutdown()
        self.context.try_shutdown()


@pytest.fixture
def bench():
    made = Bench()
    yield made
    made.close()


class GripperDriverContract:
    """Inherit, say which gripper it is, how to play it, and how to read what it is told."""

    settings: Gripper
    missing: str  # how the trouble names what is not there

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
        assert (bench.hand.stops, bench.hand.most_at_once) == (1, 1)

    def test_what_the_hand_cannot_do_is_told_with_its_own_words_until_it_can(self, bench, driver):
        self.serve(bench)
        bench.hand.succeeds = False
        driver.command(0.0)
        bench.until(lambda: "franka_gripper could not grasp: command aborted" in (driver.poll() or ""))
        bench.hand.succeeds = True
        driver.command(1.0)
        bench.until(lambda: driver.poll() is None)


def test_an_arm_without_a_gripper_has_no_driver(bench):
    assert make_gripper_driver(bench.node, Gripper(kind="none")) is None
