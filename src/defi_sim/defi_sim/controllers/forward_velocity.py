"""The forward command controller on the velocity interface: passes the last command on, for ever."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from defi_models.contract import NS_PER_S, FloatArray
from defi_sim.controllers.interface import CommandRefusedError

MAX_STEP_S = 0.05  # a longer gap between updates is cut: the arm did not run away while nobody looked


class ForwardVelocityController:
    """Float64MultiArray on `commands`, in the order of `joint_names`, as set points of a position-controlled arm.

    Has no time-out: when messages stop, the joints keep moving. A command that is not finite is dropped without a word
    and counted; a command of the wrong length is an error. There is no limit.

    Attributes:
        dropped: Commands dropped because a number was not finite.
    """

    def __init__(self, joint_names: Sequence[str]) -> None:
        self._joint_names = tuple(joint_names)
        self._velocity: FloatArray | None = None
        self._set_point: FloatArray | None = None
        self._last_ns = 0
        self.dropped = 0

    def check(self, command: Sequence[float], now_ns: int) -> None:
        """Refuses a command of the wrong length.

        Raises:
            CommandRefusedError: the length is not the number of joints.
        """
        if len(command) != len(self._joint_names):
            raise CommandRefusedError(
                f"forward velocity command: got {len(command)} numbers, expected {len(self._joint_names)}, "
                f"one for each of {list(self._joint_names)}"
            )

    def activate(self, now_ns: int, measured: FloatArray) -> None:
        """Forgets the last command; nothing is written until the next one."""
        self._velocity = None
        self._set_point = np.array(measured, dtype=np.float64)
        self._last_ns = now_ns

    def command(self, command: Sequence[float], now_ns: int) -> None:
        """Takes velocities, shape (joints,) [rad/s].

        Raises:
            CommandRefusedError: the length is not the number of joints.
        """
        self.check(command, now_ns)
        velocity = np.array(command, dtype=np.float64)
        if np.isfinite(velocity).all():
            self._velocity = velocity
        else:
            self.dropped += 1

    def update(self, now_ns: int, measured: FloatArray) -> FloatArray | None:
        """Where the last velocity has led to, shape (joints,) [rad], however old it is; None before the first."""
        elapsed_s = min(max((now_ns - self._last_ns) / NS_PER_S, 0.0), MAX_STEP_S)
        self._last_ns = now_ns
        if self._velocity is None or self._set_point is None:
            return None
        self._set_point = self._set_point + self._velocity * elapsed_s
        return self._set_point
