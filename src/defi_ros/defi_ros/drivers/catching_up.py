"""What closes the loop where a controller takes speeds: the share of the way to the set point that is made up for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from defi_models.contract import FloatArray


def catching_up(
    away: FloatArray, rate_hz: float, *, most: npt.ArrayLike, tolerance: npt.ArrayLike, moving: bool
) -> FloatArray:
    """The speed that makes up for a distance, shape (axes,) [unit of `away` / s].

    At rest, what is far from its set point stays: what is wrong there is not mended by moving.

    Args:
        away: The way from where it was measured to the set point, shape (axes,) [rad, or m and rad].
        rate_hz: The share of it that is made up for in a second [1/s].
        most: No more than this is made up for: an arm further away does not follow, or is not where it says it is.
        tolerance: Less than this is noise of the measured joints at rest, where the speed is to be exactly zero.
        moving: Whether the set point moves.
    """
    if moving:
        return rate_hz * np.clip(away, np.negative(most), most)
    if (np.abs(away) > most).any():
        return np.zeros_like(away)
    return np.where(np.abs(away) > tolerance, rate_hz * away, 0.0)
