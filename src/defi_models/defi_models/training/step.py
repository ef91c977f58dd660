"""The randomness of one step, which depends on the seed, the step and the sample alone: not on who computes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from defi_models.training import parallel


@dataclass(frozen=True)
class Step:
    """The share of one optimiser step that one pass computes: of one process, and of one accumulated part.

    Whatever chooses data draws for the whole batch and keeps `own`; noise has a generator a sample. So processes and
    accumulated parts together see what one process sees alone.

    Attributes:
        seed: Of the run.
        index: Number of the step, from 0.
        batch: Samples of the whole step.
        own: Those that this pass takes.
        device: Where it computes.
    """

    seed: int
    index: int
    batch: int
    own: slice
    device: torch.device

    @cached_property
    def rng(self) -> np.random.Generator:
        """For choosing data; the same in every process."""
        return np.random.default_rng([self.seed, self.index])

    @cached_property
    def _generators(self) -> list[torch.Generator]:
        seeds = (seed_of([self.seed, self.index, n]) for n in range(self.own.start, self.own.stop))
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    @property
    def last(self) -> bool:
        """Whether this process has no pass after this one in the step."""
        return self.own.stop == self.batch * (parallel.rank() + 1) // parallel.size()

    @property
    def count(self) -> int:
        """Samples of this pass."""
        return self.own.stop - self.own.start

    def integers(self, high: int) -> np.ndarray:
        """A number below `high` for each sample of this pass, (count,)."""
        return self.rng.integers(high, size=self.batch)[self.own]

    def normal(self, *shape: int) -> Tensor:
        """Unit noise, (count, *shape)."""
        return torch.stack([torch.randn(shape, generator=g) for g in self._generators]).to(self.device)

    def uniform(self, *shape: int) -> Tensor:
        """Numbers in 0..1 for each sample of this pass, (count, *shape)."""
        return torch.stack([torch.rand(shape, generator=g) for g in self._generators]).to(self.device)


def seed_of(numbers: Sequence[int]) -> int:
    """A seed for torch that differs wherever one of `numbers` does; those may be of any size."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def share(batch: int, part: int, parts: int) -> slice:
    """The samples of a batch that part `part` of `parts` takes; shares differ by one sample at most."""
    return slice(batch * part // parts, batch * (part + 1) // parts)
