"""The forward command controller on the position interface: passes the last command on, for ever."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from defi_models.contract import FloatArray
from defi_sim.controllers.interface import CommandRefusedError


class ForwardPositionController:
    """Float64MultiArray on `commands`, in the order of `joint_names`.

    Has no time-out: when messages stop, the last set point stays. A command that is not finite is dropped without a
    word and counted; a command of the wrong length is an error. There is no limit and no interpolation: a jump in the
    command is a jump of the set point.

    Attributes:
        dropped: Commands dropped because a number was not finite.
    """

    def __init__(self, joint_names: Sequence[str]) -> None:
        self._joint_names = tuple(joint_names)
        self._set_point: FloatArray | None = None
        self.dropped = 0

    def check(self, command: Sequence[float], now_ns: int) -> None:
        """Refuses a command of the wrong length.

        Raises:
            CommandRefusedError: the length is not the number of joints.
        """
        if len(command) != len(self._joint_names):
            raise CommandRefusedError(
                f"forward position command: got {len(command)} numbers, expected {len(self._joint_names)}, "
                f"one for each of {list(self._joint_names)}"
            )

    def activate(self, now_ns: int, measured: FloatArray) -> None:
        """Forgets the last command; nothing is written until the next one."""
        self._set_point = None

    def command(self, command: Sequence[float], now_ns: int) -> None:
        """Takes set points, shape (joints,) [rad].

        Raises:
            CommandRefusedError: the length is not the number of joints.
        """
        self.check(command, now_ns)
        set_point = np.array(command, dtype=np.float64)
        if np.isfinite(set_point).all():
            self._set_point = set_point
        else:
            self.dropped += 1

    def update(self, now_ns: int, measured: FloatArray) -> FloatArray | None:
        """The last command, shape (joints,) [rad], however old; None before the first."""
        return self._set_point
