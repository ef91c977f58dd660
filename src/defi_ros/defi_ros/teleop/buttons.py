"""Buttons that every device with buttons has: deadman, stop, gripper, frame, and requests; edges count once."""

from __future__ import annotations

from collections.abc import Sequence

from defi_ros.teleop.mapping import Buttons
from defi_ros.teleop.wish import Request

GRIPPER, FRAME = "gripper", "frame"


class ButtonPanel:
    """Turns numbered buttons into what they mean. Called by one thread.

    Attributes:
        deadman: Whether every deadman button is held.
        stop: Whether the emergency stop is pressed.
        gripper: Wanted opening, 0 or 1.
        frame: "base" or "tool".
        trouble: Which button the device lacks, or an empty text.
    """

    def __init__(self, buttons: Buttons, frame: str = "base") -> None:
        """Begins with no button pressed."""
        self._numbers = buttons
        self._asks = {Request.HOLD: buttons.hold, Request.POLICY: buttons.policy, Request.RESET: buttons.reset}
        self._pressed: tuple[bool, ...] | None = None
        self._requests: list[Request] = []
        self.deadman = self.stop = False
        self.gripper, self.frame, self.trouble = 1.0, frame, ""

    def press(self, buttons: Sequence[int]) -> None:
        """Notes which buttons are pressed now. What was pressed before the first call is no edge."""
        numbers = self._numbers
        highest = max(*numbers.deadman, numbers.stop)
        if highest >= len(buttons):
            self.deadman, self._pressed = False, None
            self.trouble = (
                f"got {len(buttons)} buttons, expected number {highest} to be there; is the device unplugged?"
            )
            return
        self.trouble = ""
        pressed = tuple(bool(button) for button in buttons)
        before, self._pressed = self._pressed, pressed
        self.deadman = all(pressed[number] for number in numbers.deadman)
        self.stop = numbers.stop >= 0 and pressed[numbers.stop]

        def rising(number: int) -> bool:
            return before is not None and 0 <= number < len(pressed) and pressed[number] and not before[number]

        if before is None or len(before) != len(pressed):
            return
        if rising(numbers.gripper):
            self.gripper = 0.0 if self.gripper > 0.5 else 1.0
        if rising(numbers.frame):
            self.frame = "tool" if self.frame == "base" else "base"
        self._requests += [request for request, number in self._asks.items() if rising(number)]

    def note_opening(self, opening: float) -> None:
        """Follows the gripper while nobody holds the deadman."""
        if not self.deadman:
            self.gripper = min(max(opening, 0.0), 1.0)

    def take_requests(self) -> list[Request]:
        """What was asked for since the last call."""
        requests, self._requests = self._requests, []
        return requests
