"""The target of a person's input device: a twist is integrated from where the arm is commanded to be."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from defi_models.contract import NS_PER_S, FloatArray, RobotSpec, Workspace, frozen_array
from defi_ros.control.kinematics import Kinematics
from defi_ros.control.reach import Reach
from defi_ros.control.tip import TwistRamp
from defi_ros.sections import Control

GRIPPER_MOVED = 0.05  # part of the stroke; a lever that moved by less has not moved
REFUSED_NS = NS_PER_S // 2  # what a device was refused this long ago is why nothing moves


@dataclass(frozen=True, slots=True)
class TeleopInput:
    """One message of an input device.

    Attributes:
        source: Name of the device.
        deadman: Whether its enabling button is held.
        twist: Wanted velocity of the tool centre point, shape (6,): linear [m/s], angular [rad/s], base frame.
        gripper: Wanted opening, 0..1.
        stamp_ns: When the device was read [ns]; 0: not said.
    """

    source: str
    deadman: bool
    twist: FloatArray
    gripper: float
    stamp_ns: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "twist", frozen_array("twist", self.twist, (6,)))


class TeleopTarget:
    """Where a person wants the tool centre point to be. Called by the thread of the arm core.

    Attributes:
        gripper: The opening that the person wants; None until it has changed, so that taking over drops nothing.
    """

    def __init__(self, kinematics: Kinematics, spec: RobotSpec, control: Control) -> None:
        """For one arm."""
        self._kinematics, self._spec = kinematics, spec
        self._period_s = 1.0 / control.rate_hz
        self._reach = Reach(kinematics, spec, control)
        self._pose = kinematics.forward(spec.home)
        self._ramp = TwistRamp(spec.workspace, self._period_s)
        self._twist, self._effort = np.zeros(6), 0.0
        self._timeout_s = control.teleop_timeout_s
        self._heard_ns: int | None = None
        self._refused_ns, self._refusal = 0, ""
        self._gripper_before: float | None = None
        self.gripper: float | None = None

    def take(self, positions: FloatArray) -> None:
        """A person takes the arm: see `start`. The gripper stays as it is."""
        self.start(positions)
        self.gripper = self._gripper_before = None

    def start(self, positions: FloatArray) -> None:
        """Begins where the arm would come to rest by itself, shape (joints,) [rad]: taking over never turns it back."""
        self._pose = self._kinematics.forward(positions)
        self._ramp.begin()
        self._twist, self._effort = np.zeros(6), 0.0

    def go_on(self, seconds: float) -> None:
        """The arm went on evenly for so long [s]; so does what the person wants."""
        twist = self._ramp.twist
        self._pose[:3] += seconds * twist[:3]
        self._pose[3:] = _turned(self._pose[3:], seconds * twist[3:])

    def set_back(self, by_ns: int) -> None:
        """The clock was set back: what is old stays as old."""
        if self._heard_ns is not None:
            self._heard_ns -= by_ns

    def follow(self, command: TeleopInput, now_ns: int) -> str | None:
        """Notes the newest wish, slowed down to what the arm may do. Returns None, or why it was slowed down."""
        fastest, turning_fastest = self._spec.workspace.velocity_m_s, self._spec.workspace.velocity_rad_s
        speed, turning = float(np.linalg.norm(command.twist[:3])), float(np.linalg.norm(command.twist[3:]))
        part = min(1.0, fastest / max(speed, 1e-9), turning_fastest / max(turning, 1e-9))
        self._twist, self._heard_ns = part * command.twist, now_ns
        before = self._gripper_before = command.gripper if self._gripper_before is None else self._gripper_before
        if self.gripper is not None or abs(command.gripper - before) > GRIPPER_MOVED:
            self.gripper = command.gripper
        self._effort = min(max(speed / fastest, turning / turning_fastest), 1.0)
        if part == 1.0:
            return None
        return (
            f"teleop: got {speed:.2f} m/s and {turning:.2f} rad/s from {command.source}, "
            f"expected at most {fastest:g} m/s and {turning_fastest:g} rad/s: slowed down"
        )

    def try_time(self, command: TeleopInput, now_ns: int) -> str | None:
        """Returns None, or why a wish is too old to be obeyed, or from a future."""
        age_s = (now_ns - command.stamp_ns) / NS_PER_S if command.stamp_ns else 0.0
        if abs(age_s) <= self._timeout_s:
            return None
        return (
            f"teleop: got a command of {command.source} that is {age_s:.2f} s old, limit {self._timeout_s:g} s; "
            "do the clocks agree?"
        )

    def refuse(self, why: str, now_ns: int) -> str:
        """Notes why a wish was not obeyed, and returns it."""
        self._refused_ns, self._refusal = now_ns, why
        return why

    def lately_refused(self, now_ns: int) -> str:
        """Why the device was not obeyed just now; "" if it was."""
        return self._refusal if 0 <= now_ns - self._refused_ns < REFUSED_NS else ""

    def why_silent(self, source: str, now_ns: int) -> str | None:
        """Why nothing is wanted any more of an arm that `source` has, or None."""
        silent_s = math.inf if self._heard_ns is None else (now_ns - self._heard_ns) / NS_PER_S
        if silent_s <= self._timeout_s:
            return None
        return self.lately_refused(now_ns) or (
            f"no input from {source} for {silent_s:.2f} s: its deadman must be pressed anew"
        )

    def step(self, reference: FloatArray, box: Workspace) -> tuple[FloatArray, str]:
        """The joints one period further within `box`, from `reference`, each of shape (joints,) [rad], and why they fall short.

        The elbow goes to its posture only as far as the person moves the tool: who holds still moves nothing.
        """
        pose, twist = self._pose.copy(), self._ramp.step(self._twist)
        free = pose[:3] + self._period_s * twist[:3]
        pose[:3] = box.nearest(free)
        pose[3:] = _turned(pose[3:], self._period_s * twist[3:])
        joints, reason = self._reach.step(pose, reference, self._effort, stays=True)
        # Where the arm cannot go the target does not run away either, so that turning back acts at once.
        stands = bool(reason) and (joints == reference).all()
        self._pose = self._kinematics.forward(joints) if reason or self._kinematics.place_first else pose
        self._ramp.stop(np.full(6, True) if stands else np.append(pose[:3] != free, [False] * 3))
        return joints, reason


def _turned(quaternion: FloatArray, rotation: FloatArray) -> FloatArray:
    """A quaternion xyzw turned by a small rotation vector in the base frame [rad], shape (4,)."""
    x, y, z = (0.5 * rotation).tolist()
    qx, qy, qz, qw = quaternion.tolist()
    turned = np.array(
        [
            qx + x * qw + y * qz - z * qy,
            qy - x * qz + y * qw + z * qx,
            qz + x * qy - y * qx + z * qw,
            qw - x * qx - y * qy - z * qz,
        ]
    )
    return turned / np.linalg.norm(turned)
