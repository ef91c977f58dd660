"""What every emulated arm controller can do; it knows neither ROS nor the physics it drives."""

from __future__ import annotations

from typing import Any, Protocol

from defi_models.contract import DefiError, FloatArray


class CommandRefusedError(DefiError):
    """A real controller would refuse this command; the text says why."""


class ArmController(Protocol):
    """One controller of the arm. Not thread-safe, except `check`: the thread that steps the physics owns the rest."""

    def check(self, command: Any, now_ns: int) -> None:
        """Refuses a command the real controller would refuse. Reads constants only; any thread may call it.

        Raises:
            CommandRefusedError: with the reason the real controller gives.
        """
        ...

    def activate(self, now_ns: int, measured: FloatArray) -> None:
        """Takes the arm over where it is: forgets every command. `measured`: shape (joints,) [rad]."""
        ...

    def command(self, command: Any, now_ns: int) -> None:
        """Takes a command.

        Raises:
            CommandRefusedError: as `check`.
        """
        ...

    def update(self, now_ns: int, measured: FloatArray) -> FloatArray | None:
        """The joint set points at `now_ns`, shape (joints,) [rad]; None when the controller writes nothing yet."""
        ...
