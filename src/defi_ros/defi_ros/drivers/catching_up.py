"""What closes the loop where a controller takes speeds: a share of the way to the set point is made up for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from defi_models.contract import NS_PER_S, FloatArray

# Steps further apart than this begin anew: whoever guards the controller has sent zeros meanwhile [s].
LONGEST_STEP_S = 0.05


class CatchingUp:
    """The speed that makes up for a distance, shape (axes,), which changes no faster than the axes may accelerate.

    Args:
        rate_hz: The share of a distance that is made up for in a second [1/s].
        most: No more than this is made up for: an arm further away does not follow, or is not where it says it is.
        tolerance: Less than this is noise of the measured joints at rest, where the speed is to be exactly zero.
        acceleration: How fast the speed may change, shape (axes,).
    """

    def __init__(
        self, rate_hz: float, *, most: npt.ArrayLike, tolerance: npt.ArrayLike, acceleration: FloatArray
    ) -> None:
        self._rate_hz = rate_hz
        self._most, self._tolerance, self._acceleration = np.asarray(most), tolerance, acceleration
        self._speed, self._time_ns = np.zeros_like(acceleration), 0

    def step(self, away: FloatArray | None, *, moving: bool, time_ns: int) -> FloatArray:
        """The speed at `time_ns` [ns], shape (axes,).

        Args:
            away: The way from where the arm was measured to its set point, shape (axes,); None: that is not known.
            moving: Whether the set point moves. At rest, what is far from it stays: what is wrong there is not mended by
                moving.
            time_ns: The time of the set point.
        """
        since_s = max((time_ns - self._time_ns) / NS_PER_S, 0.0)
        before = self._speed if since_s <= LONGEST_STEP_S else np.zeros_like(self._speed)
        change = self._acceleration * min(since_s, LONGEST_STEP_S)
        self._speed = np.clip(self._wanted(away, moving), before - change, before + change)
        self._time_ns = time_ns
        return self._speed

    def is_recent(self, time_ns: int, within_s: float) -> bool:
        """Whether the last step was taken at most so long before `time_ns` [ns]."""
        return 0 <= time_ns - self._time_ns <= within_s * NS_PER_S

    def _wanted(self, away: FloatArray | None, moving: bool) -> FloatArray:
        if away is None:
            return np.zeros_like(self._speed)
        if moving:
            return self._rate_hz * np.clip(away, -self._most, self._most)
        if (np.abs(away) > self._most).any():
            return np.zeros_like(away)
        return np.where(np.abs(away) > self._tolerance, self._rate_hz * away, 0.0)
