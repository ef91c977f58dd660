"""Every gripper driver passes one contract, against a played action server."""

from __future__ import annotations

import time
from typing import Any

import pytest

pytest.importorskip("rclpy")

import rclpy
from rclpy.action.server import ActionServer, CancelResponse, GoalResponse
from rclpy.context import Context
from rclpy.node import Node

pytest.importorskip("control_msgs")

from control_msgs.action import GripperCommand, ParallelGripperCommand

from defi_ros.bridge.lifecycle import make_executor
from defi_ros.drivers import GripperDriver, make_gripper_driver
from defi_ros.sections import Gripper

pytestmark = pytest.mark.ros


class Bench:
    """A node with the driver, and a gripper's action server."""

    def __init__(self) -> None:
        self.context = Context()
        rclpy.init(args=[], context=self.context)
        self.node = Node("gripper_bench", context=self.context, namespace=f"/gripper_{time.monotonic_ns()}")
        self.executor = make_executor(self.context)
        self.executor.add_node(self.node)
        self.server: Any = None
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
    """Inherit, and say which action and how to read a goal."""

    kind: str
    action_type: Any

    def position_of(self, goal: Any) -> float:
        """The joint position that the goal asks for [m]."""
        raise NotImplementedError

    def make(self, bench) -> Any:
        driver = make_gripper_driver(bench.node, Gripper(kind=self.kind, width_m=0.08, width_per_joint=2.0))
        assert driver is not None
        return driver

    @pytest.fixture
    def driver(self, bench):
        made = self.make(bench)
        yield made
        made.destroy()

    def test_it_is_a_gripper_driver(self, driver):
        assert isinstance(driver, GripperDriver)

    @pytest.mark.parametrize(("opening", "position_m"), [(0.0, 0.0), (1.0, 0.04)])
    def test_an_opening_becomes_the_position_of_one_finger(self, bench, driver, opening, position_m):
        bench.serve(self.action_type)
        bench.until(lambda: driver.poll() is None)
        driver.command(opening)
        goal = bench.until(lambda: driver.poll() is None and bench.goals and bench.goals[-1])
        assert self.position_of(goal) == pytest.approx(position_m)

    def test_without_a_server_the_action_is_named_and_the_goal_is_sent_once_there_is_one(self, bench, driver):
        driver.command(0.0)
        driver.command(1.0)
        assert "no action server on 'panda_gripper/gripper_cmd'" in (driver.poll() or "")
        bench.serve(self.action_type)
        bench.until(lambda: driver.poll() is None and bench.goals)
        assert [self.position_of(goal) for goal in bench.goals] == [pytest.approx(0.04)]

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


class TestParallelGripperCommand(GripperDriverContract):
    kind = "parallel_gripper_command"
    action_type = ParallelGripperCommand

    def position_of(self, goal):
        assert list(goal.command.name) == ["panda_finger_joint1"]
        assert list(goal.command.effort) == [Gripper().max_effort_n]
        return goal.command.position[0]


class TestGripperCommand(GripperDriverContract):
    kind = "gripper_command"
    action_type = GripperCommand

    def position_of(self, goal):
        assert goal.command.max_effort == Gripper().max_effort_n
        return goal.command.position


def test_an_arm_without_a_gripper_has_no_driver(bench):
    assert make_gripper_driver(bench.node, Gripper(kind="none")) is None
