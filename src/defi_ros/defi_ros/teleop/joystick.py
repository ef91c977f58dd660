"""A joystick or game controller, and what it shares with other devices that say axes and buttons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from defi_models.contract import NS_PER_S, FloatArray
from defi_ros.sections import Teleop
from defi_ros.teleop.buttons import ButtonPanel
from defi_ros.teleop.mapping import DIRECTIONS, Buttons, Input, JoystickMapping
from defi_ros.teleop.wish import Heard, Request, Wish


class PanelDevice:
    """A device whose deadman is a button on a topic of sensor_msgs/Joy; see `Device`."""

    def __init__(self, source: str, topic: str, buttons: Buttons, silence_s: float, frame: str = "base") -> None:
        """Nothing is held before the device has spoken."""
        self.source = source
        self._topic, self._silence_ns = topic, int(silence_s * NS_PER_S)
        self._panel = ButtonPanel(buttons, frame)
        self._heard_ns: int | None = None

    @property
    def topics(self) -> Mapping[str, Heard]:
        """Where its buttons are heard."""
        return {self._topic: "joy"}

    def on_joy(self, axes: list[float], buttons: list[int], now_ns: int) -> None:
        """Notes the buttons."""
        del axes
        self._heard_ns = now_ns
        self._panel.press(buttons)

    def on_twist(self, twist: FloatArray, now_ns: int) -> None:
        """Heard by a SpaceMouse only."""

    def on_joints(self, names: list[str], positions: list[float], now_ns: int) -> None:
        """Heard by a leader only."""

    def on_key(self, key: str, now_ns: int) -> None:
        """Heard by a keyboard only."""

    def note_opening(self, opening: float) -> None:
        """Follows the gripper while nobody holds the deadman."""
        self._panel.note_opening(opening)

    def take_requests(self) -> list[Request]:
        """What was asked for since the last call."""
        return self._panel.take_requests()

    def silent(self, now_ns: int) -> str:
        """Why the buttons cannot be trusted now, or an empty text."""
        if self._heard_ns is None:
            return f"{self.source}: nothing heard on {self._topic} yet"
        silent_ns = now_ns - self._heard_ns
        if not 0 <= silent_ns <= self._silence_ns:
            return f"{self.source}: nothing heard on {self._topic} for {silent_ns / NS_PER_S:.2f} s; is it plugged in?"
        return self._panel.trouble and f"{self.source}: {self._panel.trouble}"

    def wish(self, twist: FloatArray, trouble: str) -> Wish:
        """A wish with the buttons as they are; a trouble releases the deadman, never the emergency stop."""
        panel = self._panel
        deadman = panel.deadman and not trouble
        return Wish(deadman, twist if deadman else np.zeros(6), panel.frame, panel.gripper, panel.stop, trouble)


class Joystick(PanelDevice):
    """Deflections become velocities."""

    def __init__(self, mapping: JoystickMapping, speed: Teleop) -> None:
        """Full deflection is the full speed of the robot file's section `teleop`."""
        super().__init__(mapping.source, mapping.topic, mapping.buttons, mapping.silence_s, mapping.frame)
        self._mapping, self._speed = mapping, speed
        self._twist, self._missing = np.zeros(6), ""

    def on_joy(self, axes: list[float], buttons: list[int], now_ns: int) -> None:
        """Notes buttons and deflections."""
        super().on_joy(axes, buttons, now_ns)
        self._missing = lacking(self._mapping.motion, axes, buttons)
        if not self._missing:
            self._twist = velocity(self._mapping.motion, axes, buttons, self._mapping.deadzone, self._speed)

    def read(self, now_ns: int) -> Wish:
        """The velocity that the deflections ask for."""
        trouble = self.silent(now_ns) or (self._missing and f"{self.source}: {self._missing}")
        return self.wish(self._twist, trouble)


def lacking(motion: Mapping[str, tuple[Input, ...]], axes: Sequence[float], buttons: Sequence[int]) -> str:
    """Which axis or button of the mapping the device does not have, or an empty text."""
    for direction, inputs in motion.items():
        for one in inputs:
            if one.axis >= len(axes) or one.button >= len(buttons):
                return (
                    f"got {len(axes)} axes and {len(buttons)} buttons, expected axis {one.axis} or button {one.button} "
                    f"for {direction}; is it another device?"
                )
    return ""


def velocity(
    motion: Mapping[str, tuple[Input, ...]],
    axes: Sequence[float],
    buttons: Sequence[int],
    deadzone: float,
    speed: Teleop,
) -> FloatArray:
    """The velocity of deflections, shape (6,): at most the full speed, in whatever direction."""
    deflection = np.zeros(6)
    for direction, inputs in motion.items():
        for one in inputs:
            value = axes[one.axis] if one.axis >= 0 else float(bool(buttons[one.button]) and one.button >= 0)
            deflection[DIRECTIONS.index(direction)] += one.scale * beyond(value, deadzone)
    return at_full(deflection, speed)


def beyond(value: float, deadzone: float) -> float:
    """A deflection with the dead zone taken out: continuous, -1..1; anything but a number is none."""
    if not math.isfinite(value) or abs(value) <= deadzone:
        return 0.0
    return math.copysign(min((abs(value) - deadzone) / (1.0 - deadzone), 1.0), value)


def at_full(deflection: FloatArray, speed: Teleop) -> FloatArray:
    """Deflections, shape (6,), times the full speeds; both halves at most of length 1."""
    linear, angular = deflection[:3], deflection[3:]
    linear = linear / max(float(np.linalg.norm(linear)), 1.0)
    angular = angular / max(float(np.linalg.norm(angular)), 1.0)
    return np.concatenate([speed.linear_m_s * linear, speed.angular_rad_s * angular])
