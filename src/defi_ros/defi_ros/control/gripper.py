"""When to command the gripper: on transitions only, because gripper actions are slow and do not queue; and when it is stuck."""

from __future__ import annotations

import math

from defi_models.contract import NS_PER_S
from defi_ros.sections import Gripper

# The slowest gripper of the robot files opens within 1 s, and begins at once.
STUCK_NS = 2 * NS_PER_S
# Parts of the stroke: what moved by less has not moved; what should close and is as open as this holds nothing.
MOVED, WIDE_OPEN = 0.05, 0.95


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
        self._opening: float | None = None
        self._stays_at: float | None = None  # where it was at the last goal, until it moves
        self.commanded = 1.0

    def measured(self, opening: float) -> None:
        """Notes where the gripper is; until the first goal that counts as commanded."""
        if not math.isfinite(opening):
            return
        self._opening = opening
        if self._stays_at is not None and abs(opening - self._stays_at) > MOVED:
            self._stays_at = None
        if self._goal_ns is None:
            self._closed = opening < 0.5 * (self._settings.close_below + self._settings.open_above)
            self.commanded = min(max(opening, 0.0), 1.0)

    def forget(self) -> None:
        """Whoever takes over says it anew: the next clear wish becomes a goal, also one that was sent before.

        Between two policies a person or a restarted controller may have moved the fingers, with no goal of ours.
        """
        self._stays_at = None
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
        self._closed, self._goal_ns, self._stays_at = closed, now_ns, self._opening
        self.commanded = 0.0 if closed else 1.0
        return self.commanded

    def why_stuck(self, now_ns: int) -> str | None:
        """Why the gripper seems not to obey its last goal, or None. One that does not tell where it is never seems so.

        Closed on an object, it need not move at all; so only one that stays wide open counts as not closing.
        """
        stays_at, goal_ns = self._stays_at, self._goal_ns
        if stays_at is None or goal_ns is None or now_ns - goal_ns < STUCK_NS:
            return None
        obeys = stays_at < WIDE_OPEN if self.commanded == 0.0 else stays_at > self._settings.open_above
        if obeys:
            return None
        wanted = "close" if self.commanded == 0.0 else "open"
        return (
            f"gripper: told to {wanted} {(now_ns - goal_ns) / NS_PER_S:.1f} s ago, still {stays_at:.0%} open, expected it "
            "to move; is it stuck, or without power?"
        )
