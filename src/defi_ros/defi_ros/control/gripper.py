"""When to command the gripper: on transitions only, because gripper actions are slow and do not queue."""

from __future__ import annotations

import math

from defi_models.contract import NS_PER_S
from defi_ros.sections import Gripper


class GripperSwitch:
    """Turns a stream of wanted openings into few goals: open or close, with hysteresis and a shortest interval.

    Attributes:
        commanded: The opening commanded last, 0.0 or 1.0; before the first goal, the measured one.
    """

    def __init__(self, settings: Gripper) -> None:
        """Takes thresholds and interval from the robot file."""
        self._settings = settings
        self._closed: bool | None = None
        self._goal_ns: int | None = None
        self.commanded = 1.0

    def measured(self, opening: float) -> None:
        """Notes where the gripper is; counts only until the first goal."""
        if self._goal_ns is None and math.isfinite(opening):
            self._closed = opening < 0.5 * (self._settings.close_below + self._settings.open_above)
            self.commanded = min(max(opening, 0.0), 1.0)

    def forget(self) -> None:
        """Whoever takes over says it anew: the next clear wish becomes a goal, also one that was sent before.

        Between two policies a person or a restarted controller may have moved the fingers, with no goal of ours.
        """
        if self._goal_ns is not None:
            self._closed = None

    def step(self, wanted: float, now_ns: int) -> float | None:
        """The goal to send now, 0.0 or 1.0, or None when there is nothing to send.

        A transition within `min_interval_s` of the last goal waits; it is dropped when the wish changes back meanwhile.
        """
        closed = self._closed
        if wanted < self._settings.close_below:
            closed = True
        elif wanted > self._settings.open_above:
            closed = False
        if closed is None or closed == self._closed:
            return None
        since_ns = math.inf if self._goal_ns is None else now_ns - self._goal_ns
        if 0 <= since_ns < self._settings.min_interval_s * NS_PER_S:
            return None
        self._closed, self._goal_ns = closed, now_ns
        self.commanded = 0.0 if closed else 1.0
        return self.commanded
