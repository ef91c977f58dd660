"""How sure a success rate or an average length of chains is. Knows nothing of policies or simulators."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

DRAWS = 20_000


def wilson_interval(successes: float, count: float, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of a success rate (Wilson 1927), which holds for few attempts and for rates near 0 and 1."""
    if count == 0:
        return 0.0, 1.0
    rate = successes / count
    middle = (rate + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(rate * (1 - rate) / count + z**2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def success_line(name: str, successes: int, count: int, more: str = "") -> str:
    """How a success rate is told to people: name, count, share and 95 % interval, and what is added to them."""
    low, high = wilson_interval(successes, count)
    return f"{name:<28}{successes:>4}/{count:<4} {successes / max(1, count):>6.1%}  [{low:.1%}, {high:.1%}]{more}\n"


def length_interval(lengths: Sequence[int], longest: int, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of the average length of chains that end at 0..`longest`.

    The Bayesian counterpart of the bootstrap (Rubin 1981) over the `longest` + 1 possible lengths, with a prior that
    weighs as much as one chain (Perks 1947): unlike resampling, it does not call a few equal chains certain.

    Args:
        lengths: How many tasks of each chain were done.
        longest: Tasks in a chain.
        seed: Of the draws.
    """
    if not lengths:
        return 0.0, float(longest)
    counts = np.bincount(lengths, minlength=longest + 1) + 1.0 / (longest + 1)
    shares = np.random.default_rng(seed).dirichlet(counts, DRAWS)  # (draws, lengths)
    low, high = np.quantile(shares @ np.arange(longest + 1), (0.025, 0.975))
    mean = float(np.mean(lengths))
    # Where all chains end at one extreme, the draws lie on one side of it; as Clopper and Pearson, close the interval.
    return min(float(low), mean), max(float(high), mean)
