"""A SpaceMouse through the ROS package spacenav: motion from its Twist, buttons from its Joy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from defi_models.contract import NS_PER_S, FloatArray
from defi_ros.sections import Teleop
from defi_ros.teleop.joystick import PanelDevice, velocity
from defi_ros.teleop.mapping import SpaceMouseMapping
from defi_ros.teleop.wish import Heard, Wish


class SpaceMouse(PanelDevice):
    """Six deflections at once."""

    def __init__(self, mapping: SpaceMouseMapping, speed: Teleop) -> None:
        """Full deflection is the full speed of the robot file's section `teleop`."""
        super().__init__(mapping.source, mapping.topic, mapping.buttons, mapping.silence_s, mapping.frame)
        self._mapping, self._speed = mapping, speed
        self._deflection = np.zeros(6)
        self._moved_ns: int | None = None

    @property
    def topics(self) -> Mapping[str, Heard]:
        """Buttons and motion."""
        return {self._mapping.topic: "joy", self._mapping.twist_topic: "twist"}

    def on_twist(self, twist: FloatArray, now_ns: int) -> None:
        """Notes the deflections."""
        self._deflection, self._moved_ns = np.asarray(twist, dtype=np.float64), now_ns

    def read(self, now_ns: int) -> Wish:
        """The velocity that the deflections ask for; a silent motion topic means no motion."""
        trouble = self.silent(now_ns)
        if not trouble and (self._moved_ns is None or now_ns - self._moved_ns > self._mapping.silence_s * NS_PER_S):
            trouble = f"{self.source}: nothing heard on {self._mapping.twist_topic}"
        twist = velocity(self._mapping.motion, self._deflection.tolist(), [], self._mapping.deadzone, self._speed)
        return self.wish(twist, trouble)
