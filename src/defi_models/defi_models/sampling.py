"""DDIM in the EDM form, for the arrays of any library: what torch and onnxruntime share of drawing a chunk."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from defi_models.config import DecoderConfig

A = TypeVar("A", bound=Any)  # an array of numpy or of torch; both mix with Python's floats


@dataclass(frozen=True)
class Promise(Generic[A]):
    """Actions that the arm was already promised.

    Attributes:
        actions: Normalised, (B, steps, action_width); rows of weight 0 are not read.
        weight: How far each holds, 1 as it stands .. 0 not at all, (B, steps, 1).
    """

    actions: A
    weight: A


def ddim(denoise: Callable[[A, float], A], noise: A, config: DecoderConfig, promised: Promise[A] | None = None) -> A:
    """Actions from unit `noise` of the same shape (defi-model 4.3).

    Promised actions are mixed into the estimate at every step by their weight, so that the others are denoised beside
    them and continue them (in-painting; Black et al. 2025, "Real-Time Execution of Action Chunking Flow Policies", for
    why; there a gradient pulls towards them, for which a model must be differentiated at every step).

    Args:
        denoise: The clean actions that noisy ones of a level may come from.
        noise: Unit noise.
        config: The levels: `sampling_steps` from `sigma_max` to `sigma_min`, evenly in their logarithm.
        promised: What stands already.
    """
    sigmas = np.geomspace(config.sigma_max, config.sigma_min, config.sampling_steps).tolist()
    x: Any = config.sigma_max * noise
    clean: Any = x
    for sigma, following in itertools.zip_longest(sigmas, sigmas[1:]):
        clean = denoise(x, sigma)
        if promised is not None:
            clean = clean + promised.weight * (promised.actions - clean)
        if following is not None:
            x = (following / sigma) * x + (1 - following / sigma) * clean
    return clean
