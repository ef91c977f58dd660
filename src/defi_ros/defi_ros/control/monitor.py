"""An independent check of what was commanded, from positions alone; it shares no code with the safety filter."""

from __future__ import annotations

from collections import deque

import numpy as np

from defi_models.contract import FloatArray, RobotSpec

# Differences of differences of rounded numbers; far below what an arm can feel.
RELATIVE_SLACK = 1e-3
# Between the places that the safety filter looks at, the tip may stick out of the box by this much; 0.1 mm were seen.
BOX_SLACK_M = 1e-3
# An arm that began outside may be twice as far, but no more than this further, until it has come in by as much.
WAY_BACK_M = 0.02
# From where it went outside by itself, an arm must come in by so much in a second.
COMES_IN_M_S = 0.05
# A tip that moves outwards by less than this between two commands stands [m].
STANDS_M = 1e-7


class LimitMonitor:
    """Counts commands that break a limit: joint position; velocity, acceleration and jerk as finite differences; tip.

    Attributes:
        violations: Commands found outside limits; must stay 0.
        last: What the last violation was.
    """

    def __init__(self, spec: RobotSpec, rate_hz: float) -> None:
        """For commands at `rate_hz`."""
        self._limits = spec.limits
        self._names = spec.joint_names
        self._rate_hz = rate_hz
        self._workspace = spec.workspace
        self._recent: deque[FloatArray] = deque(maxlen=4)
        self._tip: FloatArray | None = None
        self._began_outside_m = np.zeros(6 + len(spec.workspace.planes))  # of each wall, where it may stand now ...
        self._moved_outside_m: FloatArray | None = None  # ... and where others have put it
        self.violations = 0
        self.last = ""

    def restart(self, *, moved: bool) -> None:
        """Forgets earlier commands: the next one starts from a resting arm, which others may have `moved` there."""
        self._recent.clear()
        self._tip = None
        if moved:
            self._moved_outside_m = None

    def resume(self, positions: FloatArray, velocities: FloatArray, accelerations: FloatArray, tip: FloatArray) -> None:
        """Forgets earlier commands: the next one goes on from an arm in motion, each of shape (joints,) [rad, s]."""
        before_s = np.arange(4)[::-1, None] / self._rate_hz
        self._recent.clear()
        self._recent.extend(positions - velocities * before_s + accelerations * before_s**2 / 2.0)
        self._tip = tip

    def check(self, positions: FloatArray, tip: FloatArray) -> str:
        """Why a command, shape (joints,) [rad], with its tip at `tip`, shape (3,) [m], breaks a limit; "" if it does not."""
        fault = self._fault(positions) or self._tip_fault(tip)
        self._tip = tip
        if fault:
            self.violations += 1
            self.last = fault
        return fault

    def _fault(self, positions: FloatArray) -> str:
        limits, recent = self._limits, self._recent
        if not np.isfinite(positions).all():
            return "a commanded position is not finite"
        if not recent:
            recent.extend([positions] * 4)
        else:
            recent.append(positions)
        velocity = (recent[3] - recent[2]) * self._rate_hz
        before = (recent[2] - recent[1]) * self._rate_hz
        acceleration = (velocity - before) * self._rate_hz
        jerk = (acceleration - (before - (recent[1] - recent[0]) * self._rate_hz) * self._rate_hz) * self._rate_hz
        outside = np.maximum(limits.lower - positions, positions - limits.upper)
        worst = int(np.argmax(outside))
        if outside[worst] > 1e-6:
            return (
                f"{self._names[worst]}: {positions[worst]:.4f} rad outside "
                f"{limits.lower[worst]:.4f}..{limits.upper[worst]:.4f} rad"
            )
        for got, limit, unit in (
            (velocity, limits.velocity, "rad/s"),
            (acceleration, limits.acceleration, "rad/s^2"),
            (jerk, limits.jerk, "rad/s^3"),
        ):
            ratio = np.abs(got) / limit
            worst = int(np.argmax(ratio))
            if ratio[worst] > 1 + RELATIVE_SLACK:
                return f"{self._names[worst]}: {abs(got[worst]):.4g} {unit} > {limit[worst]:.4g} {unit}"
        return ""

    def _tip_fault(self, tip: FloatArray) -> str:
        box = self._workspace
        beyond_m = self._beyond_m(tip)
        moved_m = np.maximum(beyond_m, 0.0) if self._moved_outside_m is None else self._moved_outside_m
        moved_m = self._moved_outside_m = np.where(beyond_m < -WAY_BACK_M, 0.0, moved_m)
        if self._tip is None:
            self._began_outside_m = np.maximum(beyond_m, 0.0)
            return ""
        began_m = self._began_outside_m = np.maximum(self._began_outside_m - COMES_IN_M_S / self._rate_hz, moved_m)
        speed = float(np.linalg.norm(tip - self._tip)) * self._rate_hz
        if speed > (1 + RELATIVE_SLACK) * box.velocity_m_s:
            return f"tip: {speed:.2f} m/s > {box.velocity_m_s:.2f} m/s"
        outside = beyond_m > BOX_SLACK_M + began_m + np.minimum(began_m, WAY_BACK_M)
        if outside.any() and (outside & (beyond_m > self._beyond_m(self._tip) + STANDS_M)).any():
            return f"tip: {beyond_m.max() * 1e3:.0f} mm outside the workspace and going further"
        return ""

    def _beyond_m(self, tip: FloatArray) -> FloatArray:
        """How far beyond each wall a point is, shape (6 + planes,) [m]."""
        box = self._workspace
        return np.concatenate([box.lower - tip, tip - box.upper, box.planes[:, 3] - box.planes[:, :3] @ tip])
