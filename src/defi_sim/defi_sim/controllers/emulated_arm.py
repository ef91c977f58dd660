"""The controller manager of the emulated arm: several controllers, one of which owns the arm; and its restart."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from defi_models.contract import NS_PER_S, ConfigError, FloatArray
from defi_sim.controllers.interface import ArmController, CommandRefusedError

# How long a restarted arm takes no commands [s]: about what switching ros2_control controllers off and on takes.
RESTART_S = 0.25


@dataclass(frozen=True, slots=True)
class Refusal:
    """A command that was not taken, the kind of controller it was for, and why."""

    kind: str
    command: Any
    reason: str


class EmulatedArm:
    """Hands commands to their controllers and asks the owner for set points.

    The owner is the controller named in `owner`, or else the one that last got a command; a controller that becomes
    the owner is activated, so it starts from the measured state. `post`, `check` and `check_ready` may be called from any thread,
    everything else from the thread that steps the physics.

    Attributes:
        owner: The controller that owns the arm, or None before the first command.
        stopped: Why the robot does not move whatever its controllers want, or None.
        ignored: Messages that came while the controllers restarted; goals of an action are refused instead.
    """

    def __init__(
        self, controllers: Mapping[str, ArmController], owner: str | None = None, restart_s: float = RESTART_S
    ) -> None:
        """Takes the controllers by kind, as in "forward_position".

        Args:
            controllers: Kind -> controller.
            owner: The only controller that may own the arm; None lets the last commanded one own it.
            restart_s: How long a restart takes [s].

        Raises:
            ConfigError: `owner` is none of them.
        """
        if owner is not None and owner not in controllers:
            raise ConfigError(f"controller: got {owner!r}, expected one of {list(controllers)} or auto")
        self._controllers = dict(controllers)
        self._fixed_owner = owner
        self._restart_ns = int(restart_s * NS_PER_S)
        self._inbox: deque[tuple[str, Any]] = deque()
        self._ready_ns = 0
        self._refusals: list[Refusal] = []
        self._deactivated = False
        self.owner: str | None = None
        self.stopped: str | None = None
        self.ignored = 0

    def suspend(self, reason: str, now_ns: int, measured: FloatArray, *, deactivate: bool) -> None:
        """The robot stops where it is. With `deactivate` its controllers are switched off and hear nothing.

        Without, they go on hearing, and what they want when the robot goes on is followed at once: as on a UR, whose
        protective stop only pauses.
        """
        self.stopped = reason
        self._halted_at = measured.copy()
        if deactivate:
            self._deactivated = True
            for controller in self._controllers.values():
                controller.activate(now_ns, measured)
            self.owner = None

    def resume(self, now_ns: int, measured: FloatArray) -> None:
        """The robot follows its controllers again; those that were switched off start from where it is."""
        self.stopped = None
        if self._deactivated:
            self._deactivated = False
            for controller in self._controllers.values():
                controller.activate(now_ns, measured)

    def check_ready(self, now_ns: int) -> None:
        """Refuses every command while the controllers restart.

        Raises:
            CommandRefusedError: with how long it takes, or why the controllers are switched off.
        """
        if self._deactivated:
            raise CommandRefusedError(f"the controllers are switched off: {self.stopped}")
        if now_ns < self._ready_ns:
            wait_s = (self._ready_ns - now_ns) / NS_PER_S
            raise CommandRefusedError(f"the controllers restart after a reset, ready in {wait_s:.3f} s")

    def check(self, kind: str, command: Any, now_ns: int) -> None:
        """Refuses a command that `kind` would not take now.

        Raises:
            CommandRefusedError: the arm restarts, another controller owns it, or the controller refuses.
        """
        self.check_ready(now_ns)
        if self._fixed_owner not in (None, kind):
            raise CommandRefusedError(f"{kind}: is not active; {self._fixed_owner} owns the arm")
        self._controllers[kind].check(command, now_ns)

    def post(self, kind: str, command: Any) -> None:
        """Leaves a command for the next update."""
        self._inbox.append((kind, command))

    def restart(self, now_ns: int, measured: FloatArray) -> None:
        """Deactivates all controllers and takes no commands for the restart. `measured`: shape (joints,) [rad]."""
        self._ready_ns = now_ns + self._restart_ns
        for controller in self._controllers.values():
            controller.activate(now_ns, measured)
        self.owner = None

    def take_refusals(self) -> list[Refusal]:
        """The commands refused since the last call."""
        refusals, self._refusals = self._refusals, []
        return refusals

    def update(self, now_ns: int, measured: FloatArray) -> FloatArray | None:
        """The joint set points, shape (joints,) [rad]; None as long as no controller writes any."""
        while self._inbox:
            self._take(*self._inbox.popleft(), now_ns, measured)
        wanted = None if self.owner is None else self._controllers[self.owner].update(now_ns, measured)
        return wanted if self.stopped is None else self._halted_at

    def _take(self, kind: str, command: Any, now_ns: int, measured: FloatArray) -> None:
        if (now_ns < self._ready_ns or self._deactivated) and getattr(command, "goal_id", None) is None:
            self.ignored += 1
            return
        try:
            self.check(kind, command, now_ns)
            if kind != self.owner:
                self._controllers[kind].activate(now_ns, measured)
                if self.owner is not None:
                    self._controllers[self.owner].activate(now_ns, measured)  # ends what it was doing
                self.owner = kind
            self._controllers[kind].command(command, now_ns)
        except CommandRefusedError as refusal:
            self._refusals.append(Refusal(kind, command, str(refusal)))
