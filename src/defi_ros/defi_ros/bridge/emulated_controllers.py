"""The ROS face of the emulated controllers: the topics and actions that real controllers have. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from control_msgs.action import FollowJointTrajectory, GripperCommand, ParallelGripperCommand
from geometry_msgs.msg import PoseStamped
from rclpy.action.server import ActionServer, CancelResponse, GoalResponse
from rclpy.task import Future
from sensor_msgs.msg import JointState as JointStateMessage
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from defi_models.contract import NS_PER_S
from defi_ros.bridge import qos
from defi_ros.bridge.convert import float_array, to_ns
from defi_ros.bridge.lifecycle import DefiNode
from defi_ros.robot import RobotFile
from defi_sim.controllers import (
    CommandRefusedError,
    ErrorCode,
    GoalResult,
    GripperResult,
    JointState,
    JointTrajectoryController,
    PoseCommand,
    Refusal,
    Trajectory,
    TrajectoryGoal,
    TrajectoryPoint,
)
from defi_sim.simulation import Readings, Simulation

FORWARD, TRAJECTORY, CARTESIAN = "forward_position", "joint_trajectory", "cartesian_pose"
# What is served, and the usual name of each.
ENDPOINTS = {
    FORWARD: "forward_position_controller/commands",
    TRAJECTORY: "joint_trajectory_controller/joint_trajectory",
    CARTESIAN: "target_pose",
    "follow_joint_trajectory": "joint_trajectory_controller/follow_joint_trajectory",
    "parallel_gripper_command": "panda_gripper/gripper_cmd",
    "gripper_command": "panda_gripper/gripper_action",
}
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


def _point_to(positions: np.ndarray, velocities: np.ndarray | None = None) -> JointTrajectoryPoint:
    return JointTrajectoryPoint(
        positions=float_array(positions), velocities=[] if velocities is None else float_array(velocities)
    )


def goal_id_of(handle: Any) -> str:
    """The goal's UUID as text."""
    return bytes(handle.goal_id.uuid).hex()


def endpoint_names(robot: RobotFile) -> dict[str, str]:
    """The usual names, except where the robot file gives the controller that moves it another."""
    names = dict(ENDPOINTS)
    if robot.driver.topic:
        names[robot.driver.kind] = robot.driver.topic
    if robot.gripper.action and robot.gripper.kind in names:
        names[robot.gripper.kind] = robot.gripper.action
    return names


class EmulatedControllers:
    """Subscribes and serves for the controllers of one `Simulation`; made in configure, released with the node.

    Callbacks run in the thread that spins the node and leave their commands for the physics thread, which calls
    `settle` after every slice. Goals wait in the executor as coroutines, not as threads.
    """

    def __init__(
        self,
        node: DefiNode,
        simulation: Simulation,
        trajectory: JointTrajectoryController,
        joint_names: tuple[str, ...],
        names: Mapping[str, str],
    ) -> None:
        """Opens topics and actions.

        Args:
            node: The node that owns them.
            simulation: Takes the commands.
            trajectory: Its joint trajectory controller.
            joint_names: The arm's joints and the finger, in the order of `joint_states`.
            names: Topic or action of each entry of `ENDPOINTS`.
        """
        self._node = node
        self._simulation = simulation
        self._trajectory = trajectory
        self._arm_joints, self._finger_joint = list(joint_names[:-1]), joint_names[-1]
        self._readings: Readings | None = None
        self._waiting: dict[str, Future] = {}
        self._followed: dict[str, tuple[Any, Callable[[Readings], Any]]] = {}
        node.hear(names[FORWARD], Float64MultiArray, self._hear_forward, qos.COMMANDS)
        node.hear(names[TRAJECTORY], JointTrajectory, self._hear_trajectory, qos.EVENTS)
        self._poses = node.hear(names[CARTESIAN], PoseStamped, self._hear_pose, qos.COMMANDS)
        self._serve(FollowJointTrajectory, names["follow_joint_trajectory"], self._take_trajectory, self._follow)
        self._serve(ParallelGripperCommand, names["parallel_gripper_command"], self._take_parallel, self._grip_parallel)
        self._serve(GripperCommand, names["gripper_command"], self._take_gripper, self._grip)
        node.every(FEEDBACK_PERIOD_S, self._give_feedback)

    def settle(self, readings: Readings) -> list[Refusal]:
        """Ends the goals that ended in the last slice; physics thread. Returns the commands that were refused."""
        self._readings = readings
        results: list[GoalResult | GripperResult] = [
            *self._trajectory.take_results(),
            *self._simulation.gripper.take_results(),
        ]
        refusals = self._simulation.arm.take_refusals()
        for refusal in refusals:
            goal_id = getattr(refusal.command, "goal_id", None)
            if goal_id is not None:
                results.append(GoalResult(goal_id, "aborted", ErrorCode.INVALID_GOAL, refusal.reason))
        for result in results:
            waiting = self._waiting.pop(result.goal_id, None)
            if waiting is not None:
                waiting.set_result(result)
        return refusals

    def abandon(self) -> None:
        """Aborts every goal, because nothing moves any more; after the physics thread ended."""
        while self._waiting:
            self._waiting.popitem()[1].set_result(None)

    # Topics ----------------------------------------------------------------------------------------------------------

    def _hear_forward(self, message: Float64MultiArray) -> None:
        self._simulation.arm.post(FORWARD, message.data)

    def _hear_trajectory(self, message: JointTrajectory) -> None:
        self._simulation.arm.post(TRAJECTORY, TrajectoryGoal(trajectory_from(message)))

    def _hear_pose(self, message: PoseStamped) -> None:
        at, turn = message.pose.position, message.pose.orientation
        pose = np.array([at.x, at.y, at.z, turn.x, turn.y, turn.z, turn.w])
        publishers = self._node.count_publishers(self._poses.topic_name)
        self._simulation.arm.post(CARTESIAN, PoseCommand(pose, publishers))

    # Actions ---------------------------------------------------------------------------------------------------------

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

    def _take_trajectory(self, request: FollowJointTrajectory.Goal) -> None:
        self._simulation.arm.check(TRAJECTORY, goal_from("", request), self._node.now_ns())

    def _take_parallel(self, request: ParallelGripperCommand.Goal) -> None:
        count = len(request.command.position)
        if count != 1:
            raise CommandRefusedError(f"gripper goal: got {count} positions, expected exactly 1")
        self._simulation.check_gripper(request.command.position[0], self._node.now_ns())

    def _take_gripper(self, request: GripperCommand.Goal) -> None:
        self._simulation.check_gripper(request.command.position, self._node.now_ns())

    async def _follow(self, handle: Any) -> FollowJointTrajectory.Result:
        goal = goal_from(goal_id_of(handle), handle.request)
        done = await self._wait(
            handle, lambda now_ns: self._simulation.arm.post(TRAJECTORY, goal), self._trajectory_feedback
        )
        if done is None:
            return FollowJointTrajectory.Result(error_code=int(ErrorCode.INVALID_GOAL), error_string=NOT_ENDED)
        return FollowJointTrajectory.Result(error_code=int(done.code), error_string=done.reason)

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
        if result is not None and result.outcome == "succeeded":
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
        for handle, feedback in self._followed.values():
            handle.publish_feedback(feedback(readings))

    def _trajectory_feedback(self, readings: Readings) -> FollowJointTrajectory.Feedback:
        desired = self._trajectory.desired or JointState(readings.positions)
        feedback = FollowJointTrajectory.Feedback(joint_names=self._arm_joints)
        feedback.header.stamp = self._node.get_clock().now().to_msg()
        feedback.desired = _point_to(desired.positions, desired.velocities)
        feedback.actual = _point_to(readings.positions, readings.velocities)
        feedback.error = _point_to(desired.positions - readings.positions)
        return feedback

    def _finger_state(self, position_m: float) -> JointStateMessage:
        return JointStateMessage(name=[self._finger_joint], position=[position_m])
