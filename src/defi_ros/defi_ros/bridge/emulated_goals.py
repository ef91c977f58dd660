"""The action servers of the emulated controllers and grippers; goals wait in the executor as coroutines, not threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from control_msgs.action import FollowJointTrajectory, GripperCommand, ParallelGripperCommand
from franka_msgs.action import Grasp, Move
from rclpy.action.server import ActionServer, CancelResponse, GoalResponse
from rclpy.task import Future
from sensor_msgs.msg import JointState as JointStateMessage
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from defi_models.contract import NS_PER_S
from defi_ros.bridge.convert import float_array, to_ns
from defi_ros.bridge.lifecycle import DefiNode
from defi_sim.controllers import (
    CommandRefusedError,
    ErrorCode,
    FrankaHand,
    GoalResult,
    GripperResult,
    HandGoal,
    HandResult,
    JointState,
    JointTrajectoryController,
    Refusal,
    Trajectory,
    TrajectoryGoal,
    TrajectoryPoint,
)
from defi_sim.simulation import Readings

NOT_ENDED = "canceled before it began, or the simulation stopped"
FEEDBACK_PERIOD_S = 0.05  # the real controllers' action_monitor_rate of 20 Hz


def _point_from(message: JointTrajectoryPoint) -> TrajectoryPoint:
    def array(values: Any) -> np.ndarray | None:
        return np.array(values, dtype=np.float64) if len(values) else None

    state = JointState(np.array(message.positions), array(message.velocities), array(message.accelerations))
    return TrajectoryPoint(to_ns(message.time_from_start), state)


def trajectory_from(message: JointTrajectory) -> Trajectory:
    """The trajectory that a message carries; sizes are not checked here."""
    start_ns = to_ns(message.header.stamp)
    return Trajectory(tuple(message.joint_names), tuple(map(_point_from, message.points)), start_ns)


def goal_from(goal_id: str, request: FollowJointTrajectory.Goal) -> TrajectoryGoal:
    """The goal that a request of the follow_joint_trajectory action carries."""
    return TrajectoryGoal(
        trajectory_from(request.trajectory),
        goal_id,
        {tolerance.name: tolerance.position for tolerance in request.path_tolerance},
        {tolerance.name: tolerance.position for tolerance in request.goal_tolerance},
        to_ns(request.goal_time_tolerance) / NS_PER_S,
    )


def point_to(positions: np.ndarray, velocities: np.ndarray | None = None) -> JointTrajectoryPoint:
    """The message of a point."""
    return JointTrajectoryPoint(
        positions=float_array(positions), velocities=[] if velocities is None else float_array(velocities)
    )


def goal_id_of(handle: Any) -> str:
    """The goal's UUID as text."""
    return bytes(handle.goal_id.uuid).hex()


class EmulatedGoals:
    """Serves the actions of one simulation; made in configure, released with the node."""

    def __init__(
        self,
        node: DefiNode,
        simulation: Any,
        trajectory: JointTrajectoryController,
        joint_names: tuple[str, ...],
        names: Mapping[str, str],
    ) -> None:
        """Opens the actions.

        Args:
            node: The node that owns them.
            simulation: Takes the goals.
            trajectory: Its joint trajectory controller.
            joint_names: The arm's joints and the finger.
            names: Name of each action; of "joint_trajectory" the controller's, of "franka_gripper" the node's.
        """
        self._node = node
        self._simulation = simulation
        self._trajectory = trajectory
        self._hand = FrankaHand(simulation.gripper)
        self._arm_joints, self._finger_joint = list(joint_names[:-1]), joint_names[-1]
        self._readings: Readings | None = None
        self._waiting: dict[str, Future] = {}
        self._followed: dict[str, tuple[Any, Callable[[Readings], Any]]] = {}
        follow = f"{names['joint_trajectory']}/follow_joint_trajectory"
        self._serve(FollowJointTrajectory, follow, self._take_trajectory, self._follow)
        self._serve(ParallelGripperCommand, names["parallel_gripper_command"], self._take_parallel, self._grip_parallel)
        self._serve(GripperCommand, names["gripper_command"], self._take_gripper, self._grip)
        hand = names["franka_gripper"]
        self._serve(Move, f"{hand}/move", self._take_width, self._move_hand)
        self._serve(Grasp, f"{hand}/grasp", self._take_width, self._grasp)
        node.offer(f"{hand}/stop", Trigger, self._stop_hand)
        node.every(FEEDBACK_PERIOD_S, self._give_feedback)

    def settle(self, readings: Readings, refusals: list[Refusal], now_ns: int) -> None:
        """Ends the goals that ended in the last slice; physics thread."""
        self._readings = readings
        gripper = self._simulation.gripper.take_results()
        results: list[GoalResult | GripperResult | HandResult] = [
            *self._trajectory.take_results(),
            *gripper,
            *self._hand.take_results(gripper, now_ns),
        ]
        for refusal in refusals:
            goal_id = getattr(refusal.command, "goal_id", None)
            if goal_id is not None:
                results.append(GoalResult(goal_id, "aborted", ErrorCode.INVALID_GOAL, refusal.reason))
        for result in results:
            waiting = self._waiting.pop(result.goal_id, None)
            if waiting is not None:
                waiting.set_result(result)

    def abandon(self) -> None:
        """Aborts every goal, because nothing moves any more; after the physics thread ended."""
        while self._waiting:
            self._waiting.popitem()[1].set_result(None)

    def move_gripper(self, position: float) -> None:
        """Moves the fingers without a goal, as a forward controller does; a position they do not have is dropped."""

        def begin(now_ns: int) -> None:
            try:
                self._simulation.gripper.command(position, "topic", now_ns)
            except CommandRefusedError as refusal:
                self._node.get_logger().warning(f"gripper: {refusal}", throttle_duration_sec=1.0)

        self._simulation.request(begin)

    def _serve(self, action: type, name: str, take: Callable[[Any], None], execute: Any) -> None:
        def answer(request: Any) -> GoalResponse:
            try:
                if self._node.state != "active":
                    raise CommandRefusedError("the simulation is not active")
                take(request)
            except CommandRefusedError as refusal:
                self._node.get_logger().warning(f"{name}: goal rejected: {refusal}")
                return GoalResponse.REJECT
            return GoalResponse.ACCEPT

        server = ActionServer(self._node, action, name, execute, goal_callback=answer, cancel_callback=self._cancel)
        self._node.own(server.destroy)

    def _cancel(self, handle: Any) -> CancelResponse:
        goal_id = goal_id_of(handle)
        self._simulation.request(lambda now_ns: self._simulation.cancel(now_ns, goal_id, self._trajectory))
        return CancelResponse.ACCEPT

    # Trajectories ----------------------------------------------------------------------------------------------------

    def _take_trajectory(self, request: FollowJointTrajectory.Goal) -> None:
        self._simulation.arm.check("joint_trajectory", goal_from("", request), self._node.now_ns())

    async def _follow(self, handle: Any) -> FollowJointTrajectory.Result:
        goal = goal_from(goal_id_of(handle), handle.request)
        done = await self._wait(
            handle, lambda now_ns: self._simulation.arm.post("joint_trajectory", goal), self._trajectory_feedback
        )
        if done is None:
            return FollowJointTrajectory.Result(error_code=int(ErrorCode.INVALID_GOAL), error_string=NOT_ENDED)
        return FollowJointTrajectory.Result(error_code=int(done.code), error_string=done.reason)

    def _trajectory_feedback(self, readings: Readings) -> FollowJointTrajectory.Feedback:
        desired = self._trajectory.desired or JointState(readings.positions)
        feedback = FollowJointTrajectory.Feedback(joint_names=self._arm_joints)
        feedback.header.stamp = self._node.get_clock().now().to_msg()
        feedback.desired = point_to(desired.positions, desired.velocities)
        feedback.actual = point_to(readings.positions, readings.velocities)
        feedback.error = point_to(desired.positions - readings.positions)
        return feedback

    # Grippers --------------------------------------------------------------------------------------------------------

    def _take_parallel(self, request: ParallelGripperCommand.Goal) -> None:
        count = len(request.command.position)
        if count != 1:
            raise CommandRefusedError(f"gripper goal: got {count} positions, expected exactly 1")
        self._simulation.check_gripper(request.command.position[0], self._node.now_ns())

    def _take_gripper(self, request: GripperCommand.Goal) -> None:
        self._simulation.check_gripper(request.command.position, self._node.now_ns())

    def _take_width(self, request: Any) -> None:
        self._hand.check(request.width)

    async def _grip_parallel(self, handle: Any) -> ParallelGripperCommand.Result:
        def feedback(readings: Readings) -> Any:
            return ParallelGripperCommand.Feedback(state=self._finger_state(readings.finger_m))

        done = await self._wait_for_gripper(handle, handle.request.command.position[0], feedback)
        if done is None:
            return ParallelGripperCommand.Result()
        state = self._finger_state(done.position_m)
        return ParallelGripperCommand.Result(state=state, stalled=done.stalled, reached_goal=done.reached_goal)

    async def _grip(self, handle: Any) -> GripperCommand.Result:
        # As the Franka hand does: goals are half of the width (one finger), feedback and results all of it.
        def feedback(readings: Readings) -> Any:
            return GripperCommand.Feedback(position=2.0 * readings.finger_m)

        done = await self._wait_for_gripper(handle, handle.request.command.position, feedback)
        if done is None:
            return GripperCommand.Result()
        return GripperCommand.Result(
            position=2.0 * done.position_m, stalled=done.stalled, reached_goal=done.reached_goal
        )

    async def _move_hand(self, handle: Any) -> Move.Result:
        goal = HandGoal(goal_id_of(handle), handle.request.width)
        return await self._use_hand(handle, goal, Move)

    async def _grasp(self, handle: Any) -> Grasp.Result:
        epsilon = handle.request.epsilon
        goal = HandGoal(goal_id_of(handle), handle.request.width, (epsilon.inner, epsilon.outer))
        return await self._use_hand(handle, goal, Grasp)

    async def _use_hand(self, handle: Any, goal: HandGoal, action: Any) -> Any:
        def feedback(readings: Readings) -> Any:
            return action.Feedback(current_width=2.0 * readings.finger_m)

        done = await self._wait(handle, lambda now_ns: self._hand.command(goal, now_ns), feedback)
        return action.Result() if done is None else action.Result(success=done.success, error=done.error)

    def _stop_hand(self, request: Any, response: Any) -> Any:
        del request
        self._simulation.request(lambda now_ns: self._hand.stop())
        response.success = True
        return response

    def _finger_state(self, position_m: float) -> JointStateMessage:
        return JointStateMessage(name=[self._finger_joint], position=[position_m])

    # Waiting ---------------------------------------------------------------------------------------------------------

    async def _wait_for_gripper(
        self, handle: Any, position_m: float, feedback: Callable[[Readings], Any]
    ) -> GripperResult | None:
        goal_id, gripper = goal_id_of(handle), self._simulation.gripper
        return await self._wait(handle, lambda now_ns: gripper.command(position_m, goal_id, now_ns), feedback)

    async def _wait(self, handle: Any, begin: Callable[[int], None], feedback: Callable[[Readings], Any]) -> Any:
        """Lets the physics thread begin a goal and waits for its end; None when it never came to one."""
        if handle.is_cancel_requested:  # canceled before it began
            handle.canceled()
            return None
        goal_id = goal_id_of(handle)
        done: Future = Future(executor=self._node.executor)
        self._waiting[goal_id] = done
        self._followed[goal_id] = (handle, feedback)
        self._simulation.request(begin)
        result = await done
        del self._followed[goal_id]
        succeeded = getattr(result, "success", getattr(result, "outcome", None) == "succeeded")
        if result is not None and succeeded:
            handle.succeed()
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return result

    def _give_feedback(self) -> None:
        readings = self._readings
        if readings is None:
            return
        for handle, feedback in tuple(self._followed.values()):
            handle.publish_feedback(feedback(readings))
