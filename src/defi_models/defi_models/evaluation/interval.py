"""How sure a success rate is. Knows nothing of policies or simulators."""

from __future__ import annotations

import math


def wilson_interval(successes: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of a success rate (Wilson 1927), which holds for few attempts and for rates near 0 and 1."""
    if count == 0:
        return 0.0, 1.0
    rate = successes / count
    middle = (rate + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(rate * (1 - rate) / count + z**2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)
