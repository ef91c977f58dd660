"""What a person wants now, and what every input device offers; knows no message and no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol

from defi_models.contract import FloatArray, frozen_array

Heard = Literal["joy", "twist", "joints"]
FRAMES = ("base", "tool")


class Request(Enum):
    """What a person may ask for at the push of a button, besides moving and stopping."""

    HOLD = "HOLD"
    POLICY = "POLICY"
    RESET = "RESET"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person wants now.

    Attributes:
        deadman: Whether the enabling button is held; never when the device is silent or lacks it.
        twist: Wanted velocity of the tool centre point, shape (6,): linear [m/s], angular [rad/s].
        frame: Axes of the twist: "base" or "tool".
        gripper: Wanted opening, 0 closed .. 1 open.
        stop: Whether the emergency stop is pressed.
        trouble: Why the device cannot be used, or an empty text.
    """

    deadman: bool
    twist: FloatArray
    frame: str
    gripper: float
    stop: bool = False
    trouble: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "twist", frozen_array("twist", self.twist, (6,)))


class Device(Protocol):
    """An input device. What it hears comes in by `on_*`; all calls are made by one thread and none waits."""

    source: str
    """Its name in `control_state` and in recordings."""

    @property
    def topics(self) -> Mapping[str, Heard]:
        """Topics it hears, and what is said there; empty for one that reads keys."""
        ...

    def on_joy(self, axes: list[float], buttons: list[int], now_ns: int) -> None:
        """Notes axes and buttons as in sensor_msgs/Joy."""
        ...

    def on_twist(self, twist: FloatArray, now_ns: int) -> None:
        """Notes six deflections, about -1..1, shape (6,)."""
        ...

    def on_joints(self, names: list[str], positions: list[float], now_ns: int) -> None:
        """Notes joint positions by name [rad]."""
        ...

    def on_key(self, key: str, now_ns: int) -> None:
        """Notes a key; one that is held comes again and again."""
        ...

    def note_opening(self, opening: float) -> None:
        """Notes how far the gripper was told to open, so that taking over leaves it as it is."""
        ...

    def read(self, now_ns: int) -> Wish:
        """What the person wants now."""
        ...

    def take_requests(self) -> list[Request]:
        """What was asked for since the last call."""
        ...
