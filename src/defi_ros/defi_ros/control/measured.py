"""Where the joints are, as far as that may be believed: fresh, finite, and reached at a speed that an arm can have."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from defi_models.contract import NS_PER_S, FloatArray, RobotSpec, frozen_array

# Joints that move by more than this beyond twice what their limits allow have not moved: an encoder, or the driver that
# reads it, has failed. Twice and some, because stamps may be late; 0.1 rad is 38 ms at 2.6 rad/s.
JUMP_RAD = 0.1
# A person can lead an arm by hand this fast, however slow it is told to be [rad/s].
LED_RAD_S = 4.0
# A measured joint this far outside its range is a wrong robot file or a wrong sensor, not a calibration offset.
SLACK_RAD = 0.02
# Joints that moved by no more than this stand still: noise, and the last of a controller's lag.
STILL_RAD = 0.01


class MeasuredJoints:
    """The newest joint state. Filled and read by one thread.

    Attributes:
        positions: Shape (joints,) [rad]; None before the first.
        heard_ns: When they came [ns].
        stamp_ns: When they were measured [ns].
        refused_late: Joint states refused for their age.
    """

    def __init__(self, spec: RobotSpec, timeout_s: float) -> None:
        """For one arm; a joint state `timeout_s` old or from as far ahead is refused."""
        self._spec, self._timeout_s = spec, timeout_s
        self._still_at, self._still_since_ns = spec.home, 0
        self.positions: FloatArray | None = None
        self.heard_ns = self.stamp_ns = 0
        self.refused_late = 0

    def hear(self, stamp_ns: int, positions: npt.ArrayLike, now_ns: int) -> tuple[str | None, str | None]:
        """Notes where the joints are, shape (joints,) [rad]: (why it was refused, how it jumped), each None if it did not."""
        values, names = np.asarray(positions, dtype=np.float64), self._spec.joint_names
        if values.shape != (len(names),):
            return f"joint state: got {values.size} positions, expected {len(names)}", None
        if not np.isfinite(values).all():
            worst = names[int(np.argmin(np.isfinite(values)))]
            return f"joint state: got a position of {worst} that is not finite", None
        age_s = (now_ns - stamp_ns) / NS_PER_S
        if abs(age_s) > self._timeout_s:
            self.refused_late += 1
            return f"joint state: stamp is {age_s:.2f} s old, limit {self._timeout_s:g} s; do the clocks agree?", None
        since_s = max((stamp_ns - self.stamp_ns) / NS_PER_S, 0.0)
        jump = self._jump(since_s, values)
        self.positions, self.heard_ns = frozen_array("measured", values, values.shape), now_ns
        self.stamp_ns = stamp_ns
        if np.abs(values - self._still_at).max() > STILL_RAD or since_s > self._timeout_s:
            self._still_at, self._still_since_ns = self.positions, stamp_ns
        return None, jump

    def set_back(self, by_ns: int) -> None:
        """The clock was set back: what is old stays as old."""
        self.heard_ns -= by_ns
        self.stamp_ns -= by_ns
        self._still_since_ns -= by_ns

    @property
    def still_s(self) -> float:
        """How long the joints were seen to stand where they are [s]."""
        return (self.stamp_ns - self._still_since_ns) / NS_PER_S

    def forget(self) -> None:
        """Where the arm was, and since when, counts no more."""
        self.positions, self.stamp_ns = None, 0

    def silent_s(self, now_ns: int) -> float:
        """How long ago the newest came [s]."""
        return (now_ns - self.heard_ns) / NS_PER_S

    def why_silent(self, now_ns: int) -> str | None:
        """Why it is not known any more where the arm is, or None."""
        silent_s = self.silent_s(now_ns)
        if silent_s <= self._timeout_s:
            return None
        return f"no joint state for {silent_s:.2f} s, limit {self._timeout_s:g} s"

    def out_of_range(self) -> str | None:
        """Why an arm that is there cannot be commanded, or None."""
        assert self.positions is not None
        limits = self._spec.limits
        outside = np.maximum(limits.lower - self.positions, self.positions - limits.upper)
        worst = int(np.argmax(outside))
        if outside[worst] <= SLACK_RAD:
            return None
        return (
            f"{self._spec.joint_names[worst]} is at {self.positions[worst]:.3f} rad, expected "
            f"{limits.lower[worst]:.3f}..{limits.upper[worst]:.3f} rad; move it by hand"
        )

    def _jump(self, since_s: float, positions: FloatArray) -> str | None:
        if self.positions is None or since_s > self._timeout_s:  # an arm that was not seen may be anywhere
            return None
        moved = np.abs(positions - self.positions)
        beyond = moved - JUMP_RAD - since_s * np.maximum(2.0 * self._spec.limits.velocity, LED_RAD_S)
        worst = int(np.argmax(beyond))
        if beyond[worst] <= 0.0:
            return None
        return (
            f"joint state: {self._spec.joint_names[worst]} jumped by {moved[worst]:.2f} rad within {since_s:.3f} s, which "
            "no arm can. Look at its encoders and its driver before a reset: it would then be held where they say it is"
        )
