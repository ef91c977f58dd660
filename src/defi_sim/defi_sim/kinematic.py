"""An arm and a gripper without physics: joints go where the controllers want them, no faster than they can.

It stands in for robots that have no scene here, so that drivers and the arm bridge can be tried on each of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from defi_models.contract import NS_PER_S, FloatArray
from defi_sim.controllers import EmulatedArm, GripperController, JointTrajectoryController
from defi_sim.simulation import Readings

GRIPPER_S = 0.4  # from open to closed
MAX_STEP_S = 0.05


class KinematicSimulation:
    """What `Simulation` is to the emulated controllers; owned by one thread, any other uses `request` alone.

    Attributes:
        positions: Where the joints are, shape (joints,) [rad].
        opening: Where the gripper is, 0 closed .. 1 open.
        held_at: Opening at which the fingers meet an object, or None.
    """

    def __init__(
        self, arm: EmulatedArm, gripper: GripperController, home: FloatArray, max_velocity: FloatArray
    ) -> None:
        """Starts at `home` [rad]; `max_velocity` is what the joints can do [rad/s]."""
        self.arm = arm
        self.gripper = gripper
        self.positions = np.array(home, dtype=np.float64)
        self.opening = 1.0
        self.held_at: float | None = None
        self._fastest = max_velocity
        self._last_ns: int | None = None
        self._requests: deque[Callable[[int], None]] = deque()

    def request(self, work: Callable[[int], None]) -> None:
        """Leaves work for the next update, which calls it with its time [ns]; any thread."""
        self._requests.append(work)

    def advance(self, now_ns: int) -> Readings:
        """Takes requests, updates the controllers at `now_ns`, and moves."""
        while self._requests:
            self._requests.popleft()(now_ns)
        elapsed_s = 0.0 if self._last_ns is None else min(max((now_ns - self._last_ns) / NS_PER_S, 0.0), MAX_STEP_S)
        self._last_ns = now_ns
        wanted = self.arm.update(now_ns, self.positions)
        before = self.positions
        if wanted is not None:
            reach = self._fastest * elapsed_s
            self.positions = before + np.clip(wanted - before, -reach, reach)
        self._grip(now_ns, elapsed_s)
        velocities = (self.positions - before) / elapsed_s if elapsed_s else np.zeros_like(before)
        return Readings(
            self.positions.copy(), velocities, np.zeros_like(before), self.gripper.position_m, 0.0, outcome=None
        )

    def check_gripper(self, position_m: float, now_ns: int) -> None:
        """See `Simulation.check_gripper`."""
        self.arm.check_ready(now_ns)
        self.gripper.check(position_m)

    def cancel(self, now_ns: int, goal_id: str, trajectory: JointTrajectoryController) -> None:
        """See `Simulation.cancel`."""
        self.arm.update(now_ns, self.positions)
        trajectory.cancel(goal_id, self.positions, now_ns)
        self.gripper.cancel(goal_id)

    def _grip(self, now_ns: int, elapsed_s: float) -> None:
        wanted = self.gripper.update(now_ns, self.opening)
        if wanted is None:
            return
        step = elapsed_s / GRIPPER_S
        opening = self.opening + min(max(wanted - self.opening, -step), step)
        if self.held_at is not None and opening < self.held_at <= self.opening:
            opening = self.held_at
        self.opening = opening
