"""The keyboard of a terminal, which tells of keys pressed but not of keys released.

A held key is the deadman: it comes again at the terminal's repeat rate, the first time after a delay of up to 0.7 s.
So a tap moves for `tap_s`; the arm then stays the person's, at rest, until the key comes again or is found released.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from defi_models.contract import NS_PER_S, FloatArray
from defi_ros.sections import Teleop
from defi_ros.teleop.joystick import at_full
from defi_ros.teleop.mapping import DIRECTIONS, KeyboardMapping
from defi_ros.teleop.wish import Heard, Request, Wish

STEP = 1.25
SLOWEST, FASTEST = 0.1, 1.0
STOP_S = 0.3  # a stop key counts as pressed for this long


class Keyboard:
    """See `Device`."""

    def __init__(self, mapping: KeyboardMapping, speed: Teleop) -> None:
        """No key is held."""
        self.source = mapping.source
        self._mapping, self._speed = mapping, speed
        keys = mapping.keys
        self._asks = {keys.hold: Request.HOLD, keys.policy: Request.POLICY, keys.reset: Request.RESET}
        self._held: dict[str, tuple[int, int]] = {}  # motion key -> when it came first and last [ns]
        self._stop_ns: int | None = None
        self._requests: list[Request] = []
        self._gripper, self._factor, self._frame = 1.0, 0.5, mapping.frame

    @property
    def topics(self) -> Mapping[str, Heard]:
        """None: keys come from a terminal."""
        return {}

    @property
    def help(self) -> str:
        """The keys, in two lines; a space that does not break keeps a key beside what it does."""
        keys = self._mapping.keys
        moves = "  ".join(f"{key}\u00a0{direction}" for key, direction in self._mapping.motion.items())
        named = {" ": "space"}
        rest = "  ".join(f"{named.get(key, key)}\u00a0{name}" for name, key in vars(keys).items())
        return f"hold to move: {moves}\npress: {rest}  Ctrl-C\u00a0quit"

    def status(self) -> str:
        """Frame, speed and gripper in a few words."""
        fingers = "open" if self._gripper > 0.5 else "closed"
        return f"{self._frame} axes, {self._factor:.0%} speed, gripper {fingers}"

    def on_key(self, key: str, now_ns: int) -> None:
        """Notes a key; one that is held comes again and again."""
        keys = self._mapping.keys
        if key == keys.stop:
            self._stop_ns = now_ns
            self._held.clear()
        elif key in self._mapping.motion or key == keys.gripper:
            first_ns, last_ns = self._held.get(key, (now_ns, now_ns))
            again = key in self._held and self._is_held(first_ns, last_ns, now_ns)
            if key == keys.gripper and not again:
                self._gripper = 0.0 if self._gripper > 0.5 else 1.0
            self._held[key] = (first_ns if again else now_ns, now_ns)
        elif key == keys.frame:
            self._frame = "tool" if self._frame == "base" else "base"
        elif key in (keys.faster, keys.slower):
            factor = self._factor * (STEP if key == keys.faster else 1.0 / STEP)
            self._factor = min(max(factor, SLOWEST), FASTEST)
        elif key in self._asks:
            self._requests.append(self._asks[key])

    def _is_held(self, first_ns: int, last_ns: int, now_ns: int) -> bool:
        wait_s = self._mapping.first_repeat_s if last_ns == first_ns else self._mapping.repeat_s
        return 0 <= now_ns - last_ns <= wait_s * NS_PER_S

    def on_joy(self, axes: list[float], buttons: list[int], now_ns: int) -> None:
        """Heard by a joystick only."""

    def on_twist(self, twist: FloatArray, now_ns: int) -> None:
        """Heard by a SpaceMouse only."""

    def on_joints(self, names: list[str], positions: list[float], now_ns: int) -> None:
        """Heard by a leader only."""

    def note_opening(self, opening: float) -> None:
        """Follows the gripper while no key is held."""
        if not self._held:
            self._gripper = min(max(opening, 0.0), 1.0)

    def take_requests(self) -> list[Request]:
        """What was asked for since the last call."""
        requests, self._requests = self._requests, []
        return requests

    def read(self, now_ns: int) -> Wish:
        """The velocity that the held keys ask for."""
        self._held = {key: times for key, times in self._held.items() if self._is_held(*times, now_ns)}
        deflection = np.zeros(6)
        for key, (first_ns, last_ns) in self._held.items():
            moves = key in self._mapping.motion  # the gripper key holds the deadman alone
            if moves and (last_ns > first_ns or now_ns - first_ns <= self._mapping.tap_s * NS_PER_S):
                move = self._mapping.motion[key]
                deflection[DIRECTIONS.index(move[1:])] += 1.0 if move[0] == "+" else -1.0
        stop = self._stop_ns is not None and 0 <= now_ns - self._stop_ns <= STOP_S * NS_PER_S
        twist = self._factor * at_full(deflection, self._speed)
        return Wish(bool(self._held) and not stop, twist, self._frame, self._gripper, stop)
