"""A leader arm: the robot's tool repeats what the leader's tool does, from wherever both were when the deadman closed.

The bridge integrates velocities. So the way already told is counted here the same way, and the velocity said next is
that which closes up to the leader: neither a late nor a doubled joint state adds up to a drift between both.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pinocchio as pin

from defi_models.contract import NS_PER_S, ConfigError, FloatArray
from defi_ros.control.kinematics import Kinematics
from defi_ros.sections import Teleop
from defi_ros.teleop.joystick import PanelDevice, at_full
from defi_ros.teleop.mapping import LeaderMapping
from defi_ros.teleop.wish import Heard, Wish

LONGEST_STEP_S = 0.1


class Leader(PanelDevice):
    """See `Device`."""

    def __init__(self, mapping: LeaderMapping, speed: Teleop, kinematics: Kinematics) -> None:
        """`kinematics` are the leader's, in the order of `mapping.joint_names`."""
        super().__init__(mapping.source, mapping.topic, mapping.buttons, mapping.silence_s)
        count = len(mapping.joint_names)
        for name, values in (("signs", mapping.signs), ("offsets_rad", mapping.offsets_rad)):
            if values and len(values) != count:
                raise ConfigError(f"leader: {name}: got {len(values)} numbers, expected {count}, one a joint")
        if len(kinematics.joint_names) != count:
            raise ConfigError(
                f"leader: joint_names: got {count} names, expected {len(kinematics.joint_names)}: one for each of "
                f"{', '.join(kinematics.joint_names)}"
            )
        self._mapping, self._speed, self._kinematics = mapping, speed, kinematics
        self._signs = np.array(mapping.signs or (1.0,) * count)
        self._offsets = np.array(mapping.offsets_rad or (0.0,) * count)
        self._pose: FloatArray | None = None
        self._joints_ns, self._trouble = 0, f"{mapping.source}: nothing heard on {mapping.joints_topic} yet"
        self._opening: float | None = None
        self._anchor: FloatArray | None = None
        self._told, self._turned = np.zeros(3), np.eye(3)
        self._twist, self._read_ns = np.zeros(6), 0

    @property
    def topics(self) -> Mapping[str, Heard]:
        """Buttons and joints."""
        return {self._mapping.topic: "joy", self._mapping.joints_topic: "joints"}

    def on_joints(self, names: list[str], positions: list[float], now_ns: int) -> None:
        """Notes where the leader's tool is."""
        at, mapping = dict(zip(names, positions, strict=False)), self._mapping
        wanted = [*mapping.joint_names, *([mapping.gripper_joint] if mapping.gripper_joint else [])]
        missing = [name for name in wanted if name not in at]
        values = np.array([at.get(name, np.nan) for name in wanted], dtype=np.float64)
        if missing:
            self._trouble = f"{self.source}: got joints {names}, expected {missing[0]!r} among them"
        elif not np.isfinite(values).all():
            self._trouble = (
                f"{self.source}: got a position of {wanted[int(np.argmin(np.isfinite(values)))]} that is not finite"
            )
        else:
            joints = self._signs * values[: len(mapping.joint_names)] + self._offsets
            self._pose, self._joints_ns, self._trouble = self._kinematics.forward(joints), now_ns, ""
            if mapping.gripper_joint:
                part = (values[-1] - mapping.gripper_closed) / (mapping.gripper_open - mapping.gripper_closed)
                self._opening = float(min(max(part, 0.0), 1.0))

    def read(self, now_ns: int) -> Wish:
        """The velocity that closes up to the leader; pressing the deadman anew begins from where both then are."""
        trouble = self.silent(now_ns) or self._trouble
        if not trouble and now_ns - self._joints_ns > self._mapping.silence_s * NS_PER_S:
            trouble = f"{self.source}: nothing heard on {self._mapping.joints_topic}"
        held = self._panel.deadman and not trouble and self._pose is not None
        if not held or self._pose is None:
            self._anchor, self._twist = None, np.zeros(6)
        else:
            self._follow(self._pose, now_ns)
        self._read_ns = now_ns
        wish = self.wish(self._twist, trouble)
        if self._opening is None or not wish.deadman:
            return wish
        return Wish(wish.deadman, wish.twist, wish.frame, self._opening, wish.stop, wish.trouble)

    def _follow(self, pose: FloatArray, now_ns: int) -> None:
        if self._anchor is None:
            self._anchor, self._told, self._turned = pose, np.zeros(3), np.eye(3)
            self._twist = np.zeros(6)
            return
        step_s = min(max((now_ns - self._read_ns) / NS_PER_S, 0.0), LONGEST_STEP_S)
        self._told = self._told + step_s * self._twist[:3]
        self._turned = pin.exp3(step_s * self._twist[3:]) @ self._turned
        gone = self._mapping.scale * (pose[:3] - self._anchor[:3])
        turned = _rotation(pose) @ _rotation(self._anchor).T
        behind = np.concatenate([gone - self._told, np.asarray(pin.log3(turned @ self._turned.T))])
        full = np.array([self._speed.linear_m_s] * 3 + [self._speed.angular_rad_s] * 3)
        self._twist = at_full(self._mapping.gain_hz * behind / full, self._speed)


def _rotation(pose: FloatArray) -> FloatArray:
    return np.asarray(pin.Quaternion(pose[3:]).toRotationMatrix())
