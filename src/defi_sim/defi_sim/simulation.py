"""The table, the emulated controllers and the oracle, advanced together slice by slice; no thread, no clock, no ROS."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from defi_models.contract import FloatArray
from defi_sim.controllers import EmulatedArm, GripperController, JointTrajectoryController
from defi_sim.oracle import Outcome, TaskOracle
from defi_sim.pacing import every
from defi_sim.world import World

SLICE_S = 0.005  # the controllers' period; a physics step is 2 ms, so slices take 2 or 3 of them
# Reading the whole scene takes 0.15 ms; what tasks ask for lasts longer than this.
ORACLE_RATE_HZ = 50.0


@dataclass(frozen=True, slots=True)
class Readings:
    """What the robot's sensors say after a slice; arrays of shape (joints,).

    Attributes:
        positions: Joint positions [rad].
        velocities: Joint velocities [rad/s].
        efforts: Joint torques [Nm].
        finger_m: Position of one finger [m].
        finger_m_s: Its speed [m/s].
        outcome: The attempt that succeeded in this slice, or None.
    """

    positions: FloatArray
    velocities: FloatArray
    efforts: FloatArray
    finger_m: float
    finger_m_s: float
    outcome: Outcome | None


class Simulation:
    """Owned by the thread that steps the physics; any other thread uses `request` alone."""

    def __init__(self, world: World, arm: EmulatedArm, gripper: GripperController, oracle: TaskOracle) -> None:
        self.world = world
        self.arm = arm
        self.gripper = gripper
        self.oracle = oracle
        self._look = every(SLICE_S, ORACLE_RATE_HZ)
        self._requests: deque[Callable[[int], None]] = deque()

    def request(self, work: Callable[[int], None]) -> None:
        """Leaves work for the next slice, which calls it with its time [ns]; any thread."""
        self._requests.append(work)

    def advance(self, now_ns: int, steps: int) -> Readings:
        """Takes requests, updates the controllers at `now_ns`, and makes `steps` physics steps."""
        while self._requests:
            self._requests.popleft()(now_ns)
        world = self.world
        set_points = self.arm.update(now_ns, world.joint_positions())
        if set_points is not None:
            world.command_joints(set_points)
        before_m = self.gripper.position_m
        opening = self.gripper.update(now_ns, world.gripper_opening())
        if opening is not None:
            world.command_gripper(opening)
        world.step(steps)
        outcome = self.oracle.check(world.scene()) if self.oracle.watching and self._look() else None
        elapsed_s = steps * world.TIMESTEP_S
        finger_m_s = (self.gripper.position_m - before_m) / elapsed_s if steps else 0.0
        return Readings(
            world.joint_positions(),
            world.joint_velocities(),
            world.joint_efforts(),
            self.gripper.position_m,
            finger_m_s,
            outcome,
        )

    def check_gripper(self, position_m: float, now_ns: int) -> None:
        """Refuses a goal of the gripper: while the controllers restart, or a position it does not have. Any thread.

        Raises:
            CommandRefusedError: with the reason.
        """
        self.arm.check_ready(now_ns)
        self.gripper.check(position_m)

    def cancel(self, now_ns: int, goal_id: str, trajectory: JointTrajectoryController) -> None:
        """Ends a goal of the trajectory controller or of the gripper, which then hold; inside a request."""
        measured = self.world.joint_positions()
        self.arm.update(now_ns, measured)  # the goal may still be among the commands left for the next update
        trajectory.cancel(goal_id, measured, now_ns)
        self.gripper.cancel(goal_id)

    def instruct(self, task_id: str, text: str) -> None:
        """Begins an attempt from the present scene; an empty text ends it. Physics thread, or inside a request."""
        self.oracle.instruct(task_id, text, self.world.scene())

    def reset(self, now_ns: int, seed: int, task: str = "") -> None:
        """Puts the table into the state of `seed`, one in which `task` can be done if one is named; inside a request.

        Raises:
            TaskError: there is no such task, or it cannot be done.
        """
        self.arm.update(now_ns, self.world.joint_positions())  # commands left before the reset end with it
        self.world.reset(seed, task=task)
        self.arm.restart(now_ns, self.world.joint_positions())
        self.gripper.activate(self.world.gripper_opening())
        self.oracle.restart(self.world.scene())
